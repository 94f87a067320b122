"""Pod templates: the parts that every component has alike, overridden by its spec, restricted unless said otherwise.

Restricted means the Pod Security Standard of that name: no privilege, no root, no capability, the runtime's seccomp
profile; the root file system is read-only besides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.merging import merged_by_name, merged_template
from tapio_reconciler.core.objects.outward import authorities_mounts, authorities_volumes, proxy_env, with_authorities
from tapio_shared.api.component import Component as ComponentSpec
from tapio_shared.api.labels import CONFIG_HASH
from tapio_shared.json import JsonObject, JsonValue, int_at

NON_ROOT = 65532
HTTP_PORT = 8080
METRICS_PORT = 9090

_LINUX: JsonObject = {"kubernetes.io/os": "linux"}
"""Nodes with Windows are often not tainted, and would take pods that can't run there."""
_GRACE = 30
"""Seconds that a pod has to end."""
_SLEEPS_SINCE = (1, 30)
"""lifecycle.preStop.sleep is on by default; https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/"""

RESTRICTED_CONTAINER: JsonObject = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodParts:
    """What a component's pod has of its own; everything else is common or comes from the spec."""

    app: str
    component: str
    ports: Mapping[str, int]
    """Port names, at most 15 characters, to numbers; all TCP."""
    image: str = ""
    version: str = ""
    service_account: str = ""
    config_digest: str = ""
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    env: Sequence[JsonObject] = ()
    volumes: Sequence[JsonObject] = ()
    mounts: Sequence[JsonObject] = ()
    probes: Mapping[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    """startup, readiness, liveness."""
    resources: JsonObject = field(default_factory=dict[str, JsonValue])
    user: int = NON_ROOT
    group: int = 0
    """fsGroup; 0 means none."""
    grace: int = _GRACE
    pre_stop: JsonObject | None = None
    uses_token: bool = False
    outward: bool = True
    """Whether its program, one of Tapio's own, may speak to the outside: by proxy, trusting the fleet's authorities."""
    collector: str = ""
    node: bool = False
    container_security: JsonObject | None = None
    pod_security: JsonObject | None = None
    host: JsonObject = field(default_factory=dict[str, JsonValue])
    """hostPID, hostNetwork, dnsPolicy."""
    tolerations: Sequence[JsonObject] | None = None
    affinity: JsonObject | None = None
    spread: Sequence[JsonObject] = ()
    priority_class: str = ""
    extra_containers: Sequence[JsonObject] = ()
    init_containers: Sequence[JsonObject] = ()
    metrics_port: int = 0
    """Where metrics are, when no port of the component's own container is named so; 0: nowhere."""
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of the pod, besides those of the spec and the digest of its configuration."""


def http_probe(path: str, port: str, **timing: int) -> JsonObject:
    """An HTTP probe of a named port."""
    return {"httpGet": {"path": path, "port": port, "scheme": "HTTP"}, **timing}


def tcp_probe(port: str, **timing: int) -> JsonObject:
    """A TCP probe of a named port."""
    return {"tcpSocket": {"port": port}, **timing}


def default_probes(
    path_ready: str = "/readyz", path_alive: str = "/healthz", port: str = "http"
) -> Mapping[str, JsonObject]:
    """The probes of Tapio's own programs."""
    return {
        "startup": http_probe(path_alive, port, periodSeconds=5, failureThreshold=30),
        "readiness": http_probe(path_ready, port, periodSeconds=5, failureThreshold=3),
        "liveness": http_probe(path_alive, port, periodSeconds=10, failureThreshold=6),
    }


def lingering(ctx: Context, spec: ComponentSpec, seconds: int) -> JsonObject | None:
    """A preStop hook for pods behind a Service: they answer for `seconds` more, until nobody sends them connections.
    For less where `podTemplate` has a pod end sooner, since a longer one is refused.

    The kubelet sleeps, not the image, which may hold no such program; None where it can't.
    """
    grace = int_at(spec.pod_template, "spec", "terminationGracePeriodSeconds", default=_GRACE)
    sleep = min(seconds, grace - 1)
    return {"sleep": {"seconds": sleep}} if sleep > 0 and ctx.served.is_at_least(*_SLEEPS_SINCE) else None


def build_pod_template(ctx: Context, spec: ComponentSpec, parts: PodParts) -> JsonObject:
    """The pod template of one component, with the overrides of its spec applied, `podTemplate` last."""
    template: JsonObject = {"metadata": _metadata(ctx, spec, parts), "spec": _pod_spec(ctx, spec, parts)}
    if spec.pod_template is not None:
        template = merged_template(template, dict(spec.pod_template))
    return template


def _metadata(ctx: Context, spec: ComponentSpec, parts: PodParts) -> JsonObject:
    labels = ctx.labels(parts.app, parts.component, version=parts.version, collector=parts.collector, node=parts.node)
    annotations = {**(spec.pod_annotations or {}), **parts.annotations, CONFIG_HASH: parts.config_digest}
    metrics_port = parts.metrics_port or parts.ports.get("metrics")
    if not _monitors_are_served(ctx) and ctx.effective.prometheus and metrics_port:
        annotations |= {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(metrics_port),
            "prometheus.io/path": "/metrics",
        }
    return {
        "labels": {**dict(sorted((spec.pod_labels or {}).items())), **labels},
        "annotations": dict(sorted(annotations.items())),
    }


def _monitors_are_served(ctx: Context) -> bool:
    return ctx.served.find("monitoring.coreos.com", "ServiceMonitor") is not None


def _pod_spec(ctx: Context, spec: ComponentSpec, parts: PodParts) -> JsonObject:
    cluster = ctx.effective.spec
    scheduling = cluster.scheduling
    security: JsonObject = {
        "runAsNonRoot": True,
        "runAsUser": parts.user,
        "runAsGroup": parts.user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if parts.group:
        security |= {"fsGroup": parts.group, "fsGroupChangePolicy": "OnRootMismatch"}
    pod: JsonObject = {
        "serviceAccountName": parts.service_account,
        "automountServiceAccountToken": parts.uses_token,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": parts.grace,
        "securityContext": parts.pod_security if parts.pod_security is not None else security,
        "containers": [_container(ctx, spec, parts), *parts.extra_containers],
        **parts.host,
    }
    if parts.init_containers:
        pod["initContainers"] = list(parts.init_containers)
    volumes = [*parts.volumes, *(authorities_volumes(ctx) if parts.outward else ())]
    if volumes:
        pod["volumes"] = [*volumes]
    # Each once: the API server merges the list by name, and refuses one that stands twice.
    pull_secrets: list[JsonValue] = [
        {"name": name} for name in dict.fromkeys(one.name for one in cluster.image.pull_secrets)
    ]
    if pull_secrets:
        pod["imagePullSecrets"] = pull_secrets
    selector = spec.node_selector or (None if parts.node else scheduling.node_selector)
    pod["nodeSelector"] = {**_LINUX, **(selector or {})}
    tolerations = spec.tolerations if spec.tolerations is not None else None if parts.node else scheduling.tolerations
    if tolerations is not None:
        pod["tolerations"] = [one.document() for one in tolerations]
    elif parts.tolerations:
        pod["tolerations"] = list(parts.tolerations)
    # A node agent's own affinity holds what the spec asks for already: it is never all that decides.
    affinity = None if parts.node else spec.affinity if spec.affinity is not None else scheduling.affinity
    if affinity is not None:
        pod["affinity"] = dict(affinity)
    elif parts.affinity is not None:
        pod["affinity"] = parts.affinity
    if affinity is None and parts.spread:
        pod["topologySpreadConstraints"] = list(parts.spread)
    priority = (
        spec.priority_class_name or ("" if parts.node else scheduling.priority_class_name) or parts.priority_class
    )
    if priority:
        pod["priorityClassName"] = priority
    return pod


def _container(ctx: Context, spec: ComponentSpec, parts: PodParts) -> JsonObject:
    container: JsonObject = {
        "name": parts.component,
        "image": parts.image,
        "ports": [{"name": name, "containerPort": number, "protocol": "TCP"} for name, number in parts.ports.items()],
        "resources": parts.resources,
        "securityContext": parts.container_security or RESTRICTED_CONTAINER,
    }
    container |= pull_policy(ctx)
    command, args = spec.command if spec.command is not None else parts.command, spec.args
    if command:
        container["command"] = list(command)
    wanted_args = parts.args if args is None else args
    if wanted_args:
        container["args"] = list(wanted_args)
    own_env = [one.document() for one in spec.env or ()]
    outward_env = with_authorities(ctx, [*parts.env, *proxy_env(ctx)]) if parts.outward else [*parts.env]
    env = merged_by_name(outward_env, own_env)
    if env:
        container["env"] = [*env]
    mounts = [*parts.mounts, *(authorities_mounts(ctx) if parts.outward else ())]
    if mounts:
        container["volumeMounts"] = [*mounts]
    for name, field_name in (
        ("startup", "startupProbe"),
        ("readiness", "readinessProbe"),
        ("liveness", "livenessProbe"),
    ):
        given = None if spec.probes is None else getattr(spec.probes, name)
        if given == "none":
            continue
        probe = given if given is not None else parts.probes.get(name)
        if probe:
            container[field_name] = dict(probe)
    if parts.pre_stop is not None:
        container["lifecycle"] = {"preStop": parts.pre_stop}
    return container


def pull_policy(ctx: Context) -> JsonObject:
    """When images are pulled, as a container has it; nothing where Kubernetes shall decide."""
    policy = ctx.effective.spec.image.pull_policy
    return {"imagePullPolicy": policy} if policy else {}


def config_volume(name: str, config_map: str) -> JsonObject:
    """A volume of a ConfigMap."""
    return {"name": name, "configMap": {"name": config_map, "defaultMode": 0o444}}


def secret_volume(name: str, secret: str, *keys: str, mode: int = 0o440) -> JsonObject:
    """A volume of the `keys` of a Secret, readable by the pod's group alone: Kubernetes lets it (fsGroup) read what is
    0400 too."""
    items: list[JsonValue] = [{"key": key, "path": key} for key in keys]
    return {"name": name, "secret": {"secretName": secret, "defaultMode": mode, "items": items}}


def mount(name: str, path: str, *, read_only: bool = True, propagation: str = "") -> JsonObject:
    """A volume mount."""
    document: JsonObject = {"name": name, "mountPath": path}
    if read_only:
        document["readOnly"] = True
    if propagation:
        document["mountPropagation"] = propagation
    return document
