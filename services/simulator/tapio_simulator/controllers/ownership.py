"""The graph of owners and dependents that garbage collection walks. Pure bookkeeping, no I/O.

Source: k8s.io/kubernetes/pkg/controller/garbagecollector (graph.go, garbagecollector.go).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import msgspec

from tapio_simulator.machinery.resources import Collection

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


class OwnerRef(msgspec.Struct, frozen=True, rename="camel"):
    """An owner reference as far as it matters here."""

    api_version: str
    kind: str
    name: str
    uid: str
    block_owner_deletion: bool = False


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """The metadata that garbage collection looks at; everything else is skipped while decoding."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    finalizers: list[str] = []
    owner_references: list[OwnerRef] = []


@dataclass(slots=True)
class Node:
    """One object. `dependents` are UIDs, in the order in which they appeared."""

    collection: Collection
    meta: Meta
    dependents: dict[str, None] = field(default_factory=dict[str, None])

    @property
    def is_waiting(self) -> bool:
        """Whether its deletion waits for its dependents."""
        return self.meta.deletion_timestamp is not None and FOREGROUND in self.meta.finalizers


class Fate(Enum):
    """What becomes of an object, judged by its owners."""

    KEEP = "keep"
    DELETE = "delete"
    DELETE_FOREGROUND = "delete with its dependents first"
    DROP_REFERENCES = "drop references to owners that are gone"


class Graph:
    """Every object that owns or is owned."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._waiting_for: dict[str, dict[str, None]] = {}
        """Dependents of owners that are not (or no longer) known, by the owner's UID."""

    def put(self, collection: Collection, meta: Meta) -> Node:
        """Take in one state of an object."""
        node = self.nodes.get(meta.uid)
        if node is None:
            node = self.nodes[meta.uid] = Node(collection, meta, self._waiting_for.pop(meta.uid, {}))
            before: set[str] = set()
        else:
            before = {owner.uid for owner in node.meta.owner_references}
            node.meta = meta
        after = {owner.uid for owner in meta.owner_references}
        for owner in meta.owner_references:
            if owner.uid not in before:
                self._dependents(owner.uid)[meta.uid] = None
        for uid in before - after:
            self._dependents(uid).pop(meta.uid, None)
        return node

    def remove(self, uid: str) -> list[str]:
        """Take an object out; answers its dependents."""
        node = self.nodes.pop(uid, None)
        if node is None:
            return []
        for owner in node.meta.owner_references:
            self._dependents(owner.uid).pop(uid, None)
            if owner.uid not in self.nodes and not self._waiting_for.get(owner.uid):
                self._waiting_for.pop(owner.uid, None)
        if node.dependents:
            self._waiting_for[uid] = node.dependents
        return list(node.dependents)

    def _dependents(self, uid: str) -> dict[str, None]:
        node = self.nodes.get(uid)
        return self._waiting_for.setdefault(uid, {}) if node is None else node.dependents

    def blocking(self, node: Node) -> list[str]:
        """Dependents that keep a foreground deletion of `node` waiting."""
        return [
            uid
            for uid in node.dependents
            if any(
                owner.uid == node.meta.uid and owner.block_owner_deletion
                for owner in self.nodes[uid].meta.owner_references
            )
        ]

    def judge(self, node: Node, absent: frozenset[str]) -> Fate:
        """`absent`: UIDs of owners that were looked up and found not to exist."""
        owners = node.meta.owner_references
        dangling = [owner for owner in owners if owner.uid in absent]
        waiting = [
            owner
            for owner in owners
            if owner.uid not in absent and owner.uid in self.nodes and self.nodes[owner.uid].is_waiting
        ]
        solid = len(owners) - len(dangling) - len(waiting)
        if not owners or (solid and not dangling and not waiting):
            return Fate.KEEP
        if solid:
            return Fate.DROP_REFERENCES
        if waiting and node.dependents:
            return Fate.DELETE_FOREGROUND
        return Fate.DELETE
