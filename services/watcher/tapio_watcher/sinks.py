"""Where watched objects go: objects to their key's log, and small reductions of what concerns every key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterator, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar

from tapio_shared.json import JsonObject, str_at
from tapio_shared.keys import ObjectRef, OrderingKey
from tapio_shared.ports import Clock
from tapio_shared.slim import slim
from tapio_watcher.encoding import EncodedFact, observed_fact
from tapio_watcher.publishing import FactWriter
from tapio_watcher.routing import key_of, ref_of
from tapio_watcher.versions import Name, Versions

T = TypeVar("T")
Fetch = Callable[[Name], Awaitable[None]]


def fact_of(document: JsonObject, clock: Clock, *, digest_key: bytes = b"", key_id: str = "") -> EncodedFact:
    """The fact that `document` exists as it is."""
    return observed_fact(
        slim(document, digest_key=digest_key, key_id=key_id),
        uid=str_at(document, "metadata", "uid"),
        resource_version=str_at(document, "metadata", "resourceVersion"),
        now=clock.now(),
    )


class References(Protocol):
    """Who is told what a custom resource refers to."""

    def told(self, kind: str, document: JsonObject, key: OrderingKey | None) -> None: ...

    def gone(self, kind: str, name: Name) -> None: ...


class ObjectSink:
    """Publishes objects of one kind on the log of the key that they belong to."""

    def __init__(
        self,
        writer: FactWriter,
        target: str,
        clock: Clock,
        *,
        group: str,
        kind: str,
        references: Sequence[References] = (),
    ) -> None:
        self._writer, self._target, self._clock = writer, target, clock
        self._group, self._kind, self._references = group, kind, references
        self.fetch: Fetch | None = None
        """How to read one object anew, when somebody else wrote about it first."""

    def observed(self, document: JsonObject) -> None:
        key, ref = key_of(self._target, document), ref_of(document)
        for one in self._references:
            one.told(self._kind, document, key)
        if key is None:
            self._writer.gone(ref, uid=str_at(document, "metadata", "uid"), refetch=self._refetch(ref))
            return
        self._writer.observed(key, ref, fact_of(document, self._clock), refetch=self._refetch(ref))

    def gone(self, name: Name, *, uid: str = "", resource_version: str = "") -> None:
        ref = ObjectRef(self._group, self._kind, *name)
        for one in self._references:
            one.gone(self._kind, name)
        self._writer.gone(ref, uid=uid, resource_version=resource_version, refetch=self._refetch(ref))

    def complete(self, names: Versions) -> None:
        """The tombstone of each object that the log tells of and the list does not hold."""
        for ref in self._writer.known.present(self._group, self._kind, besides=names):
            self.gone((ref.namespace, ref.name))

    def _refetch(self, ref: ObjectRef) -> Callable[[], Awaitable[None]] | None:
        return None if self.fetch is None else partial(self.fetch, (ref.namespace, ref.name))


class Collection(Generic[T]):
    """Keeps what matters of every object of one kind, and calls `changed` when that changes."""

    def __init__(self, reduce: Callable[[JsonObject], T], changed: Callable[[], None]) -> None:
        self._reduce, self._changed = reduce, changed
        self._kept: dict[Name, T] = {}
        self.is_complete = asyncio.Event()

    def __iter__(self) -> Iterator[T]:
        """What is kept, in the order of the objects' names."""
        return (self._kept[name] for name in sorted(self._kept))

    def observed(self, document: JsonObject) -> None:
        name = str_at(document, "metadata", "namespace"), str_at(document, "metadata", "name")
        kept = self._reduce(document)
        if self._kept.get(name) != kept:
            self._kept[name] = kept
            self._changed()

    def gone(self, name: Name, *, uid: str = "", resource_version: str = "") -> None:
        if self._kept.pop(name, None) is not None:
            self._changed()

    def complete(self, names: Container[Name]) -> None:
        for name in [name for name in self._kept if name not in names]:
            del self._kept[name]
        self.is_complete.set()
        self._changed()
