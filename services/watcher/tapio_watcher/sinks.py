"""Where watched objects go: objects to their key's log, pods into summaries, nodes into the fleet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from tapio_shared.facts import ObjectObserved
from tapio_shared.json import JsonObject, str_at
from tapio_shared.keys import ObjectRef, OrderingKey
from tapio_shared.ports import Clock
from tapio_shared.slim import slim
from tapio_watcher.pods import PodState, state_of, summary_of, summary_ref, workload_of
from tapio_watcher.publishing import FactWriter
from tapio_watcher.routing import key_of, ref_of

PODS_SETTLE = 0.1
"""Seconds in which the changes of one workload's pods become one summary."""


class ObjectSink:
    """Publishes objects of one kind on the log of the key that they belong to."""

    def __init__(
        self,
        writer: FactWriter,
        target: str,
        clock: Clock,
        *,
        digest_key: bytes = b"",
        key_id: str = "",
        fetch: Callable[[str, str], Awaitable[None]] | None = None,
        also: Callable[[JsonObject, bool], None] | None = None,
    ) -> None:
        """`also` is told of every object and whether it exists, for what follows from resources besides facts."""
        self._writer, self._target, self._clock = writer, target, clock
        self._digest_key, self._key_id = digest_key, key_id
        self.fetch = fetch
        self._also = also

    async def observed(self, document: JsonObject) -> None:
        key = key_of(self._target, document)
        if self._also is not None:
            self._also(document, True)
        if key is None:
            await self._writer.gone(ref_of(document), uid=str_at(document, "metadata", "uid"))
            return
        await self.publish(key, document)

    async def publish(self, key: OrderingKey, document: JsonObject) -> None:
        """Publish `document` on `key`, whatever its labels say."""
        ref = ref_of(document)
        fact = ObjectObserved(
            uid=str_at(document, "metadata", "uid"),
            resource_version=str_at(document, "metadata", "resourceVersion"),
            object=slim(document, digest_key=self._digest_key, key_id=self._key_id),
            observed_at=self._clock.now(),
        )
        fetch = self.fetch

        async def refetch() -> None:
            if fetch is not None:
                await fetch(ref.namespace, ref.name)

        await self._writer.observed(key, ref, fact, refetch=refetch if fetch is not None else None)

    async def gone(self, document: JsonObject) -> None:
        if self._also is not None:
            self._also(document, False)
        await self._writer.gone(
            ref_of(document),
            uid=str_at(document, "metadata", "uid"),
            version=str_at(document, "metadata", "resourceVersion"),
        )

    async def listed(self, documents: list[JsonObject]) -> None:
        """Publish every object, and the tombstone of each that the log knows and the list does not hold."""
        present = {ref_of(document) for document in documents}
        kinds = {(ref.group, ref.kind) for ref in present} | self.kinds
        for document in documents:
            await self.observed(document)
        for group, kind in sorted(kinds):
            for ref in self._writer.refs(group, kind):
                if ref not in present:
                    await self._writer.gone(ref)

    kinds: frozenset[tuple[str, str]] = frozenset()
    """The (group, kind) that a list is complete for, so that an empty list says something."""


class PodSink:
    """Folds pods into one summary per workload."""

    def __init__(self, writer: FactWriter, target: str, clock: Clock, group: asyncio.TaskGroup) -> None:
        self._writer, self._target, self._clock, self._group = writer, target, clock, group
        self._pods: dict[ObjectRef, dict[str, PodState]] = {}
        self._keys: dict[ObjectRef, OrderingKey] = {}
        self._settling: dict[ObjectRef, asyncio.Task[None]] = {}

    async def observed(self, document: JsonObject) -> None:
        workload = self._file(document)
        if workload is not None:
            self._settle(workload)

    async def gone(self, document: JsonObject) -> None:
        name, namespace = str_at(document, "metadata", "name"), str_at(document, "metadata", "namespace")
        for workload, pods in self._pods.items():
            if workload.namespace == namespace and pods.pop(name, None) is not None:
                self._settle(workload)
                return

    async def listed(self, documents: list[JsonObject]) -> None:
        before = set(self._pods)
        self._pods = {}
        for document in documents:
            self._file(document)
        for workload in sorted(before | set(self._pods)):
            await self._publish(workload)
        known = {summary_ref(workload) for workload in self._pods}
        for ref in self._writer.refs("tapio.io", "Pods"):
            if ref not in known:
                await self._writer.gone(ref)

    def _file(self, document: JsonObject) -> ObjectRef | None:
        workload, key = workload_of(document), key_of(self._target, document)
        if workload is None or key is None:
            return None
        self._keys[workload] = key
        self._pods.setdefault(workload, {})[str_at(document, "metadata", "name")] = state_of(document)
        return workload

    def _settle(self, workload: ObjectRef) -> None:
        if workload not in self._settling:
            self._settling[workload] = self._group.create_task(self._later(workload), name=f"pods-{workload}")

    async def _later(self, workload: ObjectRef) -> None:
        await asyncio.sleep(PODS_SETTLE)
        self._settling.pop(workload, None)
        await self._publish(workload)

    async def _publish(self, workload: ObjectRef) -> None:
        pods = self._pods.get(workload, {})
        if not pods:
            self._pods.pop(workload, None)
            self._keys.pop(workload, None)
            await self._writer.gone(summary_ref(workload))
            return
        fact = ObjectObserved(
            uid="", resource_version="", object=summary_of(pods.values()), observed_at=self._clock.now()
        )
        await self._writer.observed(self._keys[workload], summary_ref(workload), fact)


class Collection:
    """Keeps the objects of one kind and calls `changed` when any of them does: for fleet and configuration."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._objects: dict[tuple[str, str], JsonObject] = {}
        self._changed = changed

    @property
    def objects(self) -> list[JsonObject]:
        return [self._objects[name] for name in sorted(self._objects)]

    async def observed(self, document: JsonObject) -> None:
        self._objects[_name(document)] = _lean(document)
        self._changed()

    async def gone(self, document: JsonObject) -> None:
        self._objects.pop(_name(document), None)
        self._changed()

    async def listed(self, documents: Iterable[JsonObject]) -> None:
        self._objects = {_name(document): _lean(document) for document in documents}
        self._changed()


def _name(document: JsonObject) -> tuple[str, str]:
    return str_at(document, "metadata", "namespace"), str_at(document, "metadata", "name")


def _lean(document: JsonObject) -> JsonObject:
    """A Node's image list is most of it, and nobody asks for it."""
    lean = slim(document)
    status = lean.get("status")
    if isinstance(status, dict):
        lean["status"] = {name: value for name, value in status.items() if name not in {"images", "volumesInUse"}}
    return lean
