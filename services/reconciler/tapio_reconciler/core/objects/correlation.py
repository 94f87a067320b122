"""The correlation service: reads observations from NATS, writes the graph, and runs the three engines.

With the embedded store it is the graph store too: then it is a StatefulSet of one with a volume of its own.
"""

from __future__ import annotations

from tapio_reconciler.core.model import Component
from tapio_reconciler.core.objects import nats_users
from tapio_reconciler.core.objects.autoscaling import backlog_metric, most_replicas
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.deployed import Deployed, deployed
from tapio_reconciler.core.objects.flows import scraped, to_telemetry
from tapio_reconciler.core.objects.messaging import Access, access, to_nats
from tapio_reconciler.core.objects.nats import volume_claim
from tapio_reconciler.core.objects.neo4j import bolt_url, refuses_unlicensed, to_neo4j
from tapio_reconciler.core.objects.pod import HTTP_PORT, METRICS_PORT, PodParts, default_probes, mount
from tapio_reconciler.core.objects.spreading import spread
from tapio_shared.api import names
from tapio_shared.json import JsonObject

APP = "tapio-correlation"
COMPONENT = names.CORRELATION
GRAPH_COMPONENT = "graph"
STREAM, CONSUMER = nats_users.STREAM, nats_users.CONSUMER
_STORE = "/var/lib/tapio"
_PORTS = {"http": HTTP_PORT, "metrics": METRICS_PORT}


def build_correlation(ctx: Context) -> Component | None:
    """The correlation service and its objects; None where its spec switches it off or its graph store is refused."""
    spec, embedded = ctx.effective.intelligence.correlation, ctx.effective.embedded
    if spec.enabled is False or (not embedded and refuses_unlicensed(ctx)):
        return None
    way = access(ctx, nats_users.CORRELATION)
    one = Deployed(
        name=GRAPH_COMPONENT if embedded else COMPONENT,
        suffix=COMPONENT,
        app=APP,
        image_of=COMPONENT,
        spec=spec,
        condition="GraphStoreReady" if embedded else "CorrelationReady",
        depends_on=("nats", "streams") if embedded else ("nats", "streams", "neo4j"),
        configuration=_configuration(ctx, way),
        nats=way,
        pod=_pod(ctx),
        service_ports=_PORTS,
        scaling=ctx.effective.correlation,
        load=backlog_metric(ctx, STREAM, CONSUMER),
        secrets=() if embedded else (ctx.child(names.NEO4J_AUTH),),
        opens=(*to_nats(ctx), *to_neo4j(ctx), *to_telemetry(ctx)),
        admits=scraped(ctx, METRICS_PORT),
    )
    if not embedded:
        return deployed(ctx, one)
    return deployed(
        ctx, one, lambda name, selector, template, version: _embedded(ctx, name, selector, template, version)
    )


def _configuration(ctx: Context, way: Access) -> JsonObject:
    """The service's configuration file: where it reads, where it writes, and what the engines do."""
    engines = ctx.effective.intelligence.correlation.engines
    return {
        "nats": way.settings() | {"stream": STREAM, "consumer": CONSUMER},
        "graph": {"embedded": {"path": _STORE}} if ctx.effective.embedded else {"url": bolt_url(ctx)},
        "engines": {
            name: {"enabled": engine.enabled, "config": dict(engine.config or {})}
            for name, engine in (
                ("patternDetection", engines.pattern_detection),
                ("eventCorrelation", engines.event_correlation),
                ("rootCause", engines.root_cause),
            )
        },
    }


def _pod(ctx: Context) -> PodParts:
    spec, embedded = ctx.effective.intelligence.correlation, ctx.effective.embedded
    scaling = ctx.effective.correlation
    env = telemetry_env(ctx, APP)
    mounts = [mount("tmp", "/tmp", read_only=False)]  # noqa: S108 - a path in the container
    if embedded:
        mounts.append(mount("graph", _STORE, read_only=False))
    else:
        env += graph_credentials(ctx.child(names.NEO4J_AUTH))
    return PodParts(
        app=APP,
        component=COMPONENT,
        ports=_PORTS,
        env=env,
        volumes=({"name": "tmp", "emptyDir": {}},),
        mounts=mounts,
        probes=default_probes(),
        resources=ctx.effective.resources["correlation"],
        group=65532 if embedded else 0,
        spread=spread(
            ctx,
            spec,
            ctx.selector(APP, COMPONENT),
            scaling.replicas,
            most_replicas(ctx, ctx.child(COMPONENT), scaling),
        ),
    )


def _embedded(ctx: Context, name: str, selector: JsonObject, template: JsonObject, version: str) -> JsonObject:
    neo4j = ctx.effective.intelligence.neo4j
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": ctx.metadata(name, APP, COMPONENT, version=version),
        "spec": {
            "serviceName": name,
            "replicas": 1,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "selector": {"matchLabels": selector},
            "template": template,
            "volumeClaimTemplates": [
                volume_claim(
                    ctx,
                    "graph",
                    COMPONENT,
                    ctx.effective.graph_storage,
                    None if neo4j is None else neo4j.storage_class_name,
                )
            ],
        },
    }


def telemetry_env(ctx: Context, service: str) -> list[JsonObject]:
    """Where a component sends its own traces and metrics, and as whom, when an OTLP endpoint is named."""
    endpoint = ctx.effective.spec.monitoring.otlp_endpoint
    if endpoint is None:
        return []
    attributes = f"service.namespace={ctx.namespace},tapio.cluster={ctx.name}"
    return [
        {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": endpoint},
        {"name": "OTEL_SERVICE_NAME", "value": service},
        {"name": "OTEL_RESOURCE_ATTRIBUTES", "value": attributes},
    ]


def graph_credentials(secret: str) -> list[JsonObject]:
    """Name and password of the graph database, from its Secret."""
    env: list[JsonObject] = []
    for key in ("username", "password"):
        source: JsonObject = {"secretKeyRef": {"name": secret, "key": key}}
        env.append({"name": f"NEO4J_{key.upper()}", "valueFrom": source})
    return env
