"""Following one kind: reads lists (listing.py) and watches, steps the state machine (watching.py), and tells a sink.

Also compares what is known with the API server's own list by metadata alone, so that a watch that looks alive and is
dead is found: what differs is read and told, and a watch that said nothing of it is opened anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Protocol

import msgspec
import structlog

from tapio_shared.codec import encode
from tapio_shared.errors import ApiError, TapioError
from tapio_shared.facts import ServedResource
from tapio_shared.json import JsonObject, str_at
from tapio_shared.kubernetes import error_of
from tapio_shared.shallow import decode_cut
from tapio_watcher.answers import Answers
from tapio_watcher.api import Api
from tapio_watcher.listing import Listing, name_of
from tapio_watcher.past import DOUBTED, Newest
from tapio_watcher.readings import Ahead, ListUnderWay, Readings
from tapio_watcher.versions import Name, Versions
from tapio_watcher.watching import (
    Apply,
    Broken,
    Change,
    Delete,
    EventRead,
    Expired,
    Following,
    Init,
    InitApply,
    InitDone,
    Paging,
    Streaming,
    StreamRefused,
    Told,
    begin,
    error_code,
    is_older,
    meaning_of,
    step,
    watch_query,
)

log = structlog.get_logger(__name__)

_SHORTEST, _LONGEST = 300, 600
_FIRST_WAIT, _LAST_WAIT = 0.1, 20.0
_FAILURES_TO_RELIST = 4
_ASK_AGAIN = 5.0
_SILENT = 10.0
"""Seconds without a line after which a streamed list is taken to come to no end."""
_GRAIN = 0.5
"""Seconds by which that may be less: a timer is not moved for every line, which takes as long as decoding it."""


class Sink(Protocol):
    """Where the objects of one kind go. Nothing of it waits: what can't be published at once is kept and coalesced."""

    def observed(self, document: JsonObject) -> None: ...

    def gone(self, name: Name, *, uid: str = "", resource_version: str = "") -> None: ...

    def complete(self, names: Versions) -> None:
        """A list is complete: what `names` does not hold does not exist."""
        ...


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: dict[str, Any]


class KindWatch:
    """Follows one kind, under a label or field selector, into a sink."""

    def __init__(
        self,
        api: Api,
        resource: ServedResource,
        sink: Sink,
        *,
        namespace: str = "",
        selector: Mapping[str, str] | None = None,
        seen: str = "",
        listed: Callable[[], None] | None = None,
    ) -> None:
        """`seen`: the newest version of the kind that was ever told of. `listed` is called after each complete list."""
        self._api, self.resource, self._sink = api, resource, sink
        self._listing = Listing(api.kube, resource, namespace=namespace, selector=selector or {})
        self._listed = listed
        self._versions = Versions()
        self._readings, self._ahead = Readings(), Ahead()
        self._answers = Answers(comparable=api.comparable)
        self._newest = Newest(seen)
        self.was_restored = False
        """The API server's versions went back, for good; whoever remembers newer ones is to be told."""
        self._list: ListUnderWay | None = None
        self._unsure: list[Name] = []
        """What was read while the last list was, which does not hold it."""
        self._lines = 0
        self._lines_at_comparison = -1
        self._reading: asyncio.Timeout | None = None
        self._state, changes = begin(streams=api.streams.offered)
        self._first = changes
        self._is_told = True
        """Whether what the last list told is complete."""
        self._told_of = api.metrics.events.labels(resource.kind)
        self.is_listed = asyncio.Event()

    @property
    def count(self) -> int:
        """How many objects exist, as far as is known."""
        return len(self._versions)

    @property
    def version(self) -> str:
        """Version of the last list, event or bookmark; empty while a list is being read."""
        return self._state.version if isinstance(self._state, Following) else ""

    async def run(self) -> None:
        """Follow the kind until cancelled."""
        await self._carry_out(self._first)
        failures = 0
        while True:
            before, asked = self._lines, 0.0
            told: Told = Broken()
            try:
                if self._state in (Streaming(), Paging()):
                    await self._until_present()
                else:
                    await self._complete()
                if isinstance(self._state, Paging):
                    async with self._api.lists:
                        await self._step(await self._listing.page(self._state.token))
                    failures = 0
                    continue
                await self._read()
            except TimeoutError:
                told = StreamRefused() if isinstance(self._state, Streaming) else Expired()
            except TapioError as err:
                told = meaning_of(err, self._state)
                asked = (err.retry_after or 0.0) if isinstance(err, ApiError) else 0.0
                log.info("watch interrupted", kind=self.resource.kind, error=str(err), failures=failures)
                if failures >= _FAILURES_TO_RELIST and isinstance(told, Broken):
                    told = Expired()
            failures = 0 if self._lines != before else failures + 1
            await self._step(told)
            if isinstance(told, StreamRefused):
                # An answer: pages are asked for at once. What fails for another reason fails there too, and waits then.
                await asyncio.sleep(asked)
            elif failures or asked:
                await asyncio.sleep(max(self._backoff(max(failures, 1)), asked))

    # --- comparing ---------------------------------------------------------------------------------------------

    async def compare(self) -> None:
        """Compare with the API server's own list, by metadata alone; what differs is read and told to the sink."""
        if not isinstance(self._state, Following):
            return
        theirs = await self._listing.versions()
        missed, differing = 0, sorted(self._versions.differences(theirs))
        if differing and await self._is_behind():
            # How objects are, or that they are gone, is not told from before what was told already.
            self._end_watch()
            return
        for name in differing:
            if theirs.get(name) != self._versions.get(name):
                missed += await self._was_missed(name)
        said_nothing = self._lines == self._lines_at_comparison
        self._lines_at_comparison = self._lines
        if missed:
            self._api.metrics.found_by_comparison.labels(self.resource.kind).inc(missed)
        if missed and said_nothing:
            # Changes were missed and since the last comparison not even a bookmark came: it only looks alive.
            log.warning("watch is dead", kind=self.resource.kind, missed=missed)
            self._end_watch()

    def _end_watch(self) -> None:
        """Have everything listed anew; between two watches there is nothing to end."""
        if self._reading is not None and not self._reading.expired():
            self._reading.reschedule(asyncio.get_running_loop().time())

    async def _was_missed(self, name: Name) -> bool:
        """A difference may be the list's lag or the watch's: reading the object itself decides."""
        before = self._versions.get(name)
        await self.fetch(name)
        return self._versions.get(name) != before

    async def fetch(self, name: Name) -> None:
        """Read one object and tell the sink how it is, or that it is gone. ApiUnavailable for an answer of the past."""
        read, known = partial(self._listing.one, name), lambda: (self._versions.get(name) or "", "")
        document = await self._readings.latest(name, partial(self._answers.present, name, read, known))
        is_selected = document is not None and self._listing.selects(document)
        self._was_read(name, document if is_selected else None)
        if document is None:
            self._forget(name)
            self._sink.gone(name)
        elif is_selected:
            self._apply(document)
            if self._list is not None:
                self._list.was_read(name)
        else:
            self._forget(name)
            self._sink.gone(name, uid=str_at(document, "metadata", "uid"))

    # --- a server that is in the past ----------------------------------------------------------------------------

    async def _until_present(self) -> None:
        """Wait while the API server is behind what was told of it before: what it lacks then may well exist."""
        while True:
            if not await self._is_behind():
                return
            await asyncio.sleep(_ASK_AGAIN)

    async def _is_behind(self) -> bool:
        """Whether its versions are older than what was seen, and not yet for so long that they are believed."""
        if not self._api.comparable or not self._newest.version:
            return False
        version = await self._listing.version()
        kind, seen, was_behind = self.resource.kind, self._newest.version, self._newest.is_behind
        match self._newest.verdict(version, asyncio.get_running_loop().time()):
            case "present":
                return False
            case "behind":
                if not was_behind:
                    log.warning("the API server is in the past", kind=kind, version=version, seen=seen, waits=DOUBTED)
                return True
            case "restored":
                log.warning("the API server was restored from a backup", kind=kind, version=version, seen=seen)
                self._versions, self.was_restored = Versions(), True
                self._answers = Answers(comparable=True)
                return False

    # --- reading -----------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Read one watch to its end. `TimeoutError` when a comparison says that it is dead, or a list has no end."""
        if isinstance(self._state, Paging):
            return
        self._api.metrics.restarts.labels(self.resource.kind).inc()
        seconds = int(self._api.random.uniform(_SHORTEST, _LONGEST))
        query = watch_query(self._state, self._listing.selector, seconds)
        async with AsyncExitStack() as turn:
            if isinstance(self._state, Streaming):
                await turn.enter_async_context(self._api.lists)
                if not self._api.streams.offered:
                    raise TimeoutError
            try:
                async with (
                    asyncio.timeout(_SILENT if isinstance(self._state, Streaming) else None) as self._reading,
                    self._api.kube.watch(self._listing.path, query=query) as lines,
                ):
                    async for line in lines:
                        event = decode_cut(_Event, line)
                        if event.type == "ERROR":
                            raise error_of(error_code(event.object), encode(event.object), {})
                        self._lines += 1
                        was_listing = isinstance(self._state, Streaming)
                        await self._step(EventRead(event.type, event.object))
                        if was_listing:
                            self._hear(self._reading)
                        if isinstance(self._state, Following):
                            await turn.aclose()  # Nothing to do when it has been done.
            except TimeoutError:
                if isinstance(self._state, Streaming) and self._api.streams.offered:
                    self._api.streams.offered = False
                    log.warning("a streamed list came to no end; lists are read in pages", kind=self.resource.kind)
                raise
            finally:
                self._reading = None  # What has ended can't be ended: a comparison may come between two watches.

    def _hear(self, reading: asyncio.Timeout) -> None:
        """A line of a streamed list came: the next may take as long, and one after the list as long as it likes."""
        ends = asyncio.get_running_loop().time() + _SILENT if isinstance(self._state, Streaming) else None
        before = reading.when()
        if ends is not None and before is not None and ends - before < _GRAIN:
            return
        if not reading.expired():
            reading.reschedule(ends)

    async def _step(self, told: Told) -> None:
        self._state, changes = step(self._state, told, streams=self._api.streams.offered)
        if isinstance(self._state, Following):
            self._newest.saw(self._state.version)
        await self._carry_out(changes)

    async def _carry_out(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            match change:
                case InitApply():
                    self._told_of.inc()
                    name, version = self._apply(change.object)
                    if self._list is not None:
                        self._list.holds(name, version)
                case Apply():
                    self._told_of.inc()
                    if not self._is_old(change.object):
                        self._apply(change.object)
                case Delete():
                    self._told_of.inc()
                    self._delete(change.object)
                case Init():
                    self._api.metrics.relists.labels(self.resource.kind).inc()
                    self._list, self._unsure = ListUnderWay(), []
                case InitDone():
                    self._list_done()
                    await self._complete()
            await self._api.room()

    def _was_read(self, name: Name, document: JsonObject | None) -> None:
        """Where versions don't compare: note what of an object the watch may be behind."""
        if not self._api.comparable:
            version, uid = ("", "") if document is None else _identity(document)
            now = asyncio.get_running_loop().time()
            self._ahead.read(name, version, uid, told=self._versions.get(name) or "", now=now)

    def _is_old(self, document: JsonObject) -> bool:
        """Whether the watch tells of an object what was before it was read: it comes to that; lists begin anew."""
        name, (version, _) = name_of(document), _identity(document)
        is_old = self._ahead.is_old(name, version, now=asyncio.get_running_loop().time())
        if is_old:
            self._readings.told(name)
        return is_old

    def _is_older(self, document: JsonObject) -> bool:
        """Whether an object, or its end, is of before what was told of that name; no, where versions don't compare."""
        if not self._api.comparable:
            return False
        known = self._versions.get(name_of(document))
        return known is not None and is_older(_identity(document)[0], known)

    def _apply(self, document: JsonObject) -> tuple[Name, str]:
        """Tell the sink how an object is; answers its name, and the version that is known by now."""
        name, version = name_of(document), str_at(document, "metadata", "resourceVersion")
        self._readings.told(name)
        if self._is_older(document):
            # A comparison has read a newer one before the watch came to this.
            return name, self._versions.get(name) or ""
        self._versions.set(name, version)
        self._sink.observed(self._listing.typed(document))
        return name, version

    def _delete(self, document: JsonObject) -> None:
        name = name_of(document)
        self._readings.told(name)
        version, uid = _identity(document)
        self._ahead.ended(name, uid)
        self._answers.ended(name, version)
        if self._is_older(document):
            return  # a comparison has read what was made anew under this name before the watch came to the end of it
        self._forget(name)
        self._sink.gone(name, uid=uid, resource_version=version)

    def _forget(self, name: Name) -> None:
        self._versions.remove(name)
        if self._list is not None:
            self._list.forget(name)

    def _list_done(self) -> None:
        under_way, known = self._list or ListUnderWay(), self._versions
        self._list, self._unsure = None, under_way.unsure(known)
        for name in under_way.lacks(known):
            self._answers.ended(name, self.version)
        self._versions, self._ahead, self._is_told = under_way.versions, Ahead(), False
        self._readings.told_all()
        self._sink.complete(self._versions)

    async def _complete(self) -> None:
        """After a list: read again what may have been read before it and ended since; then all that exists is told."""
        while self._unsure:
            await self.fetch(self._unsure[-1])
            self._unsure.pop()
        if not self._is_told:
            self._is_told = True
            self.is_listed.set()
            if self._listed is not None:
                self._listed()

    def _backoff(self, failures: int) -> float:
        longest = min(_FIRST_WAIT * 2 ** min(failures, 10), _LAST_WAIT)
        return self._api.random.uniform(longest / 2, longest)


def _identity(document: JsonObject) -> tuple[str, str]:
    """Version and UID of an object."""
    return str_at(document, "metadata", "resourceVersion"), str_at(document, "metadata", "uid")
