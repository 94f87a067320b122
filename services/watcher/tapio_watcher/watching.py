"""List and watch of one kind as a state machine: listing, watching, and listing again when the server says so.

Every ending of a watch is ordinary: closed by the server, broken, silent, expired. What was missed is found by the next
list; a watch that looks alive and is dead is found by the comparison list. Source: kube-rs `watcher`, client-go
`Reflector`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

import msgspec
import structlog

from tapio_shared.codec import decode_as
from tapio_shared.errors import ApiTerminal, ResourceExpired, RetryableError
from tapio_shared.facts import ServedResource
from tapio_shared.json import JsonObject, int_at, objects_at, str_at
from tapio_shared.kubernetes import check, error_of, list_all, object_path
from tapio_shared.ports import Kube, Random
from tapio_watcher.metrics import Metrics

log = structlog.get_logger(__name__)

_METADATA_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
_SHORTEST, _LONGEST = 300, 600
_FIRST_WAIT, _LAST_WAIT = 0.2, 20.0


class Sink(Protocol):
    """Where the objects of one kind go."""

    async def observed(self, document: JsonObject) -> None: ...

    async def gone(self, document: JsonObject) -> None: ...

    async def listed(self, documents: list[JsonObject]) -> None:
        """A complete list: what it does not hold does not exist."""
        ...


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class KindWatch:
    """Follows one kind, under a label or field selector, into a sink."""

    def __init__(
        self,
        kube: Kube,
        resource: ServedResource,
        sink: Sink,
        random: Random,
        metrics: Metrics,
        *,
        namespace: str = "",
        selector: dict[str, str] | None = None,
    ) -> None:
        self._kube, self.resource, self._sink = kube, resource, sink
        self._random, self._metrics = random, metrics
        self._path = object_path(resource.group, resource.version, resource.plural, namespace)
        self._selector = selector or {}
        self._versions: dict[tuple[str, str], str] = {}
        self.is_listed = asyncio.Event()

    @property
    def count(self) -> int:
        """How many objects exist, as far as is known."""
        return len(self._versions)

    async def run(self) -> None:
        """Follow the kind until cancelled."""
        failures = 0
        version = ""
        while True:
            try:
                if not version:
                    version = await self._list()
                failures = 0
                version = await self._watch(version)
            except ResourceExpired:
                version = ""
            except (RetryableError, ApiTerminal) as err:
                failures += 1
                log.warning("watch interrupted", kind=self.resource.kind, error=str(err), failures=failures)
                if failures > 1:
                    version = ""
                await asyncio.sleep(self._backoff(failures))

    async def compare(self) -> None:
        """Compare with the API server's own list, by metadata alone; what differs is read and told to the sink."""
        if not self.is_listed.is_set():
            return
        query = {**self._selector, "resourceVersion": "0"}
        response = await self._kube.request("GET", self._path, query=query, accept=_METADATA_LIST)
        document = cast("JsonObject", decode_as(dict, check(response)))
        listed = {_name(one): str_at(one, "metadata", "resourceVersion") for one in objects_at(document, "items")}
        for name in sorted(listed.keys() | self._versions.keys()):
            if listed.get(name) != self._versions.get(name):
                await self._refresh(*name)

    async def fetch(self, namespace: str, name: str) -> None:
        """Read one object and tell the sink how it is, or that it is gone."""
        path = object_path(self.resource.group, self.resource.version, self.resource.plural, namespace, name)
        response = await self._kube.request("GET", path)
        if response.status == 404:
            self._versions.pop((namespace, name), None)
            await self._sink.gone(self._nameplate(namespace, name))
            return
        await self._told(cast("JsonObject", decode_as(dict, check(response))))

    async def _refresh(self, namespace: str, name: str) -> None:
        """A difference may be the list's lag or the watch's: reading the object itself decides."""
        before = self._versions.get((namespace, name))
        await self.fetch(namespace, name)
        if self._versions.get((namespace, name)) != before:
            self._metrics.found_by_comparison.labels(self.resource.kind).inc()

    async def _list(self) -> str:
        self._metrics.relists.labels(self.resource.kind).inc()
        version, documents = await list_all(self._kube, self._path, self._selector)
        typed = [self._typed(document) for document in documents]
        self._versions = {_name(one): str_at(one, "metadata", "resourceVersion") for one in typed}
        await self._sink.listed(typed)
        self.is_listed.set()
        return version

    async def _watch(self, version: str) -> str:
        """Read one watch to its end; answers the version to go on from."""
        self._metrics.restarts.labels(self.resource.kind).inc()
        seconds = int(self._random.uniform(_SHORTEST, _LONGEST))
        query = {
            **self._selector,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        async with self._kube.watch(self._path, query=query) as lines:
            async for line in lines:
                event = decode_as(_Event, line)
                if event.type == "ERROR":
                    body = bytes(event.object)
                    code = int_at(cast("JsonObject", decode_as(dict, body)), "code", default=500)
                    raise error_of(code, body, {})
                document = cast("JsonObject", decode_as(dict, bytes(event.object)))
                version = str_at(document, "metadata", "resourceVersion") or version
                if event.type == "DELETED":
                    self._versions.pop(_name(document), None)
                    self._metrics.events.labels(self.resource.kind).inc()
                    await self._sink.gone(self._typed(document))
                elif event.type in {"ADDED", "MODIFIED"}:
                    await self._told(document)
        return version

    async def _told(self, document: JsonObject) -> None:
        self._metrics.events.labels(self.resource.kind).inc()
        self._versions[_name(document)] = str_at(document, "metadata", "resourceVersion")
        await self._sink.observed(self._typed(document))

    def _typed(self, document: JsonObject) -> JsonObject:
        """Items of a list carry no apiVersion and kind of their own."""
        if "kind" in document:
            return document
        group = f"{self.resource.group}/" if self.resource.group else ""
        return {"apiVersion": f"{group}{self.resource.version}", "kind": self.resource.kind, **document}

    def _nameplate(self, namespace: str, name: str) -> JsonObject:
        return self._typed({"metadata": {"namespace": namespace, "name": name}})

    def _backoff(self, failures: int) -> float:
        longest = min(_FIRST_WAIT * 2 ** min(failures, 10), _LAST_WAIT)
        return self._random.uniform(longest / 2, longest)


def _name(document: JsonObject) -> tuple[str, str]:
    return str_at(document, "metadata", "namespace"), str_at(document, "metadata", "name")


async def every(seconds: Callable[[], float], work: Callable[[], Awaitable[None]], what: str) -> None:
    """Do `work` again and again, `seconds()` apart; a retryable failure is logged and waits for the next time."""
    while True:
        await asyncio.sleep(seconds())
        try:
            await work()
        except (RetryableError, ApiTerminal) as err:
            log.warning("periodic work failed", what=what, error=str(err))
