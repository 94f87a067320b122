"""NATS: the message backbone of one Tapio, a StatefulSet with JetStream on volumes of its own.

Parallel start, since a cluster of three has no quorum while only the first pod runs; a preStop hook puts a server into
lame-duck mode, so that clients move before it ends.
"""

from __future__ import annotations

from tapio_reconciler.core.model import Component, Flow, PodGroup
from tapio_reconciler.core.objects.autoscaling import build_vertical_autoscaler
from tapio_reconciler.core.objects.common import (
    build_config_map,
    build_disruption_budget,
    build_service,
    build_service_account,
    present,
    spread,
)
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.flows import scraped, to_urls
from tapio_reconciler.core.objects.merging import merged
from tapio_reconciler.core.objects.pod import (
    RESTRICTED_CONTAINER,
    PodParts,
    build_pod_template,
    config_volume,
    http_probe,
    mount,
    pull_policy,
)
from tapio_shared.api import names
from tapio_shared.api.images import NATS_EXPORTER
from tapio_shared.api.quantity import parse_quantity
from tapio_shared.codec import digest
from tapio_shared.json import JsonObject, JsonValue
from tapio_shared.keys import ObjectRef

APP = "nats"
CLIENT, ROUTES, MONITOR, EXPORTER = 4222, 6222, 8222, 7777
_CONFIG = "/etc/nats-config/nats.conf"
_PID = "/var/run/nats/nats.pid"
_STORE = "/data"
_SHARE_OF_VOLUME = 0.95
"""Of the volume, so that the file system never fills up before JetStream's own limit is reached."""


def build_nats(ctx: Context) -> Component | None:
    """NATS and its objects; None when an external one is used."""
    if ctx.effective.uses_external_nats:
        return None
    spec = ctx.effective.spec.nats
    image = ctx.image(APP, spec)
    version = ctx.version(spec, image)
    name = ctx.child(names.NATS)
    config = build_config_map(
        ctx.metadata(ctx.child(names.NATS_CONFIG), APP, APP), {"nats.conf": nats_configuration(ctx)}
    )
    selector = ctx.selector(APP, APP)
    template = build_pod_template(ctx, spec, _pod(ctx, image, version, digest(config["data"])))
    headless = ctx.child(names.NATS_HEADLESS)
    return Component(
        name="nats",
        condition="MessagingReady",
        objects=present(
            [
                build_service_account(ctx.metadata(name, APP, APP)),
                config,
                build_service(
                    ctx.metadata(headless, APP, APP),
                    selector,
                    {
                        "client": CLIENT,
                        "routes": ROUTES,
                        "monitor": MONITOR,
                        **({"metrics": EXPORTER} if ctx.effective.prometheus else {}),
                    },
                    headless=True,
                ),
                build_service(ctx.metadata(name, APP, APP), selector, {"client": CLIENT}),
                _stateful_set(ctx, name, headless, selector, template, version),
                build_vertical_autoscaler(ctx, ctx.metadata(name, APP, APP), "StatefulSet", name, APP),
                build_disruption_budget(ctx, ctx.metadata(name, APP, APP), selector, ctx.effective.nats_servers),
            ]
        ),
        workloads=(ObjectRef("apps", "StatefulSet", ctx.namespace, name),),
        pods=(
            PodGroup(
                app=APP,
                component=APP,
                opens=(Flow(app=APP, ports=(ROUTES,)),) if ctx.effective.nats_servers > 1 else (),
                admits=scraped(ctx, EXPORTER),
            ),
        ),
        version=version,
        image=image,
    )


def client_url(ctx: Context) -> str:
    """Where components reach NATS: the TapioCluster's own, or the external one that its spec names."""
    external = ctx.effective.spec.nats.external
    return external.url if external is not None else f"nats://{ctx.child(names.NATS)}.{ctx.namespace}.svc:{CLIENT}"


def to_nats(ctx: Context) -> tuple[Flow, ...]:
    """From a component to NATS: the TapioCluster's own, or the external one, of which only the ports are known."""
    external = ctx.effective.spec.nats.external
    return (Flow(app=APP, ports=(CLIENT,)),) if external is None else to_urls(*external.url.split(","))


def nats_configuration(ctx: Context) -> str:
    """The server's configuration file; `$NAME` is filled in by the server from the pod's environment."""
    servers, headless = ctx.effective.nats_servers, ctx.child(names.NATS_HEADLESS)
    name = ctx.child(names.NATS)
    file_store = int(float(parse_quantity(ctx.effective.nats_storage)) * _SHARE_OF_VOLUME)
    settings: JsonObject = {
        "listen": f"0.0.0.0:{CLIENT}",
        "http": f"0.0.0.0:{MONITOR}",
        "pid_file": _PID,
        "lame_duck_grace_period": "10s",
        "lame_duck_duration": "30s",
        "max_payload": 8 << 20,
        "jetstream": {"store_dir": _STORE, "max_memory_store": 0, "max_file_store": file_store},
    }
    if servers > 1:
        routes: list[JsonValue] = [
            f"nats-route://{name}-{number}.{headless}.{ctx.namespace}.svc:{ROUTES}" for number in range(servers)
        ]
        settings["cluster"] = {
            "name": name,
            "listen": f"0.0.0.0:{ROUTES}",
            "no_advertise": True,
            "routes": routes,
        }
    own = ctx.effective.spec.nats.config
    if own is not None:
        settings = merged(settings, dict(own))
    return "server_name: $POD_NAME\n" + "".join(f"{key}: {_text(value)}\n" for key, value in settings.items())


def _text(value: JsonValue, depth: int = 0) -> str:
    """A value in NATS' configuration language, of which JSON is nearly a subset."""
    pad = "  " * (depth + 1)
    match value:
        case dict():
            inner = "".join(f"{pad}{key}: {_text(child, depth + 1)}\n" for key, child in value.items())
            return "{\n" + inner + "  " * depth + "}"
        case list():
            return "[" + ", ".join(_text(child, depth + 1) for child in value) + "]"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case None:
            return '""'
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'


def _pod(ctx: Context, image: str, version: str, config_digest: str) -> PodParts:
    servers = ctx.effective.nats_servers
    return PodParts(
        app=APP,
        component=APP,
        image=image,
        version=version,
        service_account=ctx.child(names.NATS),
        ports={"client": CLIENT, "routes": ROUTES, "monitor": MONITOR},
        config_digest=config_digest,
        command=("nats-server",),
        args=("--config", _CONFIG),
        env=({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},),
        volumes=(
            config_volume("config", ctx.child(names.NATS_CONFIG)),
            {"name": "run", "emptyDir": {}},
        ),
        mounts=(
            mount("config", "/etc/nats-config"),
            mount("run", "/var/run/nats", read_only=False),
            mount("data", _STORE, read_only=False),
        ),
        probes={
            "startup": http_probe("/healthz", "monitor", periodSeconds=10, failureThreshold=90),
            "readiness": http_probe("/healthz?js-server-only=true", "monitor", periodSeconds=10, failureThreshold=3),
            "liveness": http_probe("/healthz?js-enabled-only=true", "monitor", periodSeconds=30, failureThreshold=3),
        },
        resources=ctx.effective.resources[APP],
        user=1000,
        group=1000,
        grace=60,
        pre_stop={"exec": {"command": ["nats-server", f"-sl=ldm={_PID}"]}},
        spread=spread(ctx, ctx.selector(APP, APP), servers),
        extra_containers=(_exporter(ctx),) if ctx.effective.prometheus else (),
        metrics_port=EXPORTER if ctx.effective.prometheus else 0,
    )


def _exporter(ctx: Context) -> JsonObject:
    """Turns the server's monitoring endpoints into metrics: NATS itself has none that Prometheus understands."""
    probe = http_probe("/metrics", "metrics", periodSeconds=30, timeoutSeconds=5)
    return {
        "name": "exporter",
        "image": ctx.sidecar_image(NATS_EXPORTER),
        **pull_policy(ctx),
        "args": ["-port", str(EXPORTER), "-varz", "-jsz=all", f"http://localhost:{MONITOR}"],
        "ports": [{"name": "metrics", "containerPort": EXPORTER, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": RESTRICTED_CONTAINER,
        "readinessProbe": probe,
        "livenessProbe": probe,
    }


def _stateful_set(
    ctx: Context, name: str, headless: str, selector: JsonObject, template: JsonObject, version: str
) -> JsonObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": ctx.metadata(name, APP, APP, version=version),
        "spec": {
            "serviceName": headless,
            "replicas": ctx.effective.nats_servers,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "selector": {"matchLabels": selector},
            "template": template,
            "volumeClaimTemplates": [
                volume_claim(ctx, "data", APP, ctx.effective.nats_storage, ctx.effective.spec.nats.storage_class_name)
            ],
        },
    }


def volume_claim(ctx: Context, name: str, app: str, size: str, storage_class: str | None) -> JsonObject:
    """A claim template; its labels let the watcher find the claims. They hold no version: the template can't change."""
    spec: JsonObject = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "labels": ctx.labels(app, app)},
        "spec": spec,
    }
