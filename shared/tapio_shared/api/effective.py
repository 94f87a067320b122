"""What a TapioCluster means once profile, overrides and budget are taken together. Pure; see profiles.py for the order.

The result names everything explicitly, so that builders decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tapio_shared.api.budget import Share, share_out
from tapio_shared.api.cluster import TapioClusterSpec
from tapio_shared.api.collectors import (
    Collector,
    CollectorType,
    EtcdCollector,
    KubernetesCollector,
    TapioCollectorSpec,
)
from tapio_shared.api.component import Component, SecretReference
from tapio_shared.api.intelligence import Intelligence, Neo4j
from tapio_shared.api.profiles import DEFAULTS
from tapio_shared.api.quantity import quantity_or_none
from tapio_shared.json import JsonObject, JsonValue

COLLECTOR_TYPES: tuple[CollectorType, ...] = ("ebpf", "systemd", "cni", "kubernetes", "etcd")

_DEFAULT_RESOURCES: Mapping[str, JsonObject] = {
    "nats": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
    "neo4j": {"requests": {"cpu": "500m", "memory": "2Gi"}, "limits": {"memory": "2Gi"}},
    "correlation": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
    "gateway": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
    "collector": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
    # Maps and ring buffers count as the pod's memory from Linux 5.11 on.
    "ebpf": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
    # It holds every object that it watches.
    "kubernetes": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveCollector:
    """One collector that is wanted; `resource` is the TapioCollector's name when it comes from one."""

    type: CollectorType
    spec: Collector
    resource: str = ""
    resources: JsonObject = field(default_factory=dict[str, JsonValue])
    namespaces: tuple[str, ...] = ()
    watch_secrets: bool = False
    endpoints: tuple[str, ...] = ()
    credentials: str = ""
    asked_for: bool = True
    """Whether somebody named it; False when it is part of "all"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Replicas of one component, and the bounds of its autoscaler when it has one."""

    replicas: int
    maximum: int = 0
    """0: no autoscaler."""
    metrics: tuple[JsonObject, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveCluster:
    """Everything that is wanted of one Tapio."""

    spec: TapioClusterSpec
    version: str
    high_availability: bool
    lightweight: bool
    collectors: tuple[EffectiveCollector, ...]
    intelligence: Intelligence
    embedded: bool
    neo4j: Neo4j
    neo4j_members: int
    neo4j_edition: str
    graph_storage: str
    nats_servers: int
    nats_storage: str
    nats_max_bytes: str
    nats_tls: bool
    correlation: Scaling
    gateway: Scaling | None
    prometheus: bool
    grafana: bool
    resources: Mapping[str, JsonObject]
    """Per pod of nats, neo4j, correlation and gateway, those of them that run."""

    @property
    def uses_external_nats(self) -> bool:
        return self.spec.nats.external is not None

    @property
    def runs_neo4j(self) -> bool:
        """Whether Neo4j is wanted; its licence may still refuse it."""
        return not self.embedded and self.neo4j.enabled is not False

    @property
    def has_graph(self) -> bool:
        """Whether there is a graph to ask: Neo4j's, or the correlation service's own."""
        return self.intelligence.correlation.enabled is not False if self.embedded else self.runs_neo4j


def effective_cluster(
    spec: TapioClusterSpec,
    *,
    version: str,
    intelligence: Intelligence | None = None,
    collectors: Mapping[str, TapioCollectorSpec] | None = None,
) -> EffectiveCluster:
    """Resolve `spec`. `intelligence` is a TapioIntelligence's, used while `spec.intelligence` is absent; `collectors`
    are accepted TapioCollectors by name. Raises `BudgetTooSmall`."""
    defaults = DEFAULTS[spec.profile]
    lightweight = _given(spec.lightweight, defaults.lightweight and not spec.high_availability)
    available = _given(spec.high_availability, defaults.high_availability and not lightweight)
    mind = spec.intelligence or intelligence or Intelligence()
    embedded = mind.embedded if mind.embedded is not None else defaults.embedded and mind.neo4j is None
    neo4j = mind.neo4j or Neo4j()
    members, edition = neo4j_members(neo4j)
    horizontal = _given(spec.autoscaling.horizontal, defaults.horizontal)
    correlation_default = _replicas(defaults.correlation_replicas, available=available)
    correlation = (
        Scaling(replicas=1)  # The graph is on the volume of one pod.
        if embedded
        else _scaling(mind.correlation, mind.correlation.replicas, correlation_default, horizontal)
    )
    gateway_on = _given(spec.gateway.enabled, defaults.gateway_replicas > 0)
    gateway_default = _replicas(max(defaults.gateway_replicas, 1), available=available)
    gateway = _scaling(spec.gateway, spec.gateway.replicas, gateway_default, horizontal) if gateway_on else None
    servers = spec.nats.replicas or (3 if available else 1 if lightweight else defaults.nats_servers)
    return EffectiveCluster(
        spec=spec,
        version=version,
        high_availability=available,
        lightweight=lightweight,
        collectors=(*inline_collectors(spec), *_resource_collectors(collectors or {})),
        intelligence=mind,
        embedded=embedded,
        neo4j=neo4j,
        neo4j_members=members,
        neo4j_edition=edition,
        graph_storage=neo4j.storage or defaults.graph_storage,
        nats_servers=servers,
        nats_storage=spec.nats.storage or defaults.nats_storage,
        nats_max_bytes=spec.nats.observations.max_bytes or defaults.nats_max_bytes,
        nats_tls=_given(spec.nats.tls, defaults.nats_tls),
        correlation=correlation,
        gateway=gateway,
        prometheus=_given(spec.monitoring.prometheus.enabled, defaults.prometheus),
        grafana=_given(spec.monitoring.grafana.enabled, False),
        resources=_resources(
            spec, mind, embedded=embedded, members=members, servers=servers, gateway=gateway, correlation=correlation
        ),
    )


def neo4j_members(neo4j: Neo4j) -> tuple[int, str]:
    """How many members run and which edition: clusters need Enterprise, and Enterprise a licence the user accepted."""
    licensed = neo4j.accept_license_agreement != ""
    if neo4j.edition == "Community" or not licensed:
        return 1, "community"
    return neo4j.replicas, "enterprise"


def _given(value: bool | None, default: bool) -> bool:
    return default if value is None else value


def _replicas(default: int, *, available: bool) -> int:
    return max(default, 2) if available else 1


def _scaling(component: Component, explicit: int | None, default: int, horizontal: bool) -> Scaling:
    own = component.autoscaling
    if own is None:
        if explicit is not None or not horizontal:
            return Scaling(replicas=explicit or default)
        return Scaling(replicas=default, maximum=default * 4)
    minimum = own.min or min(explicit or default, own.max or 100)
    metrics = tuple(dict(one) for one in own.metrics or ())
    return Scaling(replicas=minimum, maximum=max(own.max or minimum * 4, minimum), metrics=metrics)


def inline_collectors(spec: TapioClusterSpec) -> list[EffectiveCollector]:
    """The collectors that the TapioCluster itself asks for: named, or all that are not switched off."""
    block = spec.collectors
    everything = DEFAULTS[spec.profile].collectors_all if block is None else block.all
    found: list[EffectiveCollector] = []
    for kind in COLLECTOR_TYPES:
        given: Collector | None = None if block is None else getattr(block, kind)
        named = given is not None and given.enabled is not False
        by_default = block is None and not everything and kind == "kubernetes"
        if given is not None and given.enabled is False:
            continue
        if named or everything or by_default:
            found.append(_collector(kind, given or Collector(), asked_for=named or by_default))
    return found


def resource_collector(name: str, spec: TapioCollectorSpec) -> EffectiveCollector | None:
    """What the TapioCollector `name` asks for; None when it is switched off."""
    if spec.enabled is False:
        return None
    return EffectiveCollector(
        type=spec.type,
        spec=spec,
        resource=name,
        resources=_own_resources(spec.type, spec),
        namespaces=tuple(spec.namespaces or ()),
        watch_secrets=bool(spec.watch_secrets),
        endpoints=tuple(spec.endpoints or ()),
        credentials=_secret(spec.credentials_secret_ref),
    )


def _resource_collectors(resources: Mapping[str, TapioCollectorSpec]) -> list[EffectiveCollector]:
    found = (resource_collector(name, resources[name]) for name in sorted(resources))
    return [one for one in found if one is not None]


def _collector(kind: CollectorType, spec: Collector, *, asked_for: bool) -> EffectiveCollector:
    kubernetes = spec if isinstance(spec, KubernetesCollector) else KubernetesCollector()
    etcd = spec if isinstance(spec, EtcdCollector) else EtcdCollector()
    return EffectiveCollector(
        type=kind,
        spec=spec,
        resources=_own_resources(kind, spec),
        namespaces=tuple(kubernetes.namespaces or ()),
        watch_secrets=kubernetes.watch_secrets,
        endpoints=tuple(etcd.endpoints or ()),
        credentials=_secret(etcd.credentials_secret_ref),
        asked_for=asked_for,
    )


def _own_resources(kind: CollectorType, spec: Component) -> JsonObject:
    default = _DEFAULT_RESOURCES.get(kind, _DEFAULT_RESOURCES["collector"])
    return dict(default) if spec.resources is None else spec.resources.document()


def _secret(reference: SecretReference | None) -> str:
    return "" if reference is None else reference.name


def _resources(
    spec: TapioClusterSpec,
    mind: Intelligence,
    *,
    embedded: bool,
    members: int,
    servers: int,
    correlation: Scaling,
    gateway: Scaling | None,
) -> dict[str, JsonObject]:
    parts: list[tuple[str, int, Component]] = []
    neo4j = mind.neo4j or Neo4j()
    if not embedded and neo4j.enabled is not False:
        parts.append(("neo4j", members, neo4j))
    if spec.nats.external is None:
        parts.append(("nats", servers, spec.nats))
    if mind.correlation.enabled is not False:
        parts.append(("correlation", correlation.replicas, mind.correlation))
    if gateway is not None:
        parts.append(("gateway", gateway.replicas, spec.gateway))
    shared: dict[str, JsonObject] = {}
    if spec.resources is not None:
        shares = [Share(component=name, replicas=count, explicit=part.resources) for name, count, part in parts]
        shared = share_out(spec.resources, shares)
    result: dict[str, JsonObject] = {}
    for name, _, part in parts:
        if part.resources is not None:
            result[name] = part.resources.document()
        else:
            result[name] = _completed(shared.get(name, {}), _DEFAULT_RESOURCES[name])
        if name == "neo4j":
            result[name] = _memory_fixed(result[name], explicit=part.resources is not None)
    return result


def _completed(share: JsonObject, default: JsonObject) -> JsonObject:
    """A share with the component's own requests where the budget names none, and no request above its limit.

    The two are shared out on their own, so explicit resources of other components may leave less of the limits.
    """
    if not share:
        return dict(default)
    requests, limits = share.get("requests"), share.get("limits")
    own = default["requests"]
    merged: JsonObject = {
        **(own if isinstance(own, dict) else {}),
        **(requests if isinstance(requests, dict) else limits if isinstance(limits, dict) else {}),
    }
    if not isinstance(limits, dict) or not limits:
        return {"requests": merged}
    return {"requests": {name: _at_most(value, limits.get(name)) for name, value in merged.items()}, "limits": limits}


def _at_most(request: JsonValue, limit: JsonValue) -> JsonValue:
    asked, allowed = quantity_or_none(request), quantity_or_none(limit)
    return limit if asked is not None and allowed is not None and allowed < asked else request


def _memory_fixed(resources: JsonObject, *, explicit: bool) -> JsonObject:
    """Neo4j sizes its heap by its memory: request and limit are equal, by the request; `explicit` ones stay."""
    requests, limits = resources.get("requests"), resources.get("limits")
    memory = requests.get("memory") if isinstance(requests, dict) else None
    if explicit and memory is not None and isinstance(limits, dict) and "memory" in limits:
        return resources
    if memory is None:
        memory = limits.get("memory") if isinstance(limits, dict) else "2Gi"
    return {
        "requests": {**(requests if isinstance(requests, dict) else {}), "memory": memory},
        "limits": {**(limits if isinstance(limits, dict) else {}), "memory": memory},
    }
