"""The ways between the parts and the servers: what may happen to a request, and to a stream of messages, on the way.

A request that was sent reaches its server whatever becomes of the sender: it may land after its sender gave up, froze
or died. Servers therefore work in tasks of their own, outside of every part.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_errors import (
    BATCH_INCOMPLETE,
    ID_IN_PROCESS,
    SUBJECT_IN_PROCESS,
    WRONG_LAST_SEQUENCE,
    ApiFault,
    error_of_fault,
)
from tapio_shared.adapters.nats_ordered import OrderedConsumers
from tapio_shared.errors import ApiUnavailable, LogFull, LogRewound, LogUnavailable, RevisionConflict
from tapio_shared.ports import (
    Appended,
    Clock,
    EventLog,
    Kube,
    KubeResponse,
    LogInfo,
    Membership,
    Message,
    NewMessage,
    View,
)
from tests.campaign.deliveries import DeliveringServer
from tests.campaign.parts import served
from tests.support.kube_between import KubeBetween, Request
from tests.support.virtual_time import VirtualClock

T = TypeVar("T")
LOG_TIMEOUT = 5.0
"""Seconds after which a client of the log gives up, as nats-py is set up."""


@dataclass(slots=True)
class _Stream:
    """An open watch, and the task that waits for its next line."""

    reader: asyncio.Task[Any]
    is_broken: bool = False


@dataclass(slots=True)
class Link:
    """The way from one part to one server."""

    random: random.Random
    fired: Counter[str]
    name: str
    is_cut: bool = False
    slow: tuple[float, float] = (0.0, 0.0)
    """Seconds that a request takes to arrive; as much again for its answer."""
    slow_share: float = 1.0
    streams: dict[int, _Stream] = field(default_factory=dict[int, "_Stream"])
    """Who waits for something on an open stream, to be broken by `break_streams`."""

    _tickets: int = 0

    def ticket(self) -> int:
        """A number that nothing else on this link has."""
        self._tickets += 1
        return self._tickets

    def mend(self) -> None:
        self.is_cut, self.slow = False, (0.0, 0.0)

    def break_streams(self) -> None:
        for stream in list(self.streams.values()):
            if not stream.is_broken:
                stream.is_broken = True
                stream.reader.cancel()

    async def ask(
        self, work: Callable[[], Coroutine[Any, Any, T]], timeout: float, error: Callable[[], Exception]
    ) -> T:
        """Send a request, have it worked on, and wait for its answer."""
        if self.is_cut:
            self.fired[f"partition: a part and {self.name}"] += 1
            await asyncio.sleep(min(timeout, LOG_TIMEOUT))
            raise error()
        there, back = self._delay(), self._delay()
        task = served(self._travel(work, there, back))
        try:
            async with asyncio.timeout(timeout):
                answer = await asyncio.shield(task)
        except TimeoutError as err:
            raise error() from err
        if self.is_cut:  # Cut while the answer was on its way.
            await asyncio.sleep(min(timeout, LOG_TIMEOUT))
            raise error()
        return answer

    def _delay(self) -> float:
        if self.slow[1] <= 0 or self.random.random() > self.slow_share:
            return 0.0
        self.fired[f"slow calls to {self.name}"] += 1
        return self.random.uniform(*self.slow)

    async def _travel(self, work: Callable[[], Coroutine[Any, Any, T]], there: float, back: float) -> T:
        if there > 0:
            await asyncio.sleep(there)
        try:
            return await work()
        finally:
            if back > 0:
                await asyncio.sleep(back)


# --- the log ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Weather:
    """What goes wrong with the log at the moment, for every part alike. Shares are probabilities of one call."""

    unavailable: float = 0.0
    lost_ack: float = 0.0
    conflict: float = 0.0
    in_process: float = 0.0
    full: bool = False
    is_down: bool = False

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self.unavailable = self.lost_ack = self.conflict = self.in_process = 0.0
        self.full = self.is_down = False


_IN_PROCESS = {SUBJECT_IN_PROCESS: "10164", ID_IN_PROCESS: "10158", BATCH_INCOMPLETE: "10176"}


class PartLog(EventLog):
    """The log as one part reaches it."""

    def __init__(
        self, log: MemoryEventLog, server: DeliveringServer, link: Link, weather: Weather, rng: random.Random
    ) -> None:
        self._log, self._server, self._link, self._weather, self._random = log, server, link, weather, rng

    async def append(self, message: NewMessage) -> Appended:
        return await self._appended([message], lambda: self._log.append(message))

    async def append_batch(self, messages: Sequence[NewMessage]) -> Appended:
        return await self._appended(messages, lambda: self._log.append_batch(messages))

    async def _appended(
        self, messages: Sequence[NewMessage], work: Callable[[], Coroutine[Any, Any, Appended]]
    ) -> Appended:
        self._refuse(messages)
        appended = await self._ask(work)
        if self._comes_up(self._weather.lost_ack):
            self._link.fired["lost acknowledgements"] += 1
            raise LogUnavailable("The acknowledgement was lost.")
        return appended

    def _refuse(self, messages: Sequence[NewMessage]) -> None:
        if self._weather.full:
            self._link.fired["full log"] += 1
            raise LogFull("JetStream takes no more: the campaign made it full.")
        if self._comes_up(self._weather.in_process):
            code = self._random.choice(sorted(_IN_PROCESS))
            self._link.fired[f"refused with {_IN_PROCESS[code]}"] += 1
            raise error_of_fault(ApiFault(400, code, "something else is under way"))
        expecting = [message for message in messages if message.expected_last is not None]
        if expecting and self._comes_up(self._weather.conflict):
            self._link.fired[f"refused with {WRONG_LAST_SEQUENCE}"] += 1
            raise RevisionConflict(expecting[0].subject, expecting[0].expected_last or 0)

    async def last(self, subject: str) -> Message | None:
        return await self._ask(lambda: self._log.last(subject))

    async def last_per_subject(self, *filters: str, at_least: int = 0) -> View:
        view = await self._ask(lambda: self._log.last_per_subject(*filters, at_least=at_least))
        if self._log.lag:
            self._link.fired["stale reads of the log"] += 1
        return view

    async def each_last(self, filter_subject: str, *, at_least: int = 0) -> AsyncGenerator[Message]:
        for message in (await self.last_per_subject(filter_subject, at_least=at_least)).messages:
            yield message

    async def info(self) -> LogInfo:
        return await self._ask(self._log.info)

    @asynccontextmanager
    async def follow(
        self, filter_subject: str, *, from_sequence: int, seen: Message | None = None
    ) -> AsyncGenerator[AsyncIterator[Message]]:
        known = await self.info()
        if known.last_sequence < from_sequence - 1:
            raise LogRewound(f"The log ends at {known.last_sequence}, and {from_sequence - 1} was seen.")
        consumers = OrderedConsumers(cast("NatsConnection", self._server.connect(self._link, self._weather)))
        async with consumers.follow(filter_subject, from_sequence, known, seen) as messages:
            yield messages

    def read(self, filter_subject: str, *, from_sequence: int = 1, up_to: int) -> AsyncIterator[Message]:
        return self._log.read(filter_subject, from_sequence=from_sequence, up_to=up_to)

    async def _ask(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self._weather.is_down:
            self._link.fired["the log is down"] += 1
            await asyncio.sleep(0.5)
            raise LogUnavailable("The log's server is down.")
        if self._comes_up(self._weather.unavailable):
            self._link.fired["the log does not answer"] += 1
            await asyncio.sleep(self._random.choice((0.0, 0.1, LOG_TIMEOUT)))
            raise LogUnavailable("The log did not answer.")
        return await self._link.ask(work, LOG_TIMEOUT, lambda: LogUnavailable("The log did not answer in time."))

    def _comes_up(self, share: float) -> bool:
        return share > 0 and self._random.random() < share


# --- Kubernetes ------------------------------------------------------------------------------------------------


class PartKube(KubeBetween):
    """The API server as one part reaches it. `asked` is called with every request, before it is sent."""

    def __init__(self, kube: Kube, link: Link, asked: Callable[[str, str, bytes | None, bool], None] | None) -> None:
        super().__init__(kube)
        self._link, self._asked = link, asked

    async def answer(self, request: Request) -> KubeResponse:
        if self._asked is not None and request.method != "GET":
            self._asked(request.method, request.path, request.body, not request.is_write)
        return await self._link.ask(
            lambda: request.send(self.kube, timeout=600.0),
            request.timeout,
            lambda: ApiUnavailable(f"{request.method} {request.path} was not answered in time. Try again."),
        )

    def watch(
        self, path: str, *, query: Mapping[str, str], silence: float = 70.0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._watch(path, query, silence)

    @asynccontextmanager
    async def _watch(self, path: str, query: Mapping[str, str], silence: float) -> AsyncGenerator[AsyncIterator[bytes]]:
        if self._link.is_cut:
            await asyncio.sleep(LOG_TIMEOUT)
            raise ApiUnavailable(f"The watch of {path} was not answered in time. Try again.")
        async with self.kube.watch(path, query=query, silence=silence) as lines, aclosing(self._lines(lines)) as found:
            yield found

    async def _lines(self, lines: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """The lines as they come; `ApiUnavailable` when the connection is broken, or cut and something is lost."""
        number, reader = self._link.ticket(), asyncio.current_task()
        assert reader is not None
        try:
            while True:
                # As asyncio.timeout does it, without a timer for each line.
                self._link.streams[number] = stream = _Stream(reader)
                cancelled = reader.cancelling()
                try:
                    line = await anext(lines)
                except StopAsyncIteration:
                    return
                except asyncio.CancelledError as err:
                    if stream.is_broken and reader.uncancel() <= cancelled:
                        raise ApiUnavailable("The watch broke. Watch again.") from err
                    raise
                finally:
                    del self._link.streams[number]
                if self._link.is_cut:
                    raise ApiUnavailable("The watch broke. Watch again.")
                yield line
        finally:
            self._link.streams.pop(number, None)


# --- who is there ----------------------------------------------------------------------------------------------


class Members:
    """The members' bucket: names with a time to live."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.changed: dict[int, asyncio.Future[None]] = {}
        self._tickets = 0

    def put(self, name: str) -> None:
        if name not in self.names:
            self.names.add(name)
            self._tell()

    def drop(self, name: str) -> None:
        if name in self.names:
            self.names.discard(name)
            self._tell()

    async def wait(self) -> None:
        self._tickets += 1
        ticket = self._tickets
        self.changed[ticket] = waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        finally:
            self.changed.pop(ticket, None)

    def _tell(self) -> None:
        for waiter in list(self.changed.values()):
            if not waiter.done():
                waiter.set_result(None)


class PartMembership(Membership):
    """The members as one part sees them; while it can't reach the log it sees those that it knew."""

    def __init__(self, members: Members, link: Link, weather: Weather) -> None:
        self._members, self._link, self._weather = members, link, weather

    async def join(self, name: str) -> None:
        if self._link.is_cut or self._weather.is_down:
            await asyncio.sleep(1.0)
            raise LogUnavailable("The members' bucket did not answer.")
        self._members.put(name)

    async def leave(self, name: str) -> None:
        self._members.drop(name)

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[tuple[str, ...]]]:
        return aclosing(self._changes())

    async def _changes(self) -> AsyncGenerator[tuple[str, ...]]:
        known: tuple[str, ...] | None = None
        while True:
            if self._link.is_cut or self._weather.is_down:
                await asyncio.sleep(0.5)
                continue
            members = tuple(sorted(self._members.names))
            if members != known:
                known = members
                yield members
                continue
            await self._members.wait()


class PartClock(Clock):
    """The clock of one part: its time of day may be wrong, and may jump."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.ahead = 0
        """Milliseconds."""

    def now(self) -> int:
        return self._clock.now() + self.ahead

    def monotonic(self) -> float:
        return self._clock.monotonic()
