"""The TapioCollectors and TapioIntelligences that belong to a cluster, oldest first."""

from __future__ import annotations

from dataclasses import dataclass

from tapio_reconciler.core.state import Observed, Seen
from tapio_shared.api.names import API_GROUP, COLLECTOR_KIND, INTELLIGENCE_KIND
from tapio_shared.json import str_at
from tapio_shared.keys import ObjectRef

Member = tuple[ObjectRef, Seen]


@dataclass(frozen=True, slots=True)
class Members:
    """Resources of people that configure parts of one cluster; the operator never creates, owns or deletes them."""

    collectors: tuple[Member, ...]
    intelligences: tuple[Member, ...]

    def all(self) -> tuple[Member, ...]:
        return (*self.collectors, *self.intelligences)


def members_of(seen: Observed) -> Members:
    """Those that exist and are not being deleted, in the order of their creation, then of their names."""
    return Members(_living(seen, COLLECTOR_KIND), _living(seen, INTELLIGENCE_KIND))


def _living(seen: Observed, kind: str) -> tuple[Member, ...]:
    found = [
        (one.ref, one)
        for one in seen.of_kind(kind)
        if one.ref.group == API_GROUP
        and one.document is not None
        and not str_at(one.document, "metadata", "deletionTimestamp")
    ]
    return tuple(
        sorted(found, key=lambda member: (str_at(member[1].document, "metadata", "creationTimestamp"), member[0]))
    )
