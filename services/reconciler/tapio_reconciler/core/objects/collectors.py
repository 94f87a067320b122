"""The collectors: eBPF, systemd and CNI on every node, Kubernetes API and etcd once.

Node agents live in a namespace of their own, with the privileges that each needs and no more; everything else passes
`restricted`. Which collectors can work on this fleet is read off the Node facts; what can't is skipped with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tapio_reconciler.core.model import Component
from tapio_reconciler.core.objects.autoscaling import build_vertical_autoscaler
from tapio_reconciler.core.objects.common import (
    build_config_map,
    build_deployment,
    build_service,
    build_service_account,
    configuration_text,
    present,
)
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.correlation import telemetry_env
from tapio_reconciler.core.objects.kubernetes_rbac import kubernetes_roles
from tapio_reconciler.core.objects.merging import merged
from tapio_reconciler.core.objects.nats import client_url
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
from tapio_shared.api.effective import NODE_COLLECTORS, EffectiveCollector, Scaling
from tapio_shared.codec import digest
from tapio_shared.json import JsonObject, JsonValue
from tapio_shared.keys import ObjectRef

_CONFIG, _ETCD = "/etc/tapio", "/etc/tapio-etcd"
_PORTS = {"http": HTTP_PORT, "metrics": METRICS_PORT}
_NODE_NAME: JsonObject = {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
_EVERYWHERE: tuple[JsonObject, ...] = ({"operator": "Exists"},)
"""Node agents tolerate every taint: an observer that stays away from a troubled node sees nothing of the trouble."""


@dataclass(frozen=True, slots=True)
class _HostPath:
    name: str
    path: str
    read_only: bool = True
    kind: str = ""
    propagation: str = ""


_HOST_PATHS: Mapping[str, Sequence[_HostPath]] = {
    "ebpf": (
        _HostPath("btf", "/sys/kernel/btf"),
        _HostPath("bpf", "/sys/fs/bpf", read_only=False),
        _HostPath("tracing", "/sys/kernel/tracing"),
        _HostPath("cgroup", "/sys/fs/cgroup"),
    ),
    "systemd": (
        _HostPath("run-systemd", "/run/systemd"),
        _HostPath("run-journal", "/run/log/journal", kind="DirectoryOrCreate"),
        _HostPath("var-journal", "/var/log/journal", kind="DirectoryOrCreate"),
        _HostPath("machine-id", "/etc/machine-id"),
        _HostPath("dbus", "/run/dbus/system_bus_socket"),
    ),
    "cni": (
        _HostPath("cni-config", "/etc/cni/net.d"),
        _HostPath("cni-bin", "/opt/cni/bin"),
        _HostPath("netns", "/var/run/netns", kind="DirectoryOrCreate", propagation="HostToContainer"),
    ),
}
_CAPABILITIES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "ebpf": {"least": ("BPF", "PERFMON", "SYS_RESOURCE"), "privileged": ("SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN")},
    "systemd": {"least": (), "privileged": ("DAC_READ_SEARCH",)},
    "cni": {"least": (), "privileged": ("NET_ADMIN", "SYS_ADMIN")},
}
"""`least` needs kernel 5.8; `privileged` adds what uprobes, traffic control and entering namespaces need."""
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


def build_collector(ctx: Context, collector: EffectiveCollector, node_selector: Mapping[str, str] | None) -> Component:
    """One collector and its objects; `node_selector` keeps a node agent to the nodes on which it can work."""
    if collector.type in NODE_COLLECTORS:
        return _node_agent(ctx, collector, node_selector or {})
    return _cluster_collector(ctx, collector)


def _config(ctx: Context, collector: EffectiveCollector) -> str:
    """Configuration of upstream's `observers` program: an orchestrator and the observers that run."""
    document: JsonObject = {
        "orchestrator": {
            "workers": 2,
            "buffer_size": 10_000,
            "log_level": "info",
            "nats": {"url": client_url(ctx), "subject": "observations", "max_reconnects": -1},
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
        settings["tls"] = {"ca": f"{_ETCD}/ca.crt", "cert": f"{_ETCD}/tls.crt", "key": f"{_ETCD}/tls.key"}
    return settings


def _node_agent(ctx: Context, collector: EffectiveCollector, node_selector: Mapping[str, str]) -> Component:
    suffix, kind = component_name(collector), collector.type
    app, name = f"tapio-{kind}", ctx.node_child(suffix)
    image = ctx.image(kind, collector.spec, node_agent=True)
    version = ctx.version(collector.spec, image)
    config = build_config_map(ctx.node_metadata(name, app, suffix), {"config.yaml": _config(ctx, collector)})
    selector = ctx.selector(app, suffix, node=True)
    paths = _HOST_PATHS[kind]
    capabilities = ctx.effective.spec.node_agents.capabilities
    added: list[JsonValue] = [*_CAPABILITIES[kind]["least"]]
    if capabilities == "privileged":
        added += [*_CAPABILITIES[kind]["privileged"]]
    security: JsonObject = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], **({"add": added} if added else {})},
    }
    parts = PodParts(
        app=app,
        component=suffix,
        collector=suffix,
        node=True,
        image=image,
        version=version,
        service_account=name,
        ports=_PORTS,
        config_digest=digest(config["data"]),
        args=("-config", f"{_CONFIG}/config.yaml"),
        env=(_NODE_NAME, *telemetry_env(ctx, app)),
        volumes=(config_volume("config", name), *(_volume(path) for path in paths)),
        mounts=(
            mount("config", _CONFIG),
            *(mount(one.name, one.path, read_only=one.read_only, propagation=one.propagation) for one in paths),
        ),
        probes=default_probes(),
        resources=collector.resources,
        container_security=security,
        pod_security={"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}},
        host={"hostPID": True} if kind == "ebpf" else {},
        tolerations=_EVERYWHERE,
        affinity=_affinity(node_selector),
        priority_class="system-node-critical",
    )
    template = build_pod_template(ctx, collector.spec, parts)
    return Component(
        name=suffix,
        condition="CollectorsReady",
        depends_on=("nats",),
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
        workloads=(ObjectRef("apps", "DaemonSet", ctx.node_namespace, name),),
        version=version,
        image=image,
    )


def _volume(path: _HostPath) -> JsonObject:
    source: JsonObject = {"path": path.path}
    if path.kind:
        source["type"] = path.kind
    return {"name": path.name, "hostPath": source}


def _affinity(node_selector: Mapping[str, str]) -> JsonObject:
    """Linux on amd64 and arm64, and the nodes on which the collector can work."""
    expressions: list[JsonValue] = [
        {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]},
        {"key": "type", "operator": "NotIn", "values": ["virtual-kubelet"]},
    ]
    for key, value in sorted(node_selector.items()):
        expressions.append({"key": key, "operator": "In", "values": [value]})
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": expressions}]}
        }
    }


def _update_strategy(collector: EffectiveCollector) -> JsonObject:
    """As the spec says; else a tenth of the nodes at a time, so that a fleet is never blind."""
    given = collector.spec.update_strategy
    if given is not None and given.type == "OnDelete":
        return {"type": "OnDelete"}
    rolling = None if given is None or given.rolling_update is None else given.rolling_update.document()
    return {"type": "RollingUpdate", "rollingUpdate": rolling or {"maxUnavailable": "10%"}}


def _cluster_collector(ctx: Context, collector: EffectiveCollector) -> Component:
    suffix, kind = component_name(collector), collector.type
    app, name = f"tapio-{kind}", ctx.child(suffix)
    image = ctx.image(kind, collector.spec)
    version = ctx.version(collector.spec, image)
    config = build_config_map(
        ctx.metadata(ctx.child(f"{suffix}-config"), app, suffix, collector=suffix),
        {"config.yaml": _config(ctx, collector)},
    )
    selector = ctx.selector(app, suffix)
    etcd = kind == "etcd" and bool(collector.credentials)
    parts = PodParts(
        app=app,
        component=suffix,
        collector=suffix,
        image=image,
        version=version,
        service_account=name,
        ports=_PORTS,
        config_digest=digest([digest(config["data"]), ctx.secret_digests.get(collector.credentials, "")]),
        args=("-config", f"{_CONFIG}/config.yaml"),
        env=telemetry_env(ctx, app),
        volumes=(
            config_volume("config", ctx.child(f"{suffix}-config")),
            *((secret_volume("etcd", collector.credentials, "ca.crt", "tls.crt", "tls.key"),) if etcd else ()),
        ),
        mounts=(mount("config", _CONFIG), *((mount("etcd", _ETCD),) if etcd else ())),
        probes=default_probes(),
        resources=collector.resources,
        group=65532 if etcd else 0,
        uses_token=kind == "kubernetes",
        container_security=RESTRICTED_CONTAINER,
    )
    template = build_pod_template(ctx, collector.spec, parts)
    roles = kubernetes_roles(ctx, collector, app, suffix, name) if kind == "kubernetes" else []
    return Component(
        name=suffix,
        condition="CollectorsReady",
        depends_on=("nats",),
        objects=present(
            [
                build_service_account(ctx.metadata(name, app, suffix, collector=suffix)),
                config,
                *roles,
                build_service(ctx.metadata(name, app, suffix, collector=suffix), selector, {"metrics": METRICS_PORT}),
                # One watcher of the whole cluster: a second one would report everything twice.
                build_deployment(
                    ctx,
                    ctx.metadata(name, app, suffix, version=version, collector=suffix),
                    selector,
                    template,
                    Scaling(replicas=1),
                    max_unavailable=1,
                ),
                build_vertical_autoscaler(
                    ctx, ctx.metadata(name, app, suffix, collector=suffix), "Deployment", name, suffix
                ),
            ]
        ),
        workloads=(ObjectRef("apps", "Deployment", ctx.namespace, name),),
        version=version,
        image=image,
    )
