"""The API gateway: the one door from outside, with authentication, rules and a rate limit."""

from __future__ import annotations

from dataclasses import dataclass

from tapio_reconciler.core.model import Component, Flow, Notice
from tapio_reconciler.core.objects import correlation, nats_users
from tapio_reconciler.core.objects.common import build_service
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.correlation import graph_credentials, telemetry_env
from tapio_reconciler.core.objects.deployed import Deployed, deployed
from tapio_reconciler.core.objects.flows import scraped, to_telemetry, to_urls
from tapio_reconciler.core.objects.messaging import Access, access, to_nats
from tapio_reconciler.core.objects.neo4j import bolt_url, to_neo4j
from tapio_reconciler.core.objects.pod import HTTP_PORT, METRICS_PORT, PodParts, default_probes, mount, secret_volume
from tapio_reconciler.core.objects.spreading import spread
from tapio_shared.api import names
from tapio_shared.api.reasons import Reason
from tapio_shared.json import JsonObject

APP = "tapio-gateway"
COMPONENT = names.GATEWAY
PUBLIC, HEALTH = 8443, 8080
_PORTS = {"api": PUBLIC, "http": HEALTH, "metrics": METRICS_PORT}
_TLS, _CA = "/etc/tapio-tls", "/etc/tapio-oidc"


def build_gateway(ctx: Context) -> Component | None:
    """The gateway and its objects; None where there is none."""
    scaling = ctx.effective.gateway
    if scaling is None:
        return None
    way = access(ctx, nats_users.GATEWAY)
    return deployed(
        ctx,
        Deployed(
            name=COMPONENT,
            suffix=COMPONENT,
            app=APP,
            image_of=COMPONENT,
            spec=ctx.effective.spec.gateway,
            condition="GatewayReady",
            depends_on=("nats", "neo4j", "graph"),
            configuration=_configuration(ctx, way),
            nats=way,
            pod=_pod(ctx, scaling.replicas),
            service_ports={"api": PUBLIC},
            service=_exposed(ctx),
            scaling=scaling,
            secrets=(ctx.child(names.NEO4J_AUTH), *(one.secret for one in _mounted(ctx))),
            more=(build_metrics_service(ctx), build_ingress(ctx), build_http_route(ctx)),
            opens=(*to_nats(ctx), *_to_graph(ctx), *_to_issuer(ctx), *to_telemetry(ctx)),
            admits=(PUBLIC, *scraped(ctx, METRICS_PORT)),
        ),
    )


def _to_graph(ctx: Context) -> tuple[Flow, ...]:
    embedded = Flow(app=correlation.APP, ports=(HTTP_PORT,))
    return (embedded,) if ctx.effective.embedded else to_neo4j(ctx)


def _to_issuer(ctx: Context) -> tuple[Flow, ...]:
    """To whoever vouches for callers: its discovery document and its keys."""
    auth = ctx.effective.spec.gateway.auth
    return () if auth is None or auth.oidc is None else to_urls(auth.oidc.issuer_url, auth.oidc.jwks_url)


def build_metrics_service(ctx: Context) -> JsonObject:
    """A Service of its own for metrics: what is reached from outside must not hold them."""
    metadata = ctx.metadata(ctx.child("gateway-metrics"), APP, COMPONENT)
    return build_service(metadata, ctx.selector(APP, COMPONENT), {"metrics": METRICS_PORT}, headless=True)


def _exposed(ctx: Context) -> JsonObject:
    """What the Service is besides a ClusterIP: a load balancer, which keeps the caller's address where that counts."""
    spec = ctx.effective.spec.gateway
    if spec.exposure.type != "LoadBalancer":
        return {}
    more: JsonObject = {"type": "LoadBalancer"}
    if spec.exposure.class_name:
        more["loadBalancerClass"] = spec.exposure.class_name
    if spec.rate_limit.key == "address":
        more["externalTrafficPolicy"] = "Local"
    return more


def endpoint(ctx: Context) -> str:
    """Where the gateway is reached."""
    spec = ctx.effective.spec.gateway
    scheme = "http" if spec.tls is None else "https"
    if spec.exposure.host:
        return f"{'https' if spec.tls else scheme}://{spec.exposure.host}"
    return f"{scheme}://{ctx.child(COMPONENT)}.{ctx.namespace}.svc:{PUBLIC}"


def exposure_notices(ctx: Context) -> list[Notice]:
    """What a person should know when the way of exposure that was asked for is not served here."""
    if ctx.effective.gateway is None:
        return []
    kind = ctx.effective.spec.gateway.exposure.type
    group = {"Ingress": "networking.k8s.io", "HTTPRoute": "gateway.networking.k8s.io"}.get(kind)
    if group is None or ctx.served.find(group, kind) is not None:
        return []
    return [
        Notice(
            reason=Reason.API_NOT_SERVED,
            message=(
                f"spec.gateway.exposure.type is {kind}, and this Kubernetes cluster does not serve {kind}.{group}. "
                "The gateway runs and is reachable inside the cluster; install the API or choose another exposure."
            ),
        )
    ]


def build_ingress(ctx: Context) -> JsonObject | None:
    """An Ingress, where one is asked for and served."""
    spec, name = ctx.effective.spec.gateway, ctx.child(COMPONENT)
    version = ctx.served.api_version("networking.k8s.io", "Ingress", "v1")
    if spec.exposure.type != "Ingress" or not version:
        return None
    backend: JsonObject = {"service": {"name": name, "port": {"name": "api"}}}
    rule: JsonObject = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    if spec.exposure.host:
        rule["host"] = spec.exposure.host
    body: JsonObject = {"rules": [rule]}
    if spec.exposure.class_name:
        body["ingressClassName"] = spec.exposure.class_name
    if spec.tls is not None and spec.tls.secret_ref is not None and spec.exposure.host:
        body["tls"] = [{"hosts": [spec.exposure.host], "secretName": spec.tls.secret_ref.name}]
    return {"apiVersion": version, "kind": "Ingress", "metadata": ctx.metadata(name, APP, COMPONENT), "spec": body}


def build_http_route(ctx: Context) -> JsonObject | None:
    """A Gateway API route, where one is asked for and served."""
    spec, name = ctx.effective.spec.gateway, ctx.child(COMPONENT)
    version = ctx.served.api_version("gateway.networking.k8s.io", "HTTPRoute", "v1", "v1beta1")
    parent = spec.exposure.parent_ref
    if spec.exposure.type != "HTTPRoute" or not version or parent is None:
        return None
    body: JsonObject = {
        "parentRefs": [parent.document()],
        "rules": [{"backendRefs": [{"name": name, "port": PUBLIC}]}],
    }
    if spec.exposure.host:
        body["hostnames"] = [spec.exposure.host]
    return {"apiVersion": version, "kind": "HTTPRoute", "metadata": ctx.metadata(name, APP, COMPONENT), "spec": body}


def _configuration(ctx: Context, way: Access) -> JsonObject:
    spec = ctx.effective.spec.gateway
    embedded_url = f"http://{ctx.child(names.CORRELATION)}.{ctx.namespace}.svc:8080"
    document: JsonObject = {
        "listen": f":{PUBLIC}",
        "health": f":{HEALTH}",
        "nats": {**way.settings(), "inboxPrefix": nats_users.inbox_prefix(nats_users.GATEWAY)},
        "graph": {"url": embedded_url if ctx.effective.embedded else bolt_url(ctx)},
        "rateLimit": spec.rate_limit.document(),
    }
    if spec.tls is not None and spec.tls.secret_ref is not None:
        document["tls"] = {"certificate": f"{_TLS}/tls.crt", "key": f"{_TLS}/tls.key"}
    if spec.auth is not None:
        document["auth"] = _auth(ctx)
    return document


def _auth(ctx: Context) -> JsonObject:
    auth = ctx.effective.spec.gateway.auth
    if auth is None:
        return {}
    document = auth.document()
    oidc = document.get("oidc")
    if isinstance(oidc, dict) and oidc.pop("caSecretRef", None) is not None:
        oidc["caFile"] = f"{_CA}/ca.crt"
    return document


@dataclass(frozen=True, slots=True)
class _Mounted:
    """A Secret that the gateway reads from a folder."""

    volume: str
    secret: str
    path: str
    keys: tuple[str, ...]


def _mounted(ctx: Context) -> list[_Mounted]:
    spec = ctx.effective.spec.gateway
    found: list[_Mounted] = []
    if spec.tls is not None and spec.tls.secret_ref is not None:
        found.append(_Mounted("tls", spec.tls.secret_ref.name, _TLS, ("tls.crt", "tls.key")))
    if spec.auth is not None and spec.auth.oidc is not None and spec.auth.oidc.ca_secret_ref is not None:
        found.append(_Mounted("oidc-ca", spec.auth.oidc.ca_secret_ref.name, _CA, ("ca.crt",)))
    return found


def _pod(ctx: Context, replicas: int) -> PodParts:
    mounted = _mounted(ctx)
    env = telemetry_env(ctx, APP)
    if not ctx.effective.embedded:
        env += graph_credentials(ctx.child(names.NEO4J_AUTH))
    return PodParts(
        app=APP,
        component=COMPONENT,
        ports=_PORTS,
        env=env,
        volumes=tuple(secret_volume(one.volume, one.secret, *one.keys) for one in mounted),
        mounts=tuple(mount(one.volume, one.path) for one in mounted),
        probes=default_probes(),
        resources=ctx.effective.resources["gateway"],
        group=65532 if mounted else 0,
        spread=spread(ctx, ctx.selector(APP, COMPONENT), replicas),
    )
