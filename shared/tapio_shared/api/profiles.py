"""What a profile decides where the spec is silent, and the order in which settings win.

Precedence: a component's own field, `resources`/`scheduling`, `highAvailability`/`lightweight`, profile, built-in.
Effective values are resolved here, when planning, and never written back: a stored default would outlive its profile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tapio_shared.api.cluster import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileDefaults:
    """One column of the table in docs/api.md."""

    high_availability: bool
    lightweight: bool
    collectors_all: bool
    embedded: bool
    graph_storage: str
    nats_servers: int
    nats_storage: str
    nats_max_bytes: str
    correlation_replicas: int
    gateway_replicas: int
    """0: no gateway."""
    horizontal: bool
    prometheus: bool
    nats_tls: bool


DEFAULTS: Final[dict[Profile, ProfileDefaults]] = {
    "development": ProfileDefaults(
        high_availability=False,
        lightweight=False,
        collectors_all=False,
        embedded=False,
        graph_storage="10Gi",
        nats_servers=1,
        nats_storage="2Gi",
        nats_max_bytes="1Gi",
        correlation_replicas=1,
        gateway_replicas=1,
        horizontal=False,
        prometheus=False,
        nats_tls=False,
    ),
    "production": ProfileDefaults(
        high_availability=True,
        lightweight=False,
        collectors_all=True,
        embedded=False,
        graph_storage="100Gi",
        nats_servers=3,
        nats_storage="20Gi",
        nats_max_bytes="10Gi",
        correlation_replicas=2,
        gateway_replicas=2,
        horizontal=True,
        prometheus=True,
        nats_tls=True,
    ),
    "edge": ProfileDefaults(
        high_availability=False,
        lightweight=True,
        collectors_all=False,
        embedded=True,
        graph_storage="1Gi",
        nats_servers=1,
        nats_storage="1Gi",
        nats_max_bytes="512Mi",
        correlation_replicas=1,
        gateway_replicas=0,
        horizontal=False,
        prometheus=False,
        nats_tls=False,
    ),
}
