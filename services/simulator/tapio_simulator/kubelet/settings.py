"""How the simulated nodes are made and how fast they work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tapio_shared.json import JsonObject
from tapio_simulator.kubelet.images import KnownImages

DEFAULT_CLASS = "standard"
PROVISIONER = "volumes.simulator.tapio.io"
ZONES = ("zone-a", "zone-b", "zone-c")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeShape:
    """One node: what it is and what it holds."""

    name: str
    zone: str = ZONES[0]
    region: str = "simulated"
    kernel: str = "6.8.0-45-generic"
    os_image: str = "Ubuntu 24.04.1 LTS"
    operating_system: str = "linux"
    architecture: str = "amd64"
    runtime: str = "containerd://1.7.22"
    kubelet: str = "v1.33.0"
    cpu: str = "32"
    memory: str = "128Gi"
    storage: str = "500Gi"
    """Ephemeral storage."""
    pods: int = 250
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    taints: tuple[JsonObject, ...] = ()


def fleet(count: int = 3, like: NodeShape | None = None) -> tuple[NodeShape, ...]:
    """`count` like nodes, node-1 and on, spread over three zones."""
    shape = like or NodeShape(name="")
    return tuple(replace(shape, name=f"node-{n + 1}", zone=ZONES[n % len(ZONES)]) for n in range(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletSettings:
    """Settings of nodes, scheduler, kubelet and volumes."""

    nodes: tuple[NodeShape, ...] = field(default_factory=fleet)
    """Nodes to create. Nodes made by others are left alone, their pods too."""
    images: KnownImages = field(default_factory=KnownImages)
    startup: tuple[float, float] = (0.02, 0.06)
    """Shortest and longest time, in seconds, from a pod's binding to its readiness; drawn per pod."""
    shutdown: tuple[float, float] = (0.0, 0.02)
    """The same from the deletion of a pod until it is gone."""
    job_seconds: float = 0.1
    """How long a container runs that is meant to end."""
    crash_backoff: tuple[float, float] = (10.0, 300.0)
    """First and longest wait between restarts of a container, seconds; doubled each time (the kubelet's own)."""
    heartbeat: float = 10.0
    """Seconds between renewals of a node's Lease."""
    storage_class: str = DEFAULT_CLASS
    """Name of the default StorageClass to create; empty: none."""
    wait_for_consumer: bool = False
    """Whether that class binds a claim only when a pod needs it."""
    binds_claims: bool = True
    """Whether claims are bound here; False where a real controller manager does so."""
    checks_pod_security: bool = False
    """Whether the kubelet holds back pods that violate their namespace's Pod Security level: for API servers before
    1.23, which admit them."""
    normal_events: bool = False
    """Whether Events of type Normal (Scheduled, Pulled, Started) are written too; they cost several writes per pod."""
    workers: int = 8
