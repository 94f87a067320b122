"""The API gateway: how it is reached, who may use it and how much."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from tapio_shared.api.base import ApiModel
from tapio_shared.api.component import Component, ConfigMapReference, SecretReference
from tapio_shared.api.markers import rules
from tapio_shared.api.scalars import (
    IPV4_PATTERN,
    Annotations,
    ClassName,
    HostName,
    HttpsUrl,
    Items,
    NamespaceName,
    ObjectName,
    PathPrefix,
    Text,
)


class ParentReference(ApiModel):
    """The Gateway (gateway.networking.k8s.io) that a route attaches to."""

    name: ObjectName = Field(description="Name of the Gateway.")
    namespace: NamespaceName | None = Field(
        default=None, description="Namespace of the Gateway; absent means that of this resource."
    )
    section_name: ObjectName | None = Field(
        default=None,
        description="Listener of the Gateway; absent means all that allow the route. The one that ends TLS must be "
        "named where the gateway's tls has no secretRef.",
    )


class Exposure(ApiModel):
    """How the gateway is reached from outside."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!(self.type in ['Ingress', 'HTTPRoute']) || has(self.host)",
                "exposure.host must be set for the types Ingress and HTTPRoute.",
            ),
            (
                "self.type != 'HTTPRoute' || has(self.parentRef)",
                "exposure.parentRef must be set for the type HTTPRoute.",
            ),
            (
                f"!has(self.host) || !self.host.matches('{IPV4_PATTERN}')",
                "exposure.host must be a host name and no IP address.",
            ),
            (
                "self.type != 'Ingress' || !has(self.className) || !self.className.contains('/')",
                "exposure.className must be the name of an IngressClass, without /, for the type Ingress.",
            ),
            (
                "self.type != 'LoadBalancer' || oldSelf.type != 'LoadBalancer' || "
                "(has(self.className) ? [self.className] : []) == (has(oldSelf.className) ? [oldSelf.className] : [])",
                "exposure.className can't be changed while the type stays LoadBalancer.",
            ),
        )
    )

    type: Literal["ClusterIP", "LoadBalancer", "Ingress", "HTTPRoute"] = Field(
        default="ClusterIP",
        description="ClusterIP is reached inside the Kubernetes cluster only; LoadBalancer, Ingress and HTTPRoute "
        "make the object of that name.",
    )
    host: HostName | None = Field(
        default=None,
        description="Host name of the Ingress or HTTPRoute, such as tapio.example.com; no IP address. One with a * in "
        "front can't stand beside an HTTPRoute to a gateway that speaks TLS: its certificate is checked by that name.",
    )
    class_name: ClassName | None = Field(
        default=None,
        description="IngressClass, or class of the load balancer such as service.k8s.aws/nlb, which can't be changed "
        "while the type stays LoadBalancer; absent means the Kubernetes cluster's default.",
    )
    parent_ref: ParentReference | None = Field(default=None, description="The Gateway that an HTTPRoute attaches to.")
    annotations: Annotations | None = Field(
        default=None,
        description="Annotations of the object that is reached from outside: the Ingress or HTTPRoute of that type, "
        "else the Service. For load balancers, Ingress controllers, cert-manager, external-dns.",
    )


class GatewayTls(ApiModel):
    """TLS of the gateway."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.caConfigMapRef) || has(self.secretRef)",
                "tls.caConfigMapRef must be absent while tls.secretRef is.",
            )
        )
    )

    secret_ref: SecretReference | None = Field(
        default=None,
        description="Secret of the type kubernetes.io/tls; absent means that TLS ends at the Ingress, by the "
        "certificate that its controller finds for the host, or at the Gateway of the HTTPRoute, and that the gateway "
        "itself speaks plain HTTP.",
    )
    ca_config_map_ref: ConfigMapReference | None = Field(
        default=None,
        description="ConfigMap with the key ca.crt that signed the certificate, for the Gateway of an HTTPRoute, which "
        "checks it; absent means public CAs.",
    )


class Oidc(ApiModel):
    """How callers prove who they are."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!self.issuerURL.contains('?') && !self.issuerURL.contains('#')",
                "auth.oidc.issuerURL must be without ? and #, as tokens name their issuer.",
            )
        )
    )

    issuer_url: HttpsUrl = Field(
        description="Issuer of the tokens, exactly as in their iss claim; an https:// address."
    )
    audiences: Items[Text] = Field(
        min_length=1, max_length=20, description="Values of which the aud claim must hold at least one."
    )
    jwks_url: HttpsUrl | None = Field(
        default=None, description="Where the signing keys are; absent means by the issuer's discovery."
    )
    ca_secret_ref: SecretReference | None = Field(
        default=None,
        description="Secret with the key ca.crt that signed the issuer's certificate; absent means public CAs.",
    )


class AuthRule(ApiModel):
    """What callers with a claim may do."""

    claim: str = Field(
        min_length=1, max_length=256, description="Claim of the token that is looked at, such as groups."
    )
    values: Items[Text] = Field(
        min_length=1, max_length=100, description="Values of the claim for which the rule holds; one is enough."
    )
    paths: Items[PathPrefix] | None = Field(
        default=None, max_length=100, description="Path prefixes that are allowed, such as /api/v1; absent means all."
    )
    verbs: Items[Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "*"]] | None = Field(
        default=None, max_length=8, description="HTTP methods that are allowed; absent means GET and HEAD."
    )


class Auth(ApiModel):
    """Authentication and authorisation."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("!has(self.rules) || has(self.oidc)", "auth.rules look at a token's claims, so auth.oidc must be set.")
        )
    )

    oidc: Oidc | None = Field(default=None, description="OpenID Connect; absent means that callers are not asked.")
    rules: Items[AuthRule] | None = Field(
        default=None, max_length=100, description="What authenticated callers may do; absent means everything."
    )


class RateLimit(ApiModel):
    """How often one caller may call."""

    requests_per_second: int = Field(
        default=50, ge=1, le=1_000_000, description="Requests per second that are served for ever."
    )
    burst: int = Field(default=100, ge=1, le=1_000_000, description="Requests that are served at once after a pause.")
    key: Literal["subject", "address"] = Field(
        default="subject",
        description="What makes two requests the same caller's: the token's subject, or the network address.",
    )


class Gateway(Component):
    """The API gateway."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!(has(self.tls) && has(self.tls.secretRef) && has(self.exposure) && "
                "self.exposure.type == 'HTTPRoute' && has(self.exposure.host) && self.exposure.host.startsWith('*'))",
                "exposure.host must be without * for the type HTTPRoute when tls.secretRef is set.",
            ),
            (
                "!has(self.tls) || has(self.tls.secretRef) || "
                "(has(self.exposure) && self.exposure.type in ['Ingress', 'HTTPRoute'])",
                "tls.secretRef must be set, unless exposure.type is Ingress or HTTPRoute, which can end TLS "
                "themselves.",
            ),
            (
                "!(has(self.tls) && !has(self.tls.secretRef) && has(self.exposure) && "
                "self.exposure.type == 'HTTPRoute' && has(self.exposure.parentRef) && "
                "!has(self.exposure.parentRef.sectionName))",
                "exposure.parentRef.sectionName must be the listener that ends TLS while tls has no secretRef: a route "
                "on all of them is served by HTTP too.",
            ),
        )
    )

    replicas: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Number of pods; absent means 2 in production and 1 in development. Not set on the Deployment "
        "while an autoscaler owns it.",
    )
    exposure: Exposure = Field(default_factory=Exposure, description="How the gateway is reached.")
    tls: GatewayTls | None = Field(default=None, description="TLS of the gateway; absent means plain HTTP.")
    auth: Auth | None = Field(
        default=None, description="Who may use the gateway; absent means everybody who reaches it."
    )
    rate_limit: RateLimit = Field(default_factory=RateLimit, description="How often one caller may call.")
