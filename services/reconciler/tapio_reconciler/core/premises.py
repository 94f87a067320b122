"""What a plan takes for granted of people's own resources, so that a deletion can be held back where that is not so.

A watch may tell of the past (a cache that lags, an etcd that was restored), and a delete can't be taken back. Uid and
resourceVersion prove which object is deleted; these prove that it is still to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tapio_reconciler.core.state import Seen
from tapio_shared.json import JsonObject, object_at, str_at
from tapio_shared.keys import ObjectRef, OrderingKey

_OWN = frozenset({"TapioCluster", "TapioCollector", "TapioIntelligence"})


@dataclass(frozen=True, slots=True)
class Premise:
    """One TapioCluster, TapioCollector or TapioIntelligence as a plan knows it."""

    kind: str
    namespace: str
    name: str
    cluster: str
    """The TapioCluster that is planned."""
    uid: str
    """Empty: it does not exist."""
    generation: int
    is_deleted: bool
    """Whether its deletion has begun."""

    def broken(self, live: JsonObject | None) -> str:
        """Why this does not hold of the resource as the API server has it (None: it has none); empty when it does."""
        named = f"{self.kind} {self.namespace}/{self.name}"
        if live is None or not self._concerns(live):
            return "" if not self.uid or self.is_deleted else f"{named} is gone"
        if not self.uid:
            return f"{named} exists"
        if str_at(live, "metadata", "uid") != self.uid:
            return f"{named} was made anew"
        if object_at(live, "metadata").get("generation") != self.generation:
            return f"{named} was changed"
        if bool(str_at(live, "metadata", "deletionTimestamp")) != self.is_deleted:
            return f"{named} is being deleted" if not self.is_deleted else f"{named} is not being deleted"
        return ""

    def _concerns(self, live: JsonObject) -> bool:
        return self.kind == "TapioCluster" or str_at(live, "spec", "clusterRef", "name") == self.cluster


def premises_of(seen: Mapping[ObjectRef, Seen], key: OrderingKey) -> tuple[Premise, ...]:
    """Of every resource of people's own that `key` was ever told of."""
    return tuple(
        Premise(
            kind=ref.kind,
            namespace=ref.namespace,
            name=ref.name,
            cluster=key.name,
            uid="" if one.document is None else one.uid,
            generation=_generation(one.document),
            is_deleted=bool(str_at(one.document, "metadata", "deletionTimestamp")),
        )
        for ref, one in sorted(seen.items(), key=lambda item: str(item[0]))
        if ref.kind in _OWN
    )


def _generation(document: JsonObject | None) -> int:
    found = object_at(document, "metadata").get("generation")
    return found if isinstance(found, int) else 0
