"""Secrets that resources depend on: as digests alone, by name, and never by a list of all. The verbs are get and watch.

People's Secrets are watched one by one. The operator's own (some per TapioCluster) carry its labels and share one
watch, or a thousand clusters would hold a thousand connections. A watch can't say what does not exist: reading can.
What the log tells of as that watch finds it, when it begins, need not be read once more (ADR 0027).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import cast

import structlog

from tapio_shared.api.labels import MANAGED_SELECTOR, key_of_object
from tapio_shared.codec import encode
from tapio_shared.errors import ApiError, ApiTerminal, ResourceExpired, TapioError
from tapio_shared.json import JsonObject, int_at, object_at, str_at, strings_at
from tapio_shared.keys import ObjectRef, OrderingKey
from tapio_shared.kubernetes import error_of, object_path
from tapio_shared.ports import Clock
from tapio_shared.shallow import decode_cut
from tapio_watcher.answers import Answers
from tapio_watcher.api import Api
from tapio_watcher.digest_key import DigestKey
from tapio_watcher.encoding import EncodedFact
from tapio_watcher.listing import one_at
from tapio_watcher.publishing import FactWriter
from tapio_watcher.readings import Heard, Readings
from tapio_watcher.sinks import fact_of
from tapio_watcher.versions import Name, Names
from tapio_watcher.wanted import Wanted
from tapio_watcher.watching import STREAM_REFUSED

log = structlog.get_logger(__name__)
READ_AGAIN_EVERY = 600.0
"""Seconds between two readings of every Secret: a watch may have missed it, and nobody watches one in place of ours."""
_SHARES = 60
"""In as many shares they are read, one after the other: what is to be read of all of them at once takes memory."""
FIRST_LISTS = 60.0
"""Seconds that the shared watch waits for the lists of the resources that say which Secrets are wanted, and as many
until nothing is expected of its beginning any more."""
FIRST_SIGHT = 3.0
"""Seconds of silence after which it will not tell what it is expected to."""
_GLANCE = 0.25
"""Seconds of silence after which it has told all that exists."""
_RECENT: Mapping[str, str] = {"allowWatchBookmarks": "true"}
_CACHED: Mapping[str, str] = {"resourceVersion": "0"}
"""Begin with what the API server has at hand, be it of before, and without bookmarks, with which it would be a streamed
list: for a server that can't tell how it is now (watching.STREAM_REFUSED)."""
_READS_AT_ONCE = 16
_RETRY = (1.0, 3.0)
_SHORTEST, _LONGEST = 300, 600


@dataclass(slots=True)
class _Place:
    """Where a watch goes on: the version after which events are wanted; empty to begin with all that exist."""

    version: str = ""


class SecretWatches:
    """Which Secrets the custom resources refer to, and their facts. Tasks run in `group`."""

    def __init__(
        self,
        api: Api,
        writer: FactWriter,
        clock: Clock,
        digest_key: DigestKey,
        group: asyncio.TaskGroup,
        *,
        trusted: bool,
    ) -> None:
        """Without `trusted`, the log is not what it was, and everything is read."""
        self._api, self._writer, self._clock, self._digest_key, self._group = api, writer, clock, digest_key, group
        self._wanted = Wanted(self._wants, self._unwatch)
        self._watches: dict[Name, asyncio.Task[None]] = {}
        self._unread: dict[Name, None] = {}
        """Secrets that are to be read, the first one first."""
        self._being_read: set[Name] = set()
        self._unsettled: set[Name] = set()
        """Of those that are being read, the ones that are to be read once more: the answer may be of before."""
        self._readers: set[asyncio.Task[None]] = set()
        self._expected = Names()
        """Of our own Secrets that the log tells of as existing, those that the first shared watch has not told yet."""
        self._missing = Names()
        """Those that it tells of as absent, and the watch has not told either."""
        self._sighted = asyncio.Event()
        """Set once nothing is expected of that watch any more."""
        if not trusted:
            self._sighted.set()
        self._readings, self._heard = Readings(), Heard()
        self._answers = Answers(comparable=api.comparable)
        self._sightings = 0
        self._has_begun = False
        self._beginning = _RECENT
        """How a watch of all that exists is asked for."""

    def start(self, listed: Callable[[], Awaitable[None]]) -> None:
        """Follow the operator's own Secrets, and read all of them again now and then.

        `listed` waits until the custom resources have been listed, and so which Secrets they want is known.
        """
        self._group.create_task(self._begin(listed), name="secrets-begin")
        self._group.create_task(self._read_all_again(), name="secrets-again")

    async def settled(self) -> None:
        """Wait until every Secret that is wanted now was found as the log tells, has been read, or can't be for now."""
        await self._sighted.wait()
        while self._readers:
            await asyncio.wait(list(self._readers))

    # --- References ----------------------------------------------------------------------------------------------

    def told(self, kind: str, document: JsonObject, key: OrderingKey | None) -> None:
        """A custom resource refers to these Secrets now."""
        self._wanted.told(kind, document, key)

    def gone(self, kind: str, name: Name) -> None:
        """A custom resource is gone, and refers to nothing."""
        self._wanted.gone(kind, name)

    # --- beginning -----------------------------------------------------------------------------------------------

    def _wants(self, name: Name, key: OrderingKey) -> None:
        """A key wants a Secret: read it, unless the shared watch is about to tell how ours are."""
        told = self._writer.told(key, _ref(name))
        if self._sighted.is_set() or told is None or not self._wanted.is_generated(name):
            self._read(name)
        elif told.is_present:
            self._expected.add(name)
        else:
            self._missing.add(name)

    async def _begin(self, listed: Callable[[], Awaitable[None]]) -> None:
        """Begin the shared watch, and have all read that it does not find as the log tells.

        It begins with all that exist. So a Secret that it does not tell is absent still, if the log says so; unless it
        failed to tell one that the log says to exist: then it is no evidence, and everything is read.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LISTS):
                await listed()
        self._group.create_task(self._follow_own(), name="secrets")
        is_evidence = bool(self._expected) and await self._has_told_all()
        self._sighted.set()
        if not is_evidence:
            doubtful = sorted({*self._expected, *self._missing})
            self._read_again(name for name in doubtful if name in self._wanted)
        self._expected.clear()
        self._missing.clear()

    async def _has_told_all(self) -> bool:
        """Wait until the shared watch says no more for now; answers whether it has told all that it was expected to."""
        quiet = 0.0
        for _ in range(int(FIRST_LISTS / _GLANCE)):
            before = self._sightings
            await asyncio.sleep(_GLANCE)
            quiet = quiet + _GLANCE if self._sightings == before else 0.0
            if quiet >= (FIRST_SIGHT if self._expected else _GLANCE):
                break
        return not self._expected

    def _sight(self, name: Name, document: JsonObject) -> None:
        """The shared watch tells of a Secret: perhaps only what the log tells already."""
        self._sightings += 1
        is_old = self._heard.is_old(name, document, now=self._clock.monotonic())
        if not is_old and name not in self._expected and name not in self._missing:
            self._publish(name, document)
            return
        self._expected.discard(name)
        self._missing.discard(name)
        if is_old:
            self._read(name)
            return
        fact = self._fact(document)
        is_ours = key_of_object(strings_at(document, "metadata", "labels")) is not None
        if not is_ours or not all(self._writer.tells(key, _ref(name), fact) for key in self._wanted.by(name)):
            self._read(name)  # A watch may begin in the past: of what differs, the API server's newest word counts.

    # --- reading -------------------------------------------------------------------------------------------------

    def _read(self, name: Name) -> None:
        """Read a Secret soon; once more when it is being read already, since that answer may be of before."""
        if name in self._being_read:
            self._unsettled.add(name)
            return
        self._unread[name] = None
        if len(self._readers) < _READS_AT_ONCE:
            reader = self._group.create_task(self._read_all(), name="secrets-read")
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)

    async def _read_all(self) -> None:
        """Read what is to be read, one after the other, until nothing is."""
        while self._unread:
            name = next(iter(self._unread))
            del self._unread[name]
            self._being_read.add(name)
            try:
                await self._fetch(name)
            except TapioError as err:
                log.warning("secret not read", namespace=name[0], name=name[1], error=str(err))
                self._unwatch(name)
                self._watch(name)  # which reads it first, and tries again until that succeeds
            finally:
                self._being_read.remove(name)
            if name in self._unsettled:
                self._unsettled.remove(name)
                self._unread[name] = None

    async def _fetch(self, name: Name) -> str:
        """Read one Secret and publish it; answers its version, empty when it does not exist."""
        read = partial(one_at, self._api.kube, object_path("", "v1", "secrets", *name))
        known = partial(self._heard.versions, name)
        document = await self._readings.latest(name, partial(self._answers.present, name, read, known))
        if document is None:
            self._heard.read(name, {}, now=self._clock.monotonic())
            self._publish_gone(name)
            if not self._wanted.is_generated(name):
                self._watch(name)
            return ""
        self._heard.read(name, document, now=self._clock.monotonic())
        self._publish(name, document)
        if key_of_object(strings_at(document, "metadata", "labels")) is None:
            self._watch(name)
        else:
            self._unwatch(name)
        return str_at(document, "metadata", "resourceVersion")

    async def _read_all_again(self) -> None:
        """Read one Secret after the other, evenly spread, from any of them on: a watcher may never live for a round.

        The first round begins when one could have ended: at the beginning each is read, or found as the log tells.
        """
        await asyncio.sleep(READ_AGAIN_EVERY)
        share = int(self._api.random.uniform(0, _SHARES))
        while True:
            names = self._wanted.share(share, _SHARES)
            pause = READ_AGAIN_EVERY / _SHARES / max(len(names), 1)
            for name in names:
                await asyncio.sleep(pause)
                if name in self._wanted:
                    self._read(name)
            if not names:
                await asyncio.sleep(pause)
            share = (share + 1) % _SHARES

    def _read_again(self, secrets: Iterable[Name]) -> None:
        for name in secrets:
            self._read(name)

    # --- watching ------------------------------------------------------------------------------------------------

    def _watch(self, name: Name) -> None:
        if name in self._wanted and name not in self._watches:
            task = self._group.create_task(self._follow_one(name), name=f"secret-watch-{name[0]}-{name[1]}")
            self._watches[name] = task
            self._api.metrics.secret_watches.set(len(self._watches))

    def _unwatch(self, name: Name) -> None:
        task = self._watches.pop(name, None)
        if task is not None:
            task.cancel()
            self._api.metrics.secret_watches.set(len(self._watches))

    async def _follow_one(self, name: Name) -> None:
        """Read and watch one Secret until it is not wanted any more, or shares the watch of our own."""
        path, place = object_path("", "v1", "secrets", name[0]), _Place()
        while True:
            try:
                if not place.version:
                    place.version = await self._fetch(name)
                    self._heard.begins(name, place.version)
                await self._follow(path, {"fieldSelector": f"metadata.name={name[1]}"}, place)
            except ResourceExpired:
                place.version = ""
            except TapioError as err:
                log.info("secret watch interrupted", namespace=name[0], name=name[1], error=str(err))
                place.version = "" if isinstance(err, ApiTerminal) else place.version
                await self._pause(err)

    async def _follow_own(self) -> None:
        """Watch the Secrets that carry our labels, in all namespaces."""
        path, place = object_path("", "v1", "secrets"), _Place()
        while True:
            try:
                await self._follow(path, {"labelSelector": MANAGED_SELECTOR}, place, self._own_began)
            except ResourceExpired:
                place.version = ""
            except TapioError as err:
                log.info("secret watch interrupted", error=str(err))
                await self._pause(err)

    def _own_began(self) -> None:
        """The shared watch begins with all that exist; if not for the first time, it does not tell what ended since.

        Ours are read even if they are watched one by one: such a watch may be about to leave its Secret to this one.
        """
        if self._has_begun:
            self._read_again(
                one for one in self._wanted.all() if one not in self._watches or self._wanted.is_generated(one)
            )
        self._has_begun = True

    async def _follow(
        self, path: str, selector: Mapping[str, str], place: _Place, began: Callable[[], None] | None = None
    ) -> None:
        """Read one watch to its end; without a version it begins with all that exist, and calls `began`.

        `place` is left where the next one goes on, however this one ends.
        """
        seconds = int(self._api.random.uniform(_SHORTEST, _LONGEST))
        query = {**selector, "timeoutSeconds": str(seconds)}
        is_all = not place.version
        if is_all:
            query |= self._beginning
        else:
            query |= {"resourceVersion": place.version, "allowWatchBookmarks": "true"}
        async with self._opened(path, query, is_beginning=is_all) as lines:
            if is_all and began is not None:
                began()
            async for line in lines:
                event = cast("JsonObject", decode_cut(dict, line))
                kind, document = str_at(event, "type"), object_at(event, "object")
                name = str_at(document, "metadata", "namespace"), str_at(document, "metadata", "name")
                if kind == "ERROR":
                    raise error_of(int_at(document, "code", default=500), encode(document), {})
                self._readings.told(name)
                if kind == "DELETED":
                    self._heard.ended(name, document)
                    self._answers.ended(name, str_at(document, "metadata", "resourceVersion"))
                    # It may only have lost its labels: reading it decides.
                    self._read(name)
                elif kind in {"ADDED", "MODIFIED"}:
                    self._sight(name, document)
                # All that exist come first, as ADDED and in no order: who went on from one of them would miss others.
                is_all = is_all and kind == "ADDED"
                if not is_all:
                    place.version = str_at(document, "metadata", "resourceVersion") or place.version
                await self._api.room()

    @asynccontextmanager
    async def _opened(
        self, path: str, query: Mapping[str, str], *, is_beginning: bool
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        try:
            async with self._api.kube.watch(path, query=query) as lines:
                yield lines
        except ApiError as err:
            if is_beginning and err.code in STREAM_REFUSED:
                self._beginning = _CACHED
            raise

    async def _pause(self, error: TapioError) -> None:
        asked = (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0
        await asyncio.sleep(max(self._api.random.uniform(*_RETRY), asked))

    # --- publishing ----------------------------------------------------------------------------------------------

    def _publish(self, name: Name, document: JsonObject) -> None:
        for key in self._wanted.by(name):
            refetch = partial(self._refetch, name)
            self._writer.observed(key, _ref(name), self._fact(document), refetch=refetch, only_place=False)

    def _fact(self, document: JsonObject) -> EncodedFact:
        """The fact that a Secret exists: its metadata, and digests in place of its values."""
        document = {"apiVersion": "v1", "kind": "Secret", **document}
        return fact_of(document, self._clock, digest_key=self._digest_key.key, key_id=self._digest_key.id)

    def _publish_gone(self, name: Name) -> None:
        for key in self._wanted.by(name):
            self._writer.gone(_ref(name), key=key, refetch=partial(self._refetch, name))

    async def _refetch(self, name: Name) -> None:
        await self._fetch(name)


def _ref(name: Name) -> ObjectRef:
    return ObjectRef("", "Secret", *name)
