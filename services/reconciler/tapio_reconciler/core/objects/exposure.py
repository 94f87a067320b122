"""How the API gateway is reached from outside: its Service, an Ingress, an HTTPRoute, and what tells each that it
speaks TLS.

Where the gateway speaks TLS, whatever stands in front of it must speak TLS to it, which Kubernetes' own objects can
hardly say: an Ingress by an annotation of its controller's, a Gateway by a BackendTLSPolicy. Annotations of controllers
that are not there have no effect; what the spec's `annotations` say goes before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tapio_reconciler.core.model import Notice
from tapio_reconciler.core.objects.common import build_service, present
from tapio_reconciler.core.objects.context import Context
from tapio_shared.api import names
from tapio_shared.api.gateway import Gateway
from tapio_shared.api.reasons import Reason
from tapio_shared.json import JsonObject, JsonValue

APP = "tapio-gateway"
COMPONENT = names.GATEWAY
PUBLIC = 8443
_ROUTES: Final = "gateway.networking.k8s.io"
_PORT: Final = "api"
_TELLS_CERTIFICATE: Final = frozenset(
    {"ingress.gcp.kubernetes.io/pre-shared-cert", "networking.gke.io/managed-certificates"}
)
"""Annotations by which GKE's controller knows a certificate; it looks for a Secret wherever an Ingress has TLS."""


def build_exposure(ctx: Context, selector: JsonObject) -> tuple[JsonObject, ...]:
    """The objects by which the gateway is reached, and the Service first."""
    return present([_service(ctx, selector), build_ingress(ctx), build_http_route(ctx), build_tls_policy(ctx)])


def endpoint(ctx: Context) -> str:
    """Where the gateway is reached: by its host where something serves that, else at its Service."""
    scheme = "https" if speaks_tls(ctx) else "http"
    host = ctx.effective.spec.gateway.exposure.host
    routed = build_ingress(ctx) is not None or build_http_route(ctx) is not None
    if host is not None and routed and "*" not in host:
        # Without a certificate of the gateway's own, whoever stands in front ends TLS with one of theirs.
        front = "https" if ctx.effective.spec.gateway.tls is not None else "http"
        return f"{front}://{host}"
    return f"{scheme}://{ctx.child(COMPONENT)}.{ctx.namespace}.svc:{PUBLIC}"


def exposure_notices(ctx: Context) -> list[Notice]:
    """What a person should know when the way of exposure that was asked for is not served here."""
    if ctx.effective.gateway is None:
        return []
    kind = ctx.effective.spec.gateway.exposure.type
    group = {"Ingress": "networking.k8s.io", "HTTPRoute": _ROUTES}.get(kind)
    if group is None:
        return []
    if ctx.served.find(group, kind) is None:
        message = (
            f"spec.gateway.exposure.type is {kind}, and this Kubernetes cluster does not serve {kind}.{group}. "
            "The gateway runs and is reachable inside the cluster; install the API or choose another exposure."
        )
    elif kind == "HTTPRoute" and speaks_tls(ctx) and not _policy_version(ctx):
        message = (
            "spec.gateway.tls makes the gateway speak TLS, and nothing tells the Gateway in front of it so: this "
            f"Kubernetes cluster does not serve BackendTLSPolicy.{_ROUTES}. Install the Gateway API 1.4 or newer, or "
            "take spec.gateway.tls away and let the Gateway end TLS."
        )
    else:
        return []
    return [Notice(reason=Reason.API_NOT_SERVED, message=message)]


def speaks_tls(ctx: Context) -> bool:
    """Whether the gateway has a certificate to speak TLS with."""
    tls = ctx.effective.spec.gateway.tls
    return tls is not None and tls.secret_ref is not None


def build_ingress(ctx: Context) -> JsonObject | None:
    """An Ingress, where one is asked for and served."""
    spec, name = ctx.effective.spec.gateway, ctx.child(COMPONENT)
    version = ctx.served.api_version("networking.k8s.io", "Ingress", "v1")
    if spec.exposure.type != "Ingress" or not version:
        return None
    backend: JsonObject = {"service": {"name": name, "port": {"name": _PORT}}}
    rule: JsonObject = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    if spec.exposure.host:
        rule["host"] = spec.exposure.host
    body: JsonObject = {"rules": [rule]}
    if spec.exposure.class_name:
        body["ingressClassName"] = spec.exposure.class_name
    ended = _ended_tls(spec)
    if ended is not None:
        body["tls"] = [ended]
    annotations = {**(_of_ingress(name) if speaks_tls(ctx) else {}), **(spec.exposure.annotations or {})}
    metadata = ctx.metadata(name, APP, COMPONENT, annotations=annotations)
    return {"apiVersion": version, "kind": "Ingress", "metadata": metadata, "spec": body}


def _ended_tls(spec: Gateway) -> JsonObject | None:
    """The TLS that an Ingress ends: with the gateway's certificate, or with the one that the controller finds by the
    host, of the load balancer's or its default. None where there is no TLS, or annotations say which certificate."""
    if spec.tls is None or not spec.exposure.host:
        return None
    hosts: JsonObject = {"hosts": [spec.exposure.host]}
    if spec.tls.secret_ref is not None:
        return {**hosts, "secretName": spec.tls.secret_ref.name}
    return None if _TELLS_CERTIFICATE & (spec.exposure.annotations or {}).keys() else hosts


def build_http_route(ctx: Context) -> JsonObject | None:
    """A Gateway API route, where one is asked for and served."""
    spec, name = ctx.effective.spec.gateway, ctx.child(COMPONENT)
    version = ctx.served.api_version(_ROUTES, "HTTPRoute", "v1", "v1beta1")
    parent = spec.exposure.parent_ref
    if spec.exposure.type != "HTTPRoute" or not version or parent is None:
        return None
    body: JsonObject = {
        "parentRefs": [parent.document()],
        "rules": [{"backendRefs": [{"name": name, "port": PUBLIC}]}],
    }
    if spec.exposure.host:
        body["hostnames"] = [spec.exposure.host]
    metadata = ctx.metadata(name, APP, COMPONENT, annotations=spec.exposure.annotations)
    return {"apiVersion": version, "kind": "HTTPRoute", "metadata": metadata, "spec": body}


def build_tls_policy(ctx: Context) -> JsonObject | None:
    """What makes a Gateway speak TLS to the gateway's Service, and check its certificate by the host's name.

    https://gateway-api.sigs.k8s.io/api-types/backendtlspolicy/
    """
    spec, version = ctx.effective.spec.gateway, _policy_version(ctx)
    if build_http_route(ctx) is None or not speaks_tls(ctx) or not version:
        return None
    authority = None if spec.tls is None else spec.tls.ca_config_map_ref
    validation: JsonObject = {"hostname": spec.exposure.host or ""}
    if authority is None:
        validation["wellKnownCACertificates"] = "System"
    else:
        reference: JsonValue = {"group": "", "kind": "ConfigMap", "name": authority.name}
        validation["caCertificateRefs"] = [reference]
    name = ctx.child(COMPONENT)
    target: JsonValue = {"group": "", "kind": "Service", "name": name, "sectionName": _PORT}
    return {
        "apiVersion": version,
        "kind": "BackendTLSPolicy",
        "metadata": ctx.metadata(name, APP, COMPONENT),
        "spec": {"targetRefs": [target], "validation": validation},
    }


def _policy_version(ctx: Context) -> str:
    return ctx.served.api_version(_ROUTES, "BackendTLSPolicy", "v1", "v1alpha3")


def _service(ctx: Context, selector: JsonObject) -> JsonObject:
    """The gateway's Service: inside, or a load balancer, which keeps the caller's address where that counts."""
    spec, name = ctx.effective.spec.gateway, ctx.child(COMPONENT)
    more: JsonObject = {}
    if spec.exposure.type == "LoadBalancer":
        more = {"type": "LoadBalancer"}
        if spec.exposure.class_name:
            more["loadBalancerClass"] = spec.exposure.class_name
        if spec.rate_limit.key == "address":
            more["externalTrafficPolicy"] = "Local"
    if spec.exposure.type not in {"Ingress", "HTTPRoute"}:
        annotations: Mapping[str, str] = spec.exposure.annotations or {}
    elif speaks_tls(ctx):
        annotations = _of_service()
        # Not on a load balancer's: Azure's would ask for / by it, and take the gateway for dead.
        port: JsonValue = {
            "name": _PORT,
            "port": PUBLIC,
            "targetPort": _PORT,
            "protocol": "TCP",
            "appProtocol": "https",
        }
        more["ports"] = [port]
    else:
        annotations = {}
    metadata = ctx.metadata(name, APP, COMPONENT, annotations=annotations)
    return build_service(metadata, selector, {_PORT: PUBLIC}, more=more)


def _of_ingress(service: str) -> Mapping[str, str]:
    """The words for "speak TLS to the backend" of controllers that look for them at the Ingress."""
    return {
        "alb.ingress.kubernetes.io/backend-protocol": "HTTPS",
        "haproxy.org/server-ssl": "true",
        "nginx.ingress.kubernetes.io/backend-protocol": "HTTPS",
        "nginx.org/ssl-services": service,
    }


def _of_service() -> Mapping[str, str]:
    """The same of controllers that look at the Service."""
    return {
        "cloud.google.com/app-protocols": f'{{"{_PORT}":"HTTPS"}}',
        "projectcontour.io/upstream-protocol.tls": _PORT,
        "traefik.ingress.kubernetes.io/service.serversscheme": "https",
    }
