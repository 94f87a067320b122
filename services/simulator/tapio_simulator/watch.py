"""Watches: bookmarks, streaming lists, 410, selectors whose match changes, and the three forms of an object.

One generator yields JSON lines; both the in-process client and the HTTP server read it. It holds a position in the
store's history, never a queue of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from tapio_shared.json import JsonObject
from tapio_shared.ports import Clock
from tapio_simulator.calls import Call
from tapio_simulator.errors import StatusError, bad_request, too_old
from tapio_simulator.reads import Form, form_of, object_bytes, selected
from tapio_simulator.registry import Place
from tapio_simulator.selectors import Predicate, combined, exact_name, field_predicate, label_predicate
from tapio_simulator.store import Event, Store, Stored, Table

_encode = msgspec.json.Encoder().encode
BOOKMARK_EVERY = 60.0
DEFAULT_TIMEOUT = 1800.0
BATCH = 256


class Watch:
    """One open watch. Made (and refused, by StatusError) before the first line is read."""

    def __init__(self, store: Store, place: Place, call: Call, clock: Clock) -> None:
        self._store, self._place, self._clock, self._call = store, place, clock, call
        self._table: Table = store.table(place.resource.storage_key)
        self._form: Form = form_of(call.accept)
        self._include = call.query.get("includeObject", "Metadata")
        self._bookmarks = call.flag("allowWatchBookmarks")
        query = call.query
        selector = query.get("fieldSelector", "")
        self._predicate: Predicate | None = combined(
            label_predicate(query.get("labelSelector", "")), field_predicate(selector, place.resource)
        )
        self._pinned = place.name or (exact_name(selector) if selector else None) or ""
        seconds = query.get("timeoutSeconds", "")
        self._timeout = float(seconds) if seconds.isdigit() and int(seconds) > 0 else DEFAULT_TIMEOUT
        self._initial: list[Stored] = []
        self._initial_end = False
        self._too_old: StatusError | None = None
        self._position = self._start()
        self._sent_version = store.version

    def _start(self) -> int:
        query = self._call.query
        asked = query.get("resourceVersion", "")
        if asked and not asked.isdigit():
            raise bad_request(
                f'invalid resource version "{asked}": strconv.ParseUint: parsing "{asked}": invalid syntax'
            )
        version = int(asked or "0")
        if self._call.flag("sendInitialEvents"):
            if query.get("resourceVersionMatch") != "NotOlderThan":
                raise _forbidden_list_options(
                    "sendInitialEvents", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
                )
            self._initial = selected(self._store, self._place, self._call)
            self._initial_end = self._bookmarks
            return self._table.end
        if query.get("resourceVersionMatch"):
            raise _forbidden_list_options(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )
        if version == 0:
            self._initial = selected(self._store, self._place, self._call)
            return self._table.end
        position = self._table.position_after(version)
        if position is None:
            self._too_old = too_old(version, self._table.oldest)
            return self._table.end
        return position

    async def lines(self) -> AsyncIterator[bytes]:
        """Batches of JSON lines, each ending with a newline, until the watch times out or is too old."""
        if self._too_old is not None:
            # Since 1.9 the API server answers a too old watch inside the stream as well; clients must know both.
            yield _error_line(self._too_old)
            return
        if self._initial:
            for start in range(0, len(self._initial), BATCH):
                yield b"".join(self._line("ADDED", stored) for stored in self._initial[start : start + BATCH])
            self._initial = []
        if self._initial_end:
            yield self._bookmark(initial_end=True)
        deadline = self._clock.monotonic() + self._timeout
        next_bookmark = self._clock.monotonic() + BOOKMARK_EVERY
        while True:
            if self._position < self._table.first:
                yield _error_line(too_old(self._sent_version, self._table.oldest))
                return
            batch = self._batch()
            if batch:
                yield batch
                continue
            now = self._clock.monotonic()
            if now >= deadline:
                if self._bookmarks:
                    yield self._bookmark()
                return
            if self._bookmarks and now >= next_bookmark:
                next_bookmark = now + BOOKMARK_EVERY
                yield self._bookmark()
                continue
            wake_at = min(deadline, next_bookmark) if self._bookmarks else deadline
            await self._table.changed(max(wake_at - now, 0.001))

    def _batch(self) -> bytes:
        """Lines of the next events, up to BATCH of them; empty when there are none that match."""
        table = self._table
        while self._position < table.end:
            start = self._position - table.first
            events = table.events[start : start + BATCH]
            self._position += len(events)
            lines = [line for event in events if (line := self._event_line(event))]
            self._sent_version = events[-1].version
            if lines:
                return b"".join(lines)
        return b""

    def _event_line(self, event: Event) -> bytes | None:
        key = event.after.key
        place = self._place
        if (place.namespace and key[0] != place.namespace) or (self._pinned and key[1] != self._pinned):
            return None
        type_: str = event.type
        if self._predicate is not None:
            matched = event.before is not None and self._predicate(event.before.document)
            matches = event.type != "DELETED" and self._predicate(event.after.document)
            if not matched and not matches:
                return None
            type_ = "MODIFIED" if matched and matches else "ADDED" if matches else "DELETED"
        if self._form == "table":
            return self._line(type_, event.after)
        cache_key = (type_, self._form)
        line = event.lines.get(cache_key)
        if line is None:
            line = event.lines[cache_key] = self._line(type_, event.after)
        return line

    def _line(self, type_: str, stored: Stored) -> bytes:
        body = object_bytes(stored, self._place, self._form, self._clock.now(), self._include)
        return b'{"type":"%b","object":%b}\n' % (type_.encode(), body)

    def _bookmark(self, *, initial_end: bool = False) -> bytes:
        resource = self._place.resource
        metadata: JsonObject = {"resourceVersion": str(self._store.version), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        document: JsonObject
        if self._form == "object":
            document = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        else:
            document = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
            if self._form == "table":
                document = {
                    "kind": "Table",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": {"resourceVersion": str(self._store.version)},
                    "columnDefinitions": [],
                    "rows": [{"cells": [], "object": document}],
                }
        return b'{"type":"BOOKMARK","object":' + _encode(document) + b"}\n"


def _error_line(error: StatusError) -> bytes:
    return b'{"type":"ERROR","object":' + error.body() + b"}\n"


def _forbidden_list_options(field: str, why: str) -> StatusError:
    message = f'ListOptions.meta.k8s.io "" is invalid: {field}: Forbidden: {why}'
    return StatusError(422, "Invalid", message, {"group": "meta.k8s.io", "kind": "ListOptions"})
