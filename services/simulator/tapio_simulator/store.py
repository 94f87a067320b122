"""What etcd and the watch cache are to a real API server: documents, one sequence of versions, and recent history.

A stored document is never changed: a write puts a new one in its place, so readers share it freely and its encoded
bytes are made once. History is kept per resource in a ring; a watcher holds a position in it, so a slow watcher costs
no memory and gets 410 when the ring has moved on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Literal

import msgspec

from tapio_shared.json import JsonObject

EventType = Literal["ADDED", "MODIFIED", "DELETED"]
Key = tuple[str, str]
"""(namespace, name); cluster-scoped objects have an empty namespace."""

_encode = msgspec.json.Encoder().encode


class Stored:
    """One version of one object."""

    __slots__ = ("_body", "document", "key", "version")

    def __init__(self, document: JsonObject, key: Key, version: int) -> None:
        self.document, self.key, self.version = document, key, version
        self._body: bytes | None = None

    @property
    def body(self) -> bytes:
        """The document as JSON without its leading kind and apiVersion: `{"metadata":…`."""
        if self._body is None:
            document = self.document
            self._body = _encode({name: document[name] for name in document if name not in ("kind", "apiVersion")})
        return self._body

    def encoded(self, kind: str, api_version: str) -> bytes:
        """The whole document as JSON, under the given version."""
        return b'{"kind":"%b","apiVersion":"%b",%b' % (kind.encode(), api_version.encode(), self.body[1:])


class Event:
    """One change, as watchers see it. `before` is None for a new object. `lines` caches encoded forms."""

    __slots__ = ("after", "before", "lines", "type", "version")

    def __init__(self, type_: EventType, version: int, before: Stored | None, after: Stored) -> None:
        self.type: EventType = type_
        self.version, self.before, self.after = version, before, after
        self.lines: dict[tuple[str, str], bytes] = {}


class Table:
    """All objects of one resource, and its recent events."""

    __slots__ = ("_by_namespace", "_waiters", "events", "first", "limit", "objects", "oldest")

    def __init__(self, limit: int, oldest: int) -> None:
        self.objects: dict[Key, Stored] = {}
        self._by_namespace: dict[str, dict[Key, Stored]] = {}
        self.events: list[Event] = []
        self.first = 0
        """Position of events[0] since the beginning."""
        self.limit = limit
        self.oldest = oldest
        """The newest version whose event is no longer held: watches may start at it, not before."""
        # Futures hash by address: in a set, seeded runs would wake watchers in another order each time.
        self._waiters: dict[asyncio.Future[None], None] = {}

    @property
    def end(self) -> int:
        """Position after the last event."""
        return self.first + len(self.events)

    def in_namespace(self, namespace: str) -> dict[Key, Stored]:
        """The objects in `namespace`, or all of them for the empty string."""
        return self._by_namespace.get(namespace, {}) if namespace else self.objects

    def put(self, stored: Stored) -> None:
        self.objects[stored.key] = stored
        self._by_namespace.setdefault(stored.key[0], {})[stored.key] = stored

    def drop(self, key: Key) -> None:
        del self.objects[key]
        namespace = self._by_namespace[key[0]]
        del namespace[key]
        if not namespace:
            del self._by_namespace[key[0]]

    def record(self, event: Event) -> None:
        self.events.append(event)
        if len(self.events) > self.limit + self.limit // 4:
            self.forget(len(self.events) - self.limit)
        self.wake()

    def forget(self, count: int) -> None:
        """Drop the `count` oldest events."""
        if count <= 0 or not self.events:
            return
        count = min(count, len(self.events))
        self.oldest = self.events[count - 1].version
        del self.events[:count]
        self.first += count

    def wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def changed(self, timeout: float) -> None:
        """Wait until an event is recorded, or `timeout` seconds."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        try:
            await asyncio.wait((waiter,), timeout=timeout)
        finally:
            self._waiters.pop(waiter, None)

    def position_after(self, version: int) -> int | None:
        """Position of the first event newer than `version`; None when such events are already forgotten."""
        if version < self.oldest:
            return None
        low, high = 0, len(self.events)
        while low < high:
            middle = (low + high) // 2
            if self.events[middle].version <= version:
                low = middle + 1
            else:
                high = middle
        return self.first + low


class Store:
    """Every table, under one sequence of resource versions."""

    def __init__(self, *, history: int = 20_000) -> None:
        self.version = 1
        self._history = history
        self._tables: dict[str, Table] = {}

    def table(self, storage_key: str) -> Table:
        table = self._tables.get(storage_key)
        if table is None:
            table = self._tables[storage_key] = Table(self._history, self.version if self.version > 1 else 0)
        return table

    def get(self, storage_key: str, key: Key) -> Stored | None:
        return self.table(storage_key).objects.get(key)

    def write(self, storage_key: str, key: Key, document: JsonObject) -> Stored:
        """Store `document`, stamping its resourceVersion. The caller gives it away: nobody may change it later."""
        table = self.table(storage_key)
        before = table.objects.get(key)
        self.version += 1
        _stamp(document, self.version)
        stored = Stored(document, key, self.version)
        table.put(stored)
        table.record(Event("MODIFIED" if before else "ADDED", self.version, before, stored))
        return stored

    def delete(self, storage_key: str, key: Key, final: JsonObject | None = None) -> Stored:
        """Remove an object; the DELETED event carries its last state, `final` if given, under a new version."""
        table = self.table(storage_key)
        before = table.objects[key]
        self.version += 1
        document: JsonObject = dict(final if final is not None else before.document)
        metadata = document["metadata"]
        assert isinstance(metadata, dict)
        document["metadata"] = dict(metadata)
        _stamp(document, self.version)
        last = Stored(document, key, self.version)
        table.drop(key)
        table.record(Event("DELETED", self.version, before, last))
        return last

    def drop_table(self, storage_key: str) -> None:
        """Forget a resource (its CRD is gone); open watches see its objects deleted first."""
        table = self.table(storage_key)
        for key in sorted(table.objects):
            self.delete(storage_key, key)

    def compact(self) -> None:
        """Forget all history: every version before this one is too old to watch from."""
        for table in self._tables.values():
            table.forget(len(table.events))
            table.oldest = self.version
            table.wake()

    def as_of(self, storage_key: str, version: int) -> Store | None:
        """A store that holds the one table as it was at `version`; None when that is already forgotten."""
        table = self.table(storage_key)
        if version < table.oldest:
            return None
        past = Store()
        past.version = version
        rewound = past.table(storage_key)
        rewound.oldest = table.oldest
        objects = dict(table.objects)
        for event in reversed(table.events):
            if event.version <= version:
                break
            if event.before is None:
                objects.pop(event.after.key, None)
            else:
                objects[event.after.key] = event.before
        for stored in objects.values():
            rewound.put(stored)
        return past

    def restored(self, version: int) -> Store:
        """A store that holds everything as it was at `version`: an etcd made from a backup. It knows no history.

        `KeyError` when that is already forgotten.
        """
        past = Store(history=self._history)
        for storage_key in self._tables:
            found = self.as_of(storage_key, version)
            if found is None:
                raise KeyError(version)
            past._tables[storage_key] = found.table(storage_key)
            past.table(storage_key).oldest = version
        past.version = version
        return past

    def swap(self, other: Store) -> None:
        """Another etcd answers from now on, and `other` is what answered before. Open watches hear no more of it."""
        self.version, other.version = other.version, self.version
        self._tables, other._tables = other._tables, self._tables

    def tables(self) -> Iterator[tuple[str, Table]]:
        return iter(self._tables.items())


def _stamp(document: JsonObject, version: int) -> None:
    metadata = document["metadata"]
    assert isinstance(metadata, dict)
    metadata["resourceVersion"] = str(version)
