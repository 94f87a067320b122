"""The API gateway: the one door from outside, with authentication, rules and a rate limit."""

from __future__ import annotations

from dataclasses import dataclass

from tapio_reconciler.core.model import Component, Flow
from tapio_reconciler.core.objects import correlation, nats_users
from tapio_reconciler.core.objects.autoscaling import most_replicas
from tapio_reconciler.core.objects.common import build_service
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.correlation import graph_credentials, telemetry_env
from tapio_reconciler.core.objects.deployed import Deployed, deployed
from tapio_reconciler.core.objects.exposure import APP, COMPONENT, PUBLIC, build_exposure, speaks_tls
from tapio_reconciler.core.objects.flows import scraped, to_telemetry, to_urls
from tapio_reconciler.core.objects.messaging import Access, access, to_nats
from tapio_reconciler.core.objects.neo4j import bolt_url, to_neo4j
from tapio_reconciler.core.objects.pod import (
    HTTP_PORT,
    METRICS_PORT,
    PodParts,
    default_probes,
    lingering,
    mount,
    secret_volume,
)
from tapio_reconciler.core.objects.spreading import spread
from tapio_shared.api import names
from tapio_shared.api.effective import Scaling
from tapio_shared.json import JsonObject

HEALTH = 8080
_LINGER = 5
"""Seconds that load balancers and kube-proxy take at most, as a rule, to hear that a pod ends."""
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
            pod=_pod(ctx, scaling),
            scaling=scaling,
            secrets=(*_graph_secret(ctx), *(one.secret for one in _mounted(ctx))),
            more=(build_metrics_service(ctx), *build_exposure(ctx, ctx.selector(APP, COMPONENT))),
            opens=(*to_nats(ctx), *_to_graph(ctx), *_to_issuer(ctx), *to_telemetry(ctx)),
            admits=(PUBLIC, *scraped(ctx, METRICS_PORT)),
        ),
    )


def _to_graph(ctx: Context) -> tuple[Flow, ...]:
    embedded = ctx.effective.embedded and ctx.effective.has_graph
    return (Flow(app=correlation.APP, ports=(HTTP_PORT,)),) if embedded else to_neo4j(ctx)


def _graph_secret(ctx: Context) -> tuple[str, ...]:
    """The Secret with which the graph is read; the embedded store has none."""
    return (ctx.child(names.NEO4J_AUTH),) if ctx.effective.runs_neo4j else ()


def _to_issuer(ctx: Context) -> tuple[Flow, ...]:
    """To whoever vouches for callers: its discovery document and its keys."""
    auth = ctx.effective.spec.gateway.auth
    return () if auth is None or auth.oidc is None else to_urls(auth.oidc.issuer_url, auth.oidc.jwks_url)


def build_metrics_service(ctx: Context) -> JsonObject:
    """A Service of its own for metrics: what is reached from outside must not hold them."""
    metadata = ctx.metadata(ctx.child("gateway-metrics"), APP, COMPONENT)
    return build_service(metadata, ctx.selector(APP, COMPONENT), {"metrics": METRICS_PORT}, headless=True)


def _configuration(ctx: Context, way: Access) -> JsonObject:
    spec = ctx.effective.spec.gateway
    embedded_url = f"http://{ctx.child(names.CORRELATION)}.{ctx.namespace}.svc:8080"
    document: JsonObject = {
        "listen": f":{PUBLIC}",
        "health": f":{HEALTH}",
        "nats": {**way.settings(), "inboxPrefix": nats_users.inbox_prefix(nats_users.GATEWAY)},
        "rateLimit": spec.rate_limit.document(),
    }
    if ctx.effective.has_graph:
        document["graph"] = {"url": embedded_url if ctx.effective.embedded else bolt_url(ctx)}
    if speaks_tls(ctx):
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


def _pod(ctx: Context, scaling: Scaling) -> PodParts:
    mounted = _mounted(ctx)
    env = telemetry_env(ctx, APP)
    for secret in _graph_secret(ctx):
        env += graph_credentials(secret)
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
        pre_stop=lingering(ctx, ctx.effective.spec.gateway, _LINGER),
        spread=spread(
            ctx,
            ctx.effective.spec.gateway,
            ctx.selector(APP, COMPONENT),
            scaling.replicas,
            most_replicas(ctx, ctx.child(COMPONENT), scaling),
        ),
    )
