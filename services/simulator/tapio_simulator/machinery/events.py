"""Kubernetes Events (core/v1) of simulated components: repeated ones are counted, similar ones combined.

Source: client-go's `EventCorrelator`, with its defaults.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from tapio_shared.errors import ApiError, RetryableError
from tapio_shared.json import JsonObject, str_at
from tapio_shared.ports import Clock, Random
from tapio_simulator.machinery.client import Client, name_of
from tapio_simulator.machinery.objects import key_of, uid_of
from tapio_simulator.machinery.resources import EVENTS, Collection
from tapio_simulator.stamps import timestamp

log = structlog.get_logger(__name__)

_KEPT = 4096
_REPEAT_AFTER = 5.0
"""Seconds in which an equal Event is not even counted: a retry loop must not become a write loop."""
_QUEUED = 2048
_SIMILAR = 10
"""How many different messages of one object and reason make the next a combined Event."""
_SIMILAR_FOR = 600.0
"""Seconds without one after which combining begins anew."""
_COMBINED = "(combined from similar events): "


@dataclass(slots=True)
class _Known:
    name: str
    count: int
    written_at: float


@dataclass(slots=True)
class _Similar:
    messages: dict[str, None]
    noticed_at: float


@dataclass(frozen=True, slots=True)
class _Notice:
    document: JsonObject
    collection: Collection
    type: str
    reason: str
    message: str
    component: str
    host: str


class EventRecorder:
    """Writes Events from a bounded queue, so that no controller waits for one; a full queue drops the newest."""

    def __init__(self, client: Client, clock: Clock, random: Random, *, normal: bool) -> None:
        self._client, self._clock, self._random, self._normal = client, clock, random, normal
        self._known: dict[tuple[str, str, str, str], _Known] = {}
        self._similar: dict[tuple[str, str, str], _Similar] = {}
        self._queue: asyncio.Queue[_Notice] = asyncio.Queue(_QUEUED)

    def warning(
        self, collection: Collection, document: JsonObject, reason: str, message: str, *, component: str, host: str = ""
    ) -> None:
        self._put(_Notice(document, collection, "Warning", reason, message, component, host))

    def normal(
        self,
        collection: Collection,
        document: JsonObject,
        reason: str,
        message: str,
        *,
        component: str,
        host: str = "",
        essential: bool = False,
    ) -> None:
        """Something that is no fault; written only when the settings ask for it or it is `essential`."""
        if self._normal or essential:
            self._put(_Notice(document, collection, "Normal", reason, message, component, host))

    def _put(self, notice: _Notice) -> None:
        try:
            self._queue.put_nowait(notice)
        except asyncio.QueueFull:
            log.debug("event dropped", reason=notice.reason)

    async def run(self) -> None:
        """Write what is queued until cancelled."""
        while True:
            notice = await self._queue.get()
            try:
                await self._write(notice)
            except (RetryableError, ApiError) as err:
                log.debug("event not written", reason=notice.reason, error=str(err))
            await asyncio.sleep(0)

    async def _write(self, notice: _Notice) -> None:
        now = self._clock.monotonic()
        combined = self._is_one_of_many(notice, now)
        text = f"{_COMBINED}{notice.message}" if combined else notice.message
        identity = (uid_of(notice.document), notice.type, notice.reason, "" if combined else notice.message)
        known = self._known.pop(identity, None)
        stamp = timestamp(self._clock.now())
        namespace, name = key_of(notice.document)
        namespace = namespace or "default"
        if known is not None:
            self._known[identity] = known
            if now - known.written_at < _REPEAT_AFTER:
                return
            known.count, known.written_at = known.count + 1, now
            changed: JsonObject = {"count": known.count, "lastTimestamp": stamp, "message": text[:1024]}
            if await self._client.patch(EVENTS, namespace, known.name, changed) is not None:
                return
        made = await self._client.create(EVENTS, namespace, self._event(notice, namespace, name, stamp, text))
        self._known[identity] = _Known(name_of(made), 1, now)
        while len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]

    def _is_one_of_many(self, notice: _Notice, now: float) -> bool:
        """Whether this object was given the same reason in so many words that one more Event is none of its own."""
        group = (uid_of(notice.document), notice.type, notice.reason)
        similar = self._similar.pop(group, None)
        if similar is None or now - similar.noticed_at > _SIMILAR_FOR:
            similar = _Similar({}, now)
        self._similar[group] = similar
        while len(self._similar) > _KEPT:
            del self._similar[next(iter(self._similar))]
        similar.messages[notice.message], similar.noticed_at = None, now
        if len(similar.messages) < _SIMILAR:
            return False
        del similar.messages[next(iter(similar.messages))]
        return True

    def _event(self, notice: _Notice, namespace: str, name: str, stamp: str, text: str) -> JsonObject:
        involved: JsonObject = {
            "kind": notice.collection.kind,
            "name": name,
            "uid": uid_of(notice.document),
            "apiVersion": notice.collection.api_version,
            "resourceVersion": str_at(notice.document, "metadata", "resourceVersion"),
        }
        if str_at(notice.document, "metadata", "namespace"):
            involved["namespace"] = namespace
        source: JsonObject = {"component": notice.component}
        if notice.host:
            source["host"] = notice.host
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{self._random.identifier()}", "namespace": namespace},
            "involvedObject": involved,
            "type": notice.type,
            "reason": notice.reason,
            "message": text[:1024],
            "source": source,
            "reportingComponent": notice.component,
            "reportingInstance": notice.host,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
