"""A cache of one collection, kept by list and watch, that also learns at once what this process itself wrote.

Writing through spares every controller its own bookkeeping of "created, but not seen yet": the cache holds the answer
of a write before the next event is handled, and an older event does not undo it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec
import structlog

from tapio_shared.codec import decode_as, encode
from tapio_shared.errors import ApiTerminal, ResourceExpired, RetryableError
from tapio_shared.json import JsonObject, JsonValue, int_at, object_at, str_at
from tapio_shared.kubernetes import error_of, list_all
from tapio_shared.ports import Random
from tapio_simulator.machinery.client import Client
from tapio_simulator.machinery.objects import Key, key_of, uid_of
from tapio_simulator.machinery.resources import Collection

log = structlog.get_logger(__name__)

Handler = Callable[[JsonObject | None, JsonObject | None], None]
"""Told (before, after); either is None when the object is new or gone. Must not wait."""
K = TypeVar("K")

_SHORTEST, _LONGEST = 300, 600
_FIRST_WAIT, _LAST_WAIT = 0.1, 10.0


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: JsonObject


class Index:
    """Objects by something they hold: an owner's UID, a node, a label."""

    def __init__(self, keys: Callable[[JsonObject], Iterable[str]]) -> None:
        self._keys = keys
        self._entries: dict[str, dict[Key, JsonObject]] = {}

    def __getitem__(self, key: str) -> list[JsonObject]:
        return list(self._entries.get(key, {}).values())

    def count(self, key: str) -> int:
        return len(self._entries.get(key, ()))

    def changed(self, before: JsonObject | None, after: JsonObject | None) -> None:
        if before is not None:
            name = key_of(before)
            for key in self._keys(before):
                entry = self._entries.get(key)
                if entry is not None:
                    entry.pop(name, None)
                    if not entry:
                        del self._entries[key]
        if after is not None:
            name = key_of(after)
            for key in self._keys(after):
                self._entries.setdefault(key, {})[name] = after


class Informer:
    """All objects of one collection. Documents are shared: nobody may change one."""

    def __init__(
        self,
        client: Client,
        collection: Collection,
        random: Random,
        trim: Callable[[JsonObject], JsonObject] | None = None,
    ) -> None:
        self._client, self.collection, self._random, self._trim = client, collection, random, trim
        self.objects: dict[Key, JsonObject] = {}
        self._indexes: list[Index] = []
        self._handlers: list[Handler] = []
        self._gone: dict[str, None] = {}
        self.synced = asyncio.Event()

    # --- reading ---------------------------------------------------------------------------------------------------

    def get(self, namespace: str, name: str) -> JsonObject | None:
        return self.objects.get((namespace, name))

    def index(self, keys: Callable[[JsonObject], Iterable[str]]) -> Index:
        """A new index, kept up to date from now on. Make it before `run`."""
        made = Index(keys)
        self._indexes.append(made)
        return made

    def subscribe(self, handler: Handler) -> None:
        self._handlers.append(handler)

    # --- writing through -------------------------------------------------------------------------------------------

    async def create(self, namespace: str, document: JsonObject) -> JsonObject:
        made = await self._client.create(self.collection, namespace, document)
        return self.observed(made)

    async def patch(
        self, document: JsonObject, patch: Mapping[str, JsonValue], *, subresource: str = ""
    ) -> JsonObject | None:
        """Merge patch under the UID of `document`; None when that object is gone or is another one by now."""
        namespace, name = key_of(document)
        guarded = {**patch, "metadata": {**object_at(patch, "metadata"), "uid": uid_of(document)}}
        left = await self._client.patch(self.collection, namespace, name, guarded, subresource=subresource)
        if left is None:
            self.forget(document)
            return None
        return self.observed(left)

    async def delete(self, document: JsonObject, *, grace: int | None = None, propagation: str = "Background") -> None:
        """Delete exactly this object."""
        namespace, name = key_of(document)
        left = await self._client.delete(
            self.collection, namespace, name, uid=uid_of(document), grace=grace, propagation=propagation
        )
        if left is None:
            self.forget(document)
        else:
            self.observed(left)

    def observed(self, document: JsonObject) -> JsonObject:
        """Take in one state of an object, unless a newer one is known; answers the one that is kept."""
        metadata = object_at(document, "metadata")
        metadata.pop("managedFields", None)
        if self._trim is not None:
            document = self._trim(document)
        key, uid = key_of(document), uid_of(document)
        before = self.objects.get(key)
        if uid in self._gone:
            return document
        if before is not None and uid_of(before) == uid and _version(document) <= _version(before):
            return before
        self.objects[key] = document
        self._tell(before, document)
        return document

    def forget(self, document: JsonObject) -> None:
        """The object is known to be gone, before the watch says so."""
        key, uid = key_of(document), uid_of(document)
        before = self.objects.get(key)
        if before is not None and uid_of(before) == uid:
            self._gone[uid] = None
            del self.objects[key]
            self._tell(before, None)

    # --- following -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the collection until cancelled."""
        failures, version = 0, ""
        while True:
            try:
                if not version:
                    version = await self._list()
                    failures = 0
                version = await self._watch(version)
                failures = 0
            except ResourceExpired:
                version = ""
            except (RetryableError, ApiTerminal) as err:
                failures += 1
                log.warning("watch interrupted", kind=self.collection.kind, error=str(err), failures=failures)
                version = "" if failures > 1 else version
                longest = min(_FIRST_WAIT * 2 ** min(failures, 10), _LAST_WAIT)
                await asyncio.sleep(self._random.uniform(longest / 2, longest))

    async def _list(self) -> str:
        version, documents = await list_all(self._client.kube, self.collection.path())
        self._gone.clear()
        found = {key_of(document): document for document in documents}
        limit = int(version) if version.isdigit() else 0
        for key, before in list(self.objects.items()):
            missing = key not in found or uid_of(found[key]) != uid_of(before)
            if missing and _version(before) <= limit:
                del self.objects[key]
                self._tell(before, None)
        for document in documents:
            self.observed(document)
        self.synced.set()
        return version

    async def _watch(self, version: str) -> str:
        query = {
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(self._random.uniform(_SHORTEST, _LONGEST))),
        }
        async with self._client.kube.watch(self.collection.path(), query=query) as lines:
            async for line in lines:
                event = decode_as(_Event, line)
                document = event.object
                if event.type == "ERROR":
                    raise error_of(int_at(document, "code", default=500), encode(document), {})
                version = str_at(document, "metadata", "resourceVersion") or version
                if event.type == "DELETED":
                    self._deleted(document)
                elif event.type in ("ADDED", "MODIFIED"):
                    self.observed(document)
        return version

    def _deleted(self, document: JsonObject) -> None:
        key, uid = key_of(document), uid_of(document)
        self._gone.pop(uid, None)
        before = self.objects.get(key)
        if before is not None and uid_of(before) == uid:
            del self.objects[key]
            self._tell(before, None)

    def _tell(self, before: JsonObject | None, after: JsonObject | None) -> None:
        for index in self._indexes:
            index.changed(before, after)
        for handler in self._handlers:
            handler(before, after)


def _version(document: JsonObject) -> int:
    """Versions are numbers on every server there is, and comparable within one collection (KEP-5504)."""
    text = str_at(document, "metadata", "resourceVersion")
    return int(text) if text.isdigit() else 0


class Informers:
    """One informer per collection, shared by all controllers of a process."""

    def __init__(self, client: Client, random: Random) -> None:
        self._client, self._random = client, random
        self._known: dict[Collection, Informer] = {}

    def of(self, collection: Collection, trim: Callable[[JsonObject], JsonObject] | None = None) -> Informer:
        """The informer of `collection`; `trim` counts for the first who asks."""
        informer = self._known.get(collection)
        if informer is None:
            informer = self._known[collection] = Informer(self._client, collection, self._random, trim)
        return informer

    def start(self, tasks: asyncio.TaskGroup) -> None:
        for collection, informer in self._known.items():
            tasks.create_task(informer.run(), name=f"informer {collection.plural}")

    async def synced(self) -> None:
        """Return once every informer holds a complete list."""
        for informer in self._known.values():
            await informer.synced.wait()
