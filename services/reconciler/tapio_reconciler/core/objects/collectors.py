"""The collectors: eBPF, systemd and CNI on every node, Kubernetes API and etcd once.

Node agents live in a namespace of their own, with the privileges that each needs and no more; everything else passes
`restricted`. Which collectors can work on this fleet is read off the Node facts; what can't is skipped with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tapio_reconciler.core.model import Component, Flow, PodGroup
from tapio_reconciler.core.objects.autoscaling import build_vertical_autoscaler
from tapio_reconciler.core.objects.common import (
    build_config_map,
    build_service,
    build_service_account,
    configuration_text,
    present,
)
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.correlation import telemetry_env
from tapio_reconciler.core.objects.flows import API_SERVER, scraped, to_telemetry, to_urls
from tapio_reconciler.core.objects.host_access import HOST_PROC, app_armor, capabilities, host_paths
from tapio_reconciler.core.objects.kubernetes_rbac import kubernetes_roles
from tapio_reconciler.core.objects.merging import merged
from tapio_reconciler.core.objects.messaging import Access, access, to_nats
from tapio_reconciler.core.objects.outward import to_proxy
from tapio_reconciler.core.objects.placement import Learned, node_affinity
from tapio_reconciler.core.objects.pod import (
    HTTP_PORT,
    METRICS_PORT,
    RESTRICTED_CONTAINER,
    PodParts,
    build_pod_template,
    config_volume,
    default_probes,
    mount,
    secret_volume,
)
from tapio_shared.api import names
from tapio_shared.api.effective import EffectiveCollector
from tapio_shared.api.labels import FLEET
from tapio_shared.api.names import NODE_COLLECTORS
from tapio_shared.codec import digest
from tapio_shared.json import JsonObject, object_at
from tapio_shared.keys import ObjectRef

_CONFIG, _ETCD = "/etc/tapio", "/etc/tapio-etcd"
_ETCD_KEYS = ("ca.crt", "tls.crt", "tls.key")
_PORTS = {"http": HTTP_PORT, "metrics": METRICS_PORT}
_NODE_NAME: JsonObject = {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
_HOST_PROC: tuple[JsonObject, ...] = ({"name": "HOST_PROC", "value": HOST_PROC},)
_EVERYWHERE: tuple[JsonObject, ...] = ({"operator": "Exists"},)
"""Node agents tolerate every taint: an observer that stays away from a troubled node sees nothing of the trouble."""


_OBSERVERS: Mapping[str, Sequence[str]] = {
    "ebpf": ("kernel", "network", "process-signals", "memory", "storage-io", "scheduler"),
    "systemd": ("systemd",),
    "cni": ("network",),
    "kubernetes": ("lifecycle",),
    "etcd": ("health",),
}
"""Which observers of upstream's `observers` program a collector runs."""


def component_name(collector: EffectiveCollector) -> str:
    """Name in status.components: the type, and the TapioCollector's name when it comes from one."""
    return names.collector_suffix(collector.type, collector.resource or None)


def build_collector(ctx: Context, collector: EffectiveCollector, learned: Learned) -> Component:
    """One collector and its objects; `learned` is what of the fleet a node agent's pods are made for."""
    if collector.type in NODE_COLLECTORS:
        return _node_agent(ctx, collector, learned)
    return _cluster_collector(ctx, collector)


def _config(collector: EffectiveCollector, way: Access) -> str:
    """Configuration of upstream's `observers` program: an orchestrator and the observers that run."""
    document: JsonObject = {
        "orchestrator": {
            "workers": 2,
            "buffer_size": 10_000,
            "log_level": "info",
            "nats": {**way.settings(), "subject": "observations", "max_reconnects": -1},
        },
        "observers": {name: {"enabled": True, "config": _observer(collector)} for name in _OBSERVERS[collector.type]},
    }
    if collector.spec.config is not None:
        document = merged(document, dict(collector.spec.config))
    return configuration_text(document)


def _observer(collector: EffectiveCollector) -> JsonObject:
    settings: JsonObject = {}
    if collector.namespaces:
        settings["namespaces"] = [*collector.namespaces]
    if collector.type == "etcd":
        settings["endpoints"] = [*collector.endpoints]
        settings["tls"] = {name: f"{_ETCD}/{key}" for name, key in zip(("ca", "cert", "key"), _ETCD_KEYS, strict=True)}
    return settings


def _node_agent_pod(
    ctx: Context, collector: EffectiveCollector, learned: Learned, way: Access, image: str, config: JsonObject
) -> PodParts:
    suffix, kind = component_name(collector), collector.type
    app, name = f"tapio-{kind}", ctx.node_child(suffix)
    paths = host_paths(kind, learned.platform)
    annotations, unconfined = app_armor(kind, suffix, _server(ctx.served.version))
    added = capabilities(
        kind,
        privileged=ctx.effective.spec.node_agents.capabilities == "privileged",
        # While nobody knows the nodes, the oldest kernel that can be observed is reckoned with.
        raises_memlock=learned.memlock or ctx.fleet is None,
    )
    return PodParts(
        app=app,
        component=suffix,
        collector=suffix,
        node=True,
        image=image,
        version=ctx.version(collector.spec, image),
        service_account=name,
        ports=_PORTS,
        config_digest=digest([config["data"], way.digest]),
        args=("-config", f"{_CONFIG}/config.yaml"),
        env=(*way.env, _NODE_NAME, *(_HOST_PROC if kind == "ebpf" else ()), *telemetry_env(ctx, app)),
        volumes=(config_volume("config", name), *way.volumes, *(path.volume() for path in paths)),
        mounts=(mount("config", _CONFIG), *way.mounts, *(path.mount() for path in paths)),
        probes=default_probes(),
        resources=collector.resources,
        container_security={
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], **({"add": added} if added else {})},
            **unconfined,
        },
        pod_security={"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}},
        host={"hostPID": True} if kind == "ebpf" else {},
        tolerations=_EVERYWHERE,
        affinity=node_affinity(kind, learned, _given(collector.spec.affinity)),
        priority_class="system-node-critical",
        annotations=annotations | ({FLEET: learned.text()} if learned.text() else {}),
    )


def _node_agent(ctx: Context, collector: EffectiveCollector, learned: Learned) -> Component:
    suffix, kind = component_name(collector), collector.type
    app, name, way = f"tapio-{kind}", ctx.node_child(suffix), access(ctx, kind, node=True)
    image = ctx.image(kind, collector.spec, node_agent=True)
    version = ctx.version(collector.spec, image)
    config = build_config_map(ctx.node_metadata(name, app, suffix), {"config.yaml": _config(collector, way)})
    selector = ctx.selector(app, suffix, node=True)
    template = _resolving(
        build_pod_template(ctx, collector.spec, _node_agent_pod(ctx, collector, learned, way, image, config))
    )
    return Component(
        name=suffix,
        condition="CollectorsReady",
        depends_on=("nats", "streams"),
        objects=present(
            [
                build_service_account(ctx.node_metadata(name, app, suffix)),
                config,
                build_service(ctx.node_metadata(name, app, suffix), selector, {"metrics": METRICS_PORT}, headless=True),
                {
                    "apiVersion": "apps/v1",
                    "kind": "DaemonSet",
                    "metadata": ctx.node_metadata(name, app, suffix, version=version),
                    "spec": {
                        "selector": {"matchLabels": selector},
                        "updateStrategy": _update_strategy(collector),
                        "minReadySeconds": 5,
                        "revisionHistoryLimit": 3,
                        "template": template,
                    },
                },
                build_vertical_autoscaler(ctx, ctx.node_metadata(name, app, suffix), "DaemonSet", name, suffix),
            ]
        ),
        secrets=way.made,
        workloads=(ObjectRef("apps", "DaemonSet", ctx.node_namespace, name),),
        pods=(_pods(ctx, app, suffix, node=True),),
        version=version,
        image=image,
    )


def _given(value: JsonObject | None) -> JsonObject | None:
    return None if value is None else dict(value)


def _pods(ctx: Context, app: str, suffix: str, observed: tuple[Flow, ...] = (), *, node: bool = False) -> PodGroup:
    """A collector's pods; `observed` is what they reach besides NATS and telemetry."""
    opens = (*to_nats(ctx), *observed, *to_telemetry(ctx), *to_proxy(ctx))
    return PodGroup(app=app, component=suffix, node=node, opens=opens, admits=scraped(ctx, METRICS_PORT))


def _server(version: str) -> tuple[int, int]:
    """Minor version of an API server, from `v1.31.0-eks-1`; the oldest when it is not told."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (0, 0) if found is None else (int(found[1]), int(found[2]))


def _resolving(template: JsonObject) -> JsonObject:
    """A pod that podTemplate puts into the host's network still resolves Services, unless it says how it resolves.

    The operator itself asks for no host network: eBPF sees all namespaces from its own, and a host has each port once.
    """
    spec = object_at(template, "spec")
    if spec.get("hostNetwork") is True:
        spec.setdefault("dnsPolicy", "ClusterFirstWithHostNet")
    return template


def _update_strategy(collector: EffectiveCollector) -> JsonObject:
    """As the spec says; else a tenth of the nodes at a time, so that a fleet is never blind."""
    given = collector.spec.update_strategy
    if given is not None and given.type == "OnDelete":
        return {"type": "OnDelete"}
    rolling = {} if given is None or given.rolling_update is None else given.rolling_update.document()
    if rolling.get("maxUnavailable") is None:
        # The API server takes 1 for an absent one, and refuses it beside a surge.
        rolling["maxUnavailable"] = "10%" if rolling.get("maxSurge") in (None, 0, "0%") else 0
    return {"type": "RollingUpdate", "rollingUpdate": rolling}


def _deployment_strategy(collector: EffectiveCollector) -> JsonObject:
    """The old pod goes before the new one comes: two of them would report everything twice. Else as the spec says."""
    given = collector.spec.update_strategy
    if given is None or (given.type is None and given.rolling_update is None):
        return {"type": "Recreate"}
    rolling = {} if given.rolling_update is None else given.rolling_update.document()
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1, **rolling}}


def _cluster_collector_pod(
    ctx: Context, collector: EffectiveCollector, way: Access, image: str, config: JsonObject
) -> PodParts:
    suffix, kind = component_name(collector), collector.type
    app = f"tapio-{kind}"
    etcd = kind == "etcd" and bool(collector.credentials)
    return PodParts(
        app=app,
        component=suffix,
        collector=suffix,
        image=image,
        version=ctx.version(collector.spec, image),
        service_account=ctx.child(suffix),
        ports=_PORTS,
        config_digest=digest([config["data"], ctx.secret_digests.get(collector.credentials, ""), way.digest]),
        args=("-config", f"{_CONFIG}/config.yaml"),
        env=(*way.env, *telemetry_env(ctx, app)),
        volumes=(
            config_volume("config", ctx.child(f"{suffix}-config")),
            *way.volumes,
            *((secret_volume("etcd", collector.credentials, *_ETCD_KEYS, mode=0o400),) if etcd else ()),
        ),
        mounts=(mount("config", _CONFIG), *way.mounts, *((mount("etcd", _ETCD),) if etcd else ())),
        probes=default_probes(),
        resources=collector.resources,
        group=65532 if etcd else way.group,
        uses_token=kind == "kubernetes",
        container_security=RESTRICTED_CONTAINER,
    )


def _cluster_collector(ctx: Context, collector: EffectiveCollector) -> Component:
    suffix, kind = component_name(collector), collector.type
    app, name, way = f"tapio-{kind}", ctx.child(suffix), access(ctx, kind)
    image = ctx.image(kind, collector.spec)
    version = ctx.version(collector.spec, image)
    config = build_config_map(
        ctx.metadata(ctx.child(f"{suffix}-config"), app, suffix, collector=suffix),
        {"config.yaml": _config(collector, way)},
    )
    selector = ctx.selector(app, suffix)
    template = build_pod_template(ctx, collector.spec, _cluster_collector_pod(ctx, collector, way, image, config))
    roles = kubernetes_roles(ctx, collector, app, suffix, name) if kind == "kubernetes" else []
    return Component(
        name=suffix,
        condition="CollectorsReady",
        depends_on=("nats", "streams"),
        objects=present(
            [
                build_service_account(ctx.metadata(name, app, suffix, collector=suffix)),
                config,
                *roles,
                build_service(ctx.metadata(name, app, suffix, collector=suffix), selector, {"metrics": METRICS_PORT}),
                # One watcher of the whole cluster: a second one would report everything twice.
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "metadata": ctx.metadata(name, app, suffix, version=version, collector=suffix),
                    "spec": {
                        "replicas": 1,
                        "selector": {"matchLabels": selector},
                        "strategy": _deployment_strategy(collector),
                        "revisionHistoryLimit": 3,
                        "template": template,
                    },
                },
                build_vertical_autoscaler(
                    ctx, ctx.metadata(name, app, suffix, collector=suffix), "Deployment", name, suffix
                ),
            ]
        ),
        workloads=(ObjectRef("apps", "Deployment", ctx.namespace, name),),
        pods=(_pods(ctx, app, suffix, (API_SERVER,) if kind == "kubernetes" else to_urls(*collector.endpoints)),),
        version=version,
        image=image,
    )
