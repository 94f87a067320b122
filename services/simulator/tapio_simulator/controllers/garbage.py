"""The garbage collector: objects whose owners are gone go too; foreground and orphan deletion wait as they should.

It follows every collection that can be listed, watched and deleted, custom resources included, by metadata alone. An
owner that is not in the graph is looked up before anything is deleted: a graph that lags deletes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import msgspec
import structlog

from tapio_shared.codec import decode_as
from tapio_shared.errors import ApiTerminal, ResourceExpired, RetryableError
from tapio_shared.json import JsonObject, list_at, objects_at, str_at
from tapio_shared.kubernetes import check, error_of
from tapio_shared.ports import Random
from tapio_simulator.controllers.ownership import FOREGROUND, ORPHAN, Fate, Graph, Meta, Node, OwnerRef
from tapio_simulator.machinery.client import Client
from tapio_simulator.machinery.queue import WorkQueue
from tapio_simulator.machinery.resources import Collection

log = structlog.get_logger(__name__)

_IGNORED = frozenset({("", "events"), ("events.k8s.io", "events"), ("coordination.k8s.io", "leases")})
_DISCOVER_EVERY = 30.0
_CRDS = Collection(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
)


class _Object(msgspec.Struct, frozen=True):
    metadata: Meta = Meta()


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""


class _List(msgspec.Struct, frozen=True):
    metadata: _ListMeta = _ListMeta()
    items: list[_Object] = []


async def collections_of(client: Client) -> list[Collection]:
    """Every collection that garbage collection follows, by discovery; one version of each group."""
    kube = client.kube
    roots = ["/api/v1"]
    groups = cast("JsonObject", decode_as(dict, check(await kube.request("GET", "/apis"))))
    roots += [f"/apis/{str_at(group, 'preferredVersion', 'groupVersion')}" for group in objects_at(groups, "groups")]
    found: list[Collection] = []
    for root in roots:
        response = await kube.request("GET", root)
        if response.status == 404:
            continue
        document = cast("JsonObject", decode_as(dict, check(response)))
        group, _, version = str_at(document, "groupVersion").rpartition("/")
        for one in objects_at(document, "resources"):
            plural, verbs = str_at(one, "name"), list_at(one, "verbs")
            if "/" in plural or (group, plural) in _IGNORED or not {"list", "watch", "delete"} <= {*map(str, verbs)}:
                continue
            found.append(Collection(group, version, str_at(one, "kind"), plural, one.get("namespaced") is True))
    return found


class GarbageCollector:
    """Follows everything, deletes what lost its owners."""

    def __init__(self, client: Client, random: Random) -> None:
        self._client, self._random = client, random
        self._graph = Graph()
        self._collections: dict[Collection, asyncio.Task[None]] = {}
        self._by_kind: dict[tuple[str, str], Collection] = {}
        self._seen: dict[Collection, dict[str, None]] = {}
        self._rediscover = asyncio.Event()
        self.queue: WorkQueue[str] = WorkQueue("garbage")

    async def run(self, workers: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._discover(tasks), name="garbage discovery")
            tasks.create_task(self.queue.run(workers, self._sync), name="garbage")

    # --- following -------------------------------------------------------------------------------------------------

    async def _discover(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._rediscover.clear()
            try:
                current = await collections_of(self._client)
            except (RetryableError, ApiTerminal) as err:
                log.warning("discovery failed", error=str(err))
                await asyncio.sleep(1)
                continue
            for collection in current:
                self._by_kind[collection.group, collection.kind] = collection
                if collection not in self._collections:
                    self._collections[collection] = tasks.create_task(
                        self._follow(collection), name=f"garbage {collection.plural}"
                    )
            for collection in [one for one in self._collections if one not in current]:
                self._collections.pop(collection).cancel()
                self._by_kind.pop((collection.group, collection.kind), None)
                self._list_is(collection, [])
            try:
                async with asyncio.timeout(_DISCOVER_EVERY):
                    await self._rediscover.wait()
            except TimeoutError:
                continue

    async def _follow(self, collection: Collection) -> None:
        version, failures = "", 0
        while True:
            try:
                if not version:
                    response = await self._client.kube.request("GET", collection.path())
                    listed = decode_as(_List, check(response))
                    version = listed.metadata.resource_version
                    self._list_is(collection, [one.metadata for one in listed.items])
                version = await self._watch(collection, version)
                failures = 0
            except ResourceExpired:
                version = ""
            except (RetryableError, ApiTerminal) as err:
                failures += 1
                log.debug("watch interrupted", kind=collection.kind, error=str(err))
                version = ""
                await asyncio.sleep(self._random.uniform(0.05, 0.1) * 2 ** min(failures, 8))

    def _list_is(self, collection: Collection, metas: list[Meta]) -> None:
        found = {meta.uid: None for meta in metas}
        for uid in [uid for uid in self._seen.get(collection, {}) if uid not in found]:
            self._gone(collection, uid)
        self._seen[collection] = self._seen.get(collection, {})
        for meta in metas:
            self._observed(collection, meta)

    async def _watch(self, collection: Collection, version: str) -> str:
        query = {
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(self._random.uniform(300, 600))),
        }
        async with self._client.kube.watch(collection.path(), query=query) as lines:
            async for line in lines:
                event = decode_as(_Event, line)
                if event.type == "ERROR":
                    raise error_of(410 if b"Expired" in bytes(event.object) else 500, bytes(event.object), {})
                meta = decode_as(_Object, bytes(event.object)).metadata
                version = meta.resource_version or version
                if event.type == "DELETED":
                    self._gone(collection, meta.uid)
                elif event.type != "BOOKMARK":
                    self._observed(collection, meta)
        return version

    def _observed(self, collection: Collection, meta: Meta) -> None:
        self._seen.setdefault(collection, {})[meta.uid] = None
        node = self._graph.put(collection, meta)
        if collection == _CRDS:
            self._rediscover.set()
        marked = meta.deletion_timestamp is not None and (FOREGROUND in meta.finalizers or ORPHAN in meta.finalizers)
        if marked or any(self._may_be_gone(owner) for owner in meta.owner_references):
            self.queue.add(meta.uid)
        if node.is_waiting:
            for uid in node.dependents:
                self.queue.add(uid)
        for owner in meta.owner_references:
            above = self._graph.nodes.get(owner.uid)
            if above is not None and above.is_waiting:
                self.queue.add(owner.uid)

    def _may_be_gone(self, owner: OwnerRef) -> bool:
        known = self._graph.nodes.get(owner.uid)
        return known is None or known.is_waiting

    def _gone(self, collection: Collection, uid: str) -> None:
        self._seen.get(collection, {}).pop(uid, None)
        node = self._graph.nodes.get(uid)
        if collection == _CRDS:
            self._rediscover.set()
        for dependent in self._graph.remove(uid):
            self.queue.add(dependent)
        for owner in () if node is None else node.meta.owner_references:
            above = self._graph.nodes.get(owner.uid)
            if above is not None and above.is_waiting:
                self.queue.add(owner.uid)

    # --- deciding --------------------------------------------------------------------------------------------------

    async def _sync(self, uid: str) -> None:
        node = self._graph.nodes.get(uid)
        if node is None:
            return
        if node.meta.deletion_timestamp is not None:
            if ORPHAN in node.meta.finalizers:
                await self._orphan(node)
            elif node.is_waiting:
                await self._advance(node)
            return
        if not node.meta.owner_references:
            return
        absent: dict[str, None] = {}
        for owner in node.meta.owner_references:
            if owner.uid not in self._graph.nodes and await self._is_absent(node, owner):
                absent[owner.uid] = None
        match self._graph.judge(node, frozenset(absent)):
            case Fate.KEEP:
                return
            case Fate.DROP_REFERENCES:
                await self._drop(node, lambda owner: owner.uid in absent or self._may_be_gone(owner))
            case Fate.DELETE_FOREGROUND:
                await self._delete(node, "Foreground")
            case Fate.DELETE:
                await self._delete(node, "Background")

    async def _is_absent(self, node: Node, owner: OwnerRef) -> bool:
        """Ask the API server; what it does not serve is not known to be absent."""
        group = owner.api_version.rpartition("/")[0]
        collection = self._by_kind.get((group, owner.kind))
        if collection is None:
            self._rediscover.set()
            return False
        if collection.namespaced and not node.meta.namespace:
            return False  # OwnerRefInvalidNamespace: Kubernetes warns and leaves it alone
        found = await self._client.get(collection, node.meta.namespace, owner.name)
        return found is None or str_at(found, "metadata", "uid") != owner.uid

    async def _delete(self, node: Node, propagation: str) -> None:
        meta = node.meta
        if ORPHAN in meta.finalizers:
            propagation = "Orphan"
        elif FOREGROUND in meta.finalizers:
            propagation = "Foreground"
        await self._client.delete(node.collection, meta.namespace, meta.name, uid=meta.uid, propagation=propagation)

    async def _advance(self, node: Node) -> None:
        """A foreground deletion: dependents first, then the finalizer."""
        for uid in node.dependents:
            self.queue.add(uid)
        if not self._graph.blocking(node):
            await self._finish(node, FOREGROUND)

    async def _orphan(self, node: Node) -> None:
        for uid in list(node.dependents):
            dependent = self._graph.nodes.get(uid)
            if dependent is not None:
                await self._drop(dependent, lambda owner: owner.uid == node.meta.uid)
        await self._finish(node, ORPHAN)

    async def _drop(self, node: Node, gone: Callable[[OwnerRef], bool]) -> None:
        """Remove the owner references for which `gone` holds."""
        found = await self._client.get(node.collection, node.meta.namespace, node.meta.name)
        if found is None or str_at(found, "metadata", "uid") != node.meta.uid:
            return
        dropped = {owner.uid for owner in node.meta.owner_references if gone(owner)}
        kept = [one for one in objects_at(found, "metadata", "ownerReferences") if str_at(one, "uid") not in dropped]
        metadata: JsonObject = {
            "uid": node.meta.uid,
            "resourceVersion": str_at(found, "metadata", "resourceVersion"),
            "ownerReferences": list(kept) or None,
        }
        await self._client.patch(node.collection, node.meta.namespace, node.meta.name, {"metadata": metadata})

    async def _finish(self, node: Node, finalizer: str) -> None:
        found = await self._client.get(node.collection, node.meta.namespace, node.meta.name)
        if found is None or str_at(found, "metadata", "uid") != node.meta.uid:
            return
        kept = [one for one in list_at(found, "metadata", "finalizers") if one != finalizer]
        metadata: JsonObject = {
            "uid": node.meta.uid,
            "resourceVersion": str_at(found, "metadata", "resourceVersion"),
            "finalizers": list(kept) or None,
        }
        await self._client.patch(node.collection, node.meta.namespace, node.meta.name, {"metadata": metadata})
