"""Values that the planner and the builders exchange: what a TapioCluster should consist of.

Nothing here knows how to build an object (`core.objects`) or what to do about it (`core.planning`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tapio_shared.facts import ServedResource
from tapio_shared.json import JsonObject
from tapio_shared.keys import ObjectRef

_VERSION = re.compile(r"v?([0-9]{1,4})\.([0-9]{1,4})")
"""A gitVersion's beginning; what follows is the distributor's (v1.29.4-eks-036c24b)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedSecret:
    """A Secret whose values are made up once, outside core, and then never touched again.

    `templates` maps each data key to a text in which `{password}` stands for one random password of `length`
    characters, the same in every key unless they are `separate`. `manifest` is the Secret without data.
    """

    manifest: JsonObject
    templates: Mapping[str, str]
    length: int = 24
    opens: str = ""
    """The component whose volumes only these values open: while it has data in them, no new values are made up."""
    separate: bool = False
    """Each key has a password of its own; one that an existing Secret lacks is added, the others are kept."""

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(sorted(self.templates))


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedSecret:
    """A Secret that holds values of others for pods of another namespace, kept equal to them.

    The shell reads and writes the values; core compares the digests of both.
    """

    manifest: JsonObject
    values: Mapping[str, tuple[str, str]]
    """Data key -> Secret of the cluster's own namespace, and its key."""

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(sorted(self.values))


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSecret:
    """An authority and a peer's certificate that it issued, renewed before it ends (annotation tapio.io/renew-at)."""

    manifest: JsonObject
    common_name: str
    dns_names: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        return ("ca.crt", "ca.key", "tls.crt", "tls.key")


MadeSecret = GeneratedSecret | CopiedSecret | CertificateSecret
"""What the operator makes itself. No value of it is ever in core, a log, a decision or a ConfigMap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something a person should know about a cluster that is nevertheless being run: a condition's material."""

    reason: str
    """A constant of `tapio_shared.api.reasons`."""
    message: str
    """A whole sentence with the object, the reason and the next step."""
    condition: str = "Degraded"
    """Degraded: wanted less than asked for. Stalled: nothing safe can be done for `component` (or all, when empty)."""
    component: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A collector that was asked for and can't work on this fleet (an entry of `status.skipped`)."""

    collector: str
    reason: str
    message: str
    nodes: int = 0
    node_selector: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """TCP connections that pods open. Said once, where they are opened: the side that is reached follows from it."""

    ports: tuple[int, ...]
    app: str = ""
    """`app.kubernetes.io/name` of this cluster's pods that are reached; empty: anybody, of whom no more is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodGroup:
    """Pods of one component, as its network policy selects them, and what they may do on the network."""

    app: str
    component: str
    node: bool = False
    """Whether they live in the node agents' namespace."""
    opens: tuple[Flow, ...] = ()
    admits: tuple[int, ...] = ()
    """Ports on which anybody may reach them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One part of a cluster: its objects, what it waits for and where its readiness is read."""

    name: str
    """As in `status.components[].name`: nats, neo4j, graph (embedded), correlation, gateway, monitoring, ebpf, ..."""
    condition: str = ""
    """MessagingReady | GraphStoreReady | CorrelationReady | GatewayReady | CollectorsReady | nothing."""
    depends_on: tuple[str, ...] = ()
    """Names of components that must be Ready before this one's workloads are created or changed."""
    objects: tuple[JsonObject, ...] = ()
    """Complete manifests (apiVersion, kind, metadata with labels, annotations, ownerReferences, ...), without
    the annotations tapio.io/desired-hash and tapio.io/revision, which the planner adds."""
    secrets: tuple[MadeSecret, ...] = ()
    """Its workloads wait until these have been observed, so that they start once, with what is in them."""
    workloads: tuple[ObjectRef, ...] = ()
    """Which of `objects` are its workloads (Deployment, StatefulSet, DaemonSet, Job)."""
    pods: tuple[PodGroup, ...] = ()
    """All pods that its objects make, Jobs included; each group gets a network policy."""
    version: str = ""
    image: str = ""
    mounts: str = ""
    """A ConfigMap, as namespace/name, that somebody else must make in the namespace of its pods, which wait without it;
    nobody tells whether it exists."""
    scaled_by: str = ""
    """The HorizontalPodAutoscalers of somebody else that own its replicas."""
    rolls_one_by_one: bool = False
    """Whether its workloads are members of one cluster: of those that are ready, one is changed at a time."""


@dataclass(frozen=True, slots=True)
class WantedObject:
    """A rendered object with what a plan asks of it again and again. `name` is the text of `ref`."""

    ref: ObjectRef
    name: str
    version: str
    manifest: JsonObject
    digest: str
    needs: tuple[tuple[str, str], ...] = ()
    """(Secret of its namespace, key) of everything that its pods can't start without; no key: the Secret whatever it
    holds. Sorted."""
    trusts: tuple[tuple[str, str], ...] = ()
    """(ConfigMap of its namespace, key) of the certificate authorities that its pods, or its Gateway, trust. Sorted."""
    least_replicas: int = 0
    """Where the manifest leaves the replicas to an autoscaler: with fewer than these it is drift."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Everything a cluster should consist of. Same input, same value, whatever PYTHONHASHSEED is."""

    components: tuple[Component, ...]
    kept: tuple[Component, ...] = ()
    """Components that run and of which nothing is written, but that the Secrets which are made for them stay right."""
    notices: tuple[Notice, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    endpoints: Mapping[str, str] = field(default_factory=dict[str, str])
    """status.endpoints: gateway, nats, graph."""
    credentials: Mapping[str, str] = field(default_factory=dict[str, str])
    """status.credentials: graph, nats -> Secret name."""


class Served:
    """API discovery as the builders ask it. Total: an unknown kind is simply not served."""

    def __init__(self, resources: tuple[ServedResource, ...], version: str = "") -> None:
        """`resources` in the API server's order of preference; `version` is its gitVersion."""
        self._resources = resources
        self._by_kind: dict[tuple[str, str], list[ServedResource]] = {}
        for one in resources:
            self._by_kind.setdefault((one.group, one.kind), []).append(one)
        self.version = version

    def all(self) -> tuple[ServedResource, ...]:
        """Everything that is served of what the operator asks for."""
        return self._resources

    def is_at_least(self, major: int, minor: int) -> bool:
        """Whether the API server says to be Kubernetes `major.minor` or newer; not when it says nothing readable."""
        found = _VERSION.match(self.version)
        return found is not None and (int(found[1]), int(found[2])) >= (major, minor)

    def find(self, group: str, kind: str, *versions: str) -> ServedResource | None:
        """The served resource of `group`/`kind`: the first of `versions` that is served, or the preferred one."""
        candidates = self._by_kind.get((group, kind), [])
        if not versions:
            return candidates[0] if candidates else None
        return next((one for version in versions for one in candidates if one.version == version), None)

    def has(self, group: str, plural: str) -> bool:
        """Whether a resource of this name is served; a metrics API serves one for each metric."""
        return any(one.group == group and one.plural == plural for one in self._resources)

    def api_version(self, group: str, kind: str, *versions: str) -> str:
        """`group/version` (or `version`) to write into a manifest, empty when the kind isn't served."""
        found = self.find(group, kind, *versions)
        if found is None:
            return ""
        return f"{found.group}/{found.version}" if found.group else found.version
