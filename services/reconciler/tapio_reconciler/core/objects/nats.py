"""NATS: the message backbone of one Tapio, a StatefulSet with JetStream on volumes of its own.

Parallel start, since a cluster of three has no quorum while only the first pod runs; a preStop hook puts a server into
lame-duck mode, so that clients move before it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from tapio_reconciler.core.model import CertificateSecret, Component, Flow, MadeSecret, PodGroup
from tapio_reconciler.core.objects import nats_users
from tapio_reconciler.core.objects.autoscaling import build_vertical_autoscaler
from tapio_reconciler.core.objects.common import (
    build_config_map,
    build_disruption_budget,
    build_service,
    build_service_account,
    present,
)
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.flows import scraped
from tapio_reconciler.core.objects.messaging import PORT as CLIENT
from tapio_reconciler.core.objects.messaging import auth_secret
from tapio_reconciler.core.objects.nats_configuration import (
    CERTIFICATES,
    LAME_DUCK,
    LAME_DUCK_GRACE,
    MONITOR,
    PID_FILE,
    ROUTES,
    STORE,
    nats_configuration,
    permitted_users,
)
from tapio_reconciler.core.objects.pod import (
    RESTRICTED_CONTAINER,
    PodParts,
    build_pod_template,
    config_volume,
    http_probe,
    mount,
    pull_policy,
    secret_volume,
    tcp_probe,
)
from tapio_reconciler.core.objects.spreading import spread
from tapio_shared.api import names
from tapio_shared.api.effective import Scaling
from tapio_shared.api.images import NATS_EXPORTER
from tapio_shared.api.quantity import quantity_or_none
from tapio_shared.codec import digest
from tapio_shared.json import JsonObject, str_at
from tapio_shared.keys import ObjectRef

APP = "nats"
EXPORTER = 7777
_CONFIG = "/etc/nats-config/nats.conf"
_MEMORY_SHARE = Decimal("0.9")
"""Of the memory limit: from here on the server collects garbage rather than grow, and so is not killed for it."""
_MEBIBYTE = 1 << 20
_PROBES = {
    # All assets current, or a roll goes on to the next server while this one catches up. Not at once: in its first
    # second or two a server that has not heard what it holds yet says that all of it is well (docs/adr/0009).
    "startup": http_probe(
        "/healthz", "monitor", initialDelaySeconds=10, periodSeconds=10, timeoutSeconds=5, failureThreshold=90
    ),
    # A server that lags for a moment still serves: it must not lose its endpoints.
    "readiness": http_probe(
        "/healthz?js-server-only=true", "monitor", periodSeconds=10, timeoutSeconds=5, failureThreshold=3
    ),
    # A disk that is slow for a second is no reason to kill a server, which would only make it read more.
    "liveness": http_probe(
        "/healthz?js-enabled-only=true", "monitor", periodSeconds=30, timeoutSeconds=5, failureThreshold=3
    ),
}


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
    secrets = _secrets(ctx)
    held = [ctx.secret_digests.get(str_at(one.manifest, "metadata", "name"), "") for one in secrets]
    template = build_pod_template(ctx, spec, _pod(ctx, image, version, digest([config["data"], held])))
    headless = ctx.child(names.NATS_HEADLESS)
    return Component(
        name="nats",
        condition="MessagingReady",
        objects=present(
            [
                build_service_account(ctx.metadata(name, APP, APP)),
                config,
                _headless_service(ctx, headless, selector),
                build_service(ctx.metadata(name, APP, APP), selector, {"client": CLIENT}),
                _stateful_set(ctx, name, headless, selector, template, version),
                build_vertical_autoscaler(
                    ctx,
                    ctx.metadata(name, APP, APP),
                    "StatefulSet",
                    name,
                    APP,
                    Scaling(replicas=ctx.effective.nats_servers),
                ),
                build_disruption_budget(
                    ctx, ctx.metadata(name, APP, APP), template, selector, ctx.effective.nats_servers
                ),
            ]
        ),
        secrets=secrets,
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


def _headless_service(ctx: Context, name: str, selector: JsonObject) -> JsonObject:
    """What names each server on its own, for routes, scrapes and probes."""
    metrics = {"metrics": EXPORTER} if ctx.effective.prometheus else {}
    ports = {"client": CLIENT, "routes": ROUTES, "monitor": MONITOR, **metrics}
    return build_service(ctx.metadata(name, APP, APP), selector, ports, headless=True)


def _secrets(ctx: Context) -> tuple[MadeSecret, ...]:
    """Passwords, and certificates where servers and clients speak TLS."""
    passwords = auth_secret(ctx)
    if not ctx.effective.nats_tls:
        return (passwords,)
    name, headless = ctx.child(names.NATS), ctx.child(names.NATS_HEADLESS)
    metadata = ctx.metadata(ctx.child(names.NATS_TLS), APP, APP)
    metadata.pop("ownerReferences")
    certificates = CertificateSecret(
        manifest={"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"},
        common_name=name,
        dns_names=(f"{name}.{ctx.namespace}.svc", f"*.{headless}.{ctx.namespace}.svc", "localhost"),
    )
    return passwords, certificates


def _environment(ctx: Context) -> tuple[JsonObject, ...]:
    """What the configuration's variables stand for."""
    pod_name: JsonObject = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    secret = ctx.child(names.NATS_AUTH)
    passwords: list[JsonObject] = [
        {
            "name": nats_users.variable(user),
            "valueFrom": {"secretKeyRef": {"name": secret, "key": user}},
        }
        for user in nats_users.passwords(permitted_users(ctx))
    ]
    return pod_name, *_memory_limit(ctx), *passwords


def _memory_limit(ctx: Context) -> tuple[JsonObject, ...]:
    """What Go's runtime keeps below (https://docs.nats.io/running-a-nats-service/nats-kubernetes)."""
    limit = quantity_or_none(str_at(ctx.effective.resources[APP], "limits", "memory"))
    mebibytes = 0 if limit is None else int(limit * _MEMORY_SHARE) // _MEBIBYTE
    return ({"name": "GOMEMLIMIT", "value": f"{mebibytes}MiB"},) if mebibytes else ()


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
        env=_environment(ctx),
        volumes=(
            config_volume("config", ctx.child(names.NATS_CONFIG)),
            {"name": "run", "emptyDir": {}},
            *((_certificates_volume(ctx),) if ctx.effective.nats_tls else ()),
        ),
        mounts=(
            mount("config", "/etc/nats-config"),
            mount("run", "/var/run/nats", read_only=False),
            mount("data", STORE, read_only=False),
            *((mount("certificates", CERTIFICATES),) if ctx.effective.nats_tls else ()),
        ),
        probes=_PROBES,
        resources=ctx.effective.resources[APP],
        user=1000,
        group=1000,
        grace=LAME_DUCK_GRACE + LAME_DUCK + 20,
        pre_stop={"exec": {"command": ["nats-server", f"-sl=ldm={PID_FILE}"]}},
        outward=False,
        spread=spread(ctx, ctx.effective.spec.nats, ctx.selector(APP, APP), servers),
        extra_containers=(_exporter(ctx),) if ctx.effective.prometheus else (),
        metrics_port=EXPORTER if ctx.effective.prometheus else 0,
    )


def _certificates_volume(ctx: Context) -> JsonObject:
    return secret_volume("certificates", ctx.child(names.NATS_TLS), "ca.crt", "tls.crt", "tls.key")


def _exporter(ctx: Context) -> JsonObject:
    """Turns the server's monitoring endpoints into metrics: NATS itself has none that Prometheus understands."""
    # That it listens is enough: a server that answers it slowly is not to leave the Service for that.
    probe = tcp_probe("metrics", periodSeconds=30)
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


def volume_claim(
    ctx: Context,
    name: str,
    app: str,
    size: str,
    storage_class: str | None,
    more_labels: Mapping[str, str] | None = None,
) -> JsonObject:
    """A claim template; its labels let the watcher find the claims. They hold no version: the template can't change."""
    spec: JsonObject = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "labels": {**ctx.labels(app, app), **(more_labels or {})}},
        "spec": spec,
    }
