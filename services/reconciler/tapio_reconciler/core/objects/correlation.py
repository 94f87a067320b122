"""The correlation service: reads observations from NATS, writes the graph, and runs the three engines.

With the embedded store it is the graph store too: then it is a StatefulSet of one with a volume of its own.
"""

from __future__ import annotations

from tapio_reconciler.core.model import Component
from tapio_reconciler.core.objects.common import (
    build_autoscaler,
    build_config_map,
    build_deployment,
    build_disruption_budget,
    build_service,
    build_service_account,
    configuration_text,
    present,
    spread,
)
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.merging import merged
from tapio_reconciler.core.objects.nats import client_url, volume_claim
from tapio_reconciler.core.objects.neo4j import bolt_url, refuses_unlicensed
from tapio_reconciler.core.objects.pod import (
    HTTP_PORT,
    METRICS_PORT,
    PodParts,
    build_pod_template,
    config_volume,
    default_probes,
    mount,
)
from tapio_shared.api import names
from tapio_shared.codec import digest
from tapio_shared.json import JsonObject
from tapio_shared.keys import ObjectRef

APP = "tapio-correlation"
COMPONENT = names.CORRELATION
GRAPH_COMPONENT = "graph"
_CONFIG = "/etc/tapio"
_STORE = "/var/lib/tapio"
_PORTS = {"http": HTTP_PORT, "metrics": METRICS_PORT}


def build_correlation(ctx: Context) -> Component | None:
    """The correlation service and its objects; None where its spec switches it off or its graph store is refused."""
    spec = ctx.effective.intelligence.correlation
    if spec.enabled is False or (not ctx.effective.embedded and refuses_unlicensed(ctx)):
        return None
    name, embedded = ctx.child(COMPONENT), ctx.effective.embedded
    image = ctx.image(COMPONENT, spec)
    version = ctx.version(spec, image)
    config = build_config_map(
        ctx.metadata(ctx.child("correlation-config"), APP, COMPONENT), {"config.yaml": _config(ctx)}
    )
    selector, scaling = ctx.selector(APP, COMPONENT), ctx.effective.correlation
    template = build_pod_template(ctx, spec, _pod(ctx, image, version, digest(config["data"])))
    common = [
        build_service_account(ctx.metadata(name, APP, COMPONENT)),
        config,
        build_service(ctx.metadata(name, APP, COMPONENT), selector, _PORTS),
    ]
    if embedded:
        workload = _embedded(ctx, name, selector, template, version)
        return Component(
            name=GRAPH_COMPONENT,
            condition="GraphStoreReady",
            depends_on=("nats",),
            objects=present([*common, workload]),
            workloads=(ObjectRef("apps", "StatefulSet", ctx.namespace, name),),
            version=version,
            image=image,
        )
    return Component(
        name="correlation",
        condition="CorrelationReady",
        depends_on=("nats", "neo4j"),
        objects=present(
            [
                *common,
                build_deployment(ctx, ctx.metadata(name, APP, COMPONENT, version=version), selector, template, scaling),
                build_autoscaler(ctx, ctx.metadata(name, APP, COMPONENT), name, scaling),
                build_disruption_budget(ctx, ctx.metadata(name, APP, COMPONENT), selector, scaling.replicas),
            ]
        ),
        workloads=(ObjectRef("apps", "Deployment", ctx.namespace, name),),
        version=version,
        image=image,
    )


def _config(ctx: Context) -> str:
    """The service's configuration file: where it reads, where it writes, and what the engines do."""
    mind = ctx.effective.intelligence
    engines = mind.correlation.engines
    document: JsonObject = {
        "nats": {"url": client_url(ctx), "stream": "OBSERVATIONS", "consumer": "neo4j-loader"},
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
    if mind.correlation.config is not None:
        document = merged(document, dict(mind.correlation.config))
    return configuration_text(document)


def _pod(ctx: Context, image: str, version: str, config_digest: str) -> PodParts:
    embedded = ctx.effective.embedded
    secret = ctx.child(names.NEO4J_AUTH)
    env: list[JsonObject] = telemetry_env(ctx)
    if not embedded:
        env += graph_credentials(secret)
    mounts = [mount("config", _CONFIG), mount("tmp", "/tmp", read_only=False)]  # noqa: S108 - a path in the container
    if embedded:
        mounts.append(mount("graph", _STORE, read_only=False))
    return PodParts(
        app=APP,
        component=COMPONENT,
        image=image,
        version=version,
        service_account=ctx.child(COMPONENT),
        ports=_PORTS,
        config_digest=digest([config_digest, ctx.secret_digests.get(secret, "")]) if not embedded else config_digest,
        args=("-config", f"{_CONFIG}/config.yaml"),
        env=env,
        volumes=(config_volume("config", ctx.child("correlation-config")), {"name": "tmp", "emptyDir": {}}),
        mounts=mounts,
        probes=default_probes(),
        resources=ctx.effective.resources["correlation"],
        group=65532 if embedded else 0,
        spread=spread(ctx, ctx.selector(APP, COMPONENT), ctx.effective.correlation.replicas),
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


def telemetry_env(ctx: Context) -> list[JsonObject]:
    """Where a component sends its own traces and metrics, when an OTLP endpoint is named."""
    endpoint = ctx.effective.spec.monitoring.otlp_endpoint
    return [] if endpoint is None else [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": endpoint}]


def graph_credentials(secret: str) -> list[JsonObject]:
    """Name and password of the graph database, from its Secret."""
    env: list[JsonObject] = []
    for key in ("username", "password"):
        source: JsonObject = {"secretKeyRef": {"name": secret, "key": key}}
        env.append({"name": f"NEO4J_{key.upper()}", "valueFrom": source})
    return env
