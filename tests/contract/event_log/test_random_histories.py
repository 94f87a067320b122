"""One stateful suite: any sequence of operations gets the same answers from memory and from a real server.

The rules step both logs alike and compare everything a caller can see: sequences, duplicates, the kind of each error,
views, infos. Random histories find what a list of examples does not; a failure prints the shortest one.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.errors import RevisionConflict, TapioError
from tapio_shared.ports import EventLog, NewMessage
from tests.support.nats_servers import PARTITIONS, Nats, one_server

T = TypeVar("T")
SUBJECTS = ["tapio.log.1.a", "tapio.log.1.b", "tapio.log.2.a.b", "tapio.epoch.1"]
FILTERS = ["tapio.log.1.>", "tapio.log.*.a", "tapio.log.>", "tapio.epoch.1", "tapio.log.3.>"]
MAX_BYTES = 2_000
"""So small that histories lose their beginning."""

subjects = st.sampled_from(SUBJECTS)
sequences = st.one_of(st.none(), st.integers(0, 8), st.just(-1))
"""An expectation: none, an absolute one (mostly wrong), or -1 for the one that holds."""
messages = st.builds(
    NewMessage,
    subject=subjects,
    data=st.binary(max_size=120),
    headers=st.sampled_from([{}, {"traceparent": "00-aa"}]),
    expected_last=sequences,
    expected_subject=st.one_of(st.none(), subjects),
    message_id=st.one_of(st.none(), st.sampled_from(["one", "two", "three"])),
)


class Server:
    """A real server on an event loop of its own, since hypothesis steps its machines without one."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._directory = tempfile.TemporaryDirectory()
        self.nats: Nats
        self.connection: NatsConnection

    def __enter__(self) -> Server:
        async def start() -> None:
            self.nats = await self._stack.enter_async_context(one_server(Path(self._directory.name)))
            self.connection = await self.nats.connect()
            self._stack.push_async_callback(self.connection.close)

        self.run(start())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._stack.aclose())
        self._runner.close()
        self._directory.cleanup()

    def run(self, work: Coroutine[object, object, T]) -> T:
        return self._runner.run(work)


async def answer(work: Awaitable[object]) -> object:
    """What a caller sees: a value, or which error, with the numbers that it carries."""
    try:
        return await work
    except RevisionConflict as err:
        return (type(err).__name__, err.subject, err.expected, err.actual)
    except TapioError as err:
        return type(err).__name__


class Histories(RuleBasedStateMachine):
    """Steps a log in memory and one on a server alike."""

    server: Server

    @initialize()
    def begin(self) -> None:
        self.memory = MemoryEventLog(SystemClock(), partitions=PARTITIONS, max_bytes=MAX_BYTES)
        self.real = NatsEventLog(self.server.connection)
        self.appended = 0
        self.server.run(self.server.nats.provision_anew(self.server.connection, max_bytes=MAX_BYTES))

    def both(self, work: Callable[[EventLog], Awaitable[object]]) -> object:
        """The answer of both logs, which must be equal."""

        async def run() -> tuple[object, object]:
            return await answer(work(self.memory)), await answer(work(self.real))

        in_memory, on_server = self.server.run(run())
        assert in_memory == on_server
        return in_memory

    def holding(self, message: NewMessage) -> NewMessage:
        """`message` with an expectation of -1 replaced by the one that holds."""
        if message.expected_last != -1:
            return message

        async def last() -> int:
            found = await self.memory.last(message.expected_subject or message.subject)
            return 0 if found is None else found.sequence

        return NewMessage(
            message.subject,
            message.data,
            message.headers,
            self.server.run(last()),
            message.expected_subject,
            message.message_id,
        )

    @rule(message=messages)
    def append(self, message: NewMessage) -> None:
        ready = self.holding(message)
        self.both(lambda log: log.append(ready))

    @rule(batch=st.lists(messages, max_size=5))
    def append_batch(self, batch: list[NewMessage]) -> None:
        ready = [self.holding(message) for message in batch]
        self.both(lambda log: log.append_batch(ready))

    @rule(subject=subjects)
    def last(self, subject: str) -> None:
        async def last(log: EventLog) -> object:
            found = await log.last(subject)
            return None if found is None else (found.sequence, found.data, dict(found.headers))

        self.both(last)

    @rule(filters=st.lists(st.sampled_from(FILTERS), min_size=1, max_size=3))
    def last_per_subject(self, filters: list[str]) -> None:
        async def view(log: EventLog) -> object:
            found = await log.last_per_subject(*filters)
            return [(one.subject, one.sequence, one.data, dict(one.headers)) for one in found.messages], found.revision

        self.both(view)

    @rule(filter_subject=st.sampled_from(FILTERS), back=st.integers(-2, 6))
    def follow(self, filter_subject: str, back: int) -> None:
        """Follow from `back` messages before the end; what comes up to a marker is what both deliver."""

        async def follow(log: EventLog) -> object:
            start = max((await log.info()).last_sequence - back, 0)
            seen: list[tuple[str, int, bytes]] = []
            async with asyncio.timeout(10), log.follow(filter_subject, from_sequence=start) as following:
                if filter_subject == "tapio.log.3.>":
                    return seen
                marker = filter_subject.replace("*", "1").replace(">", "marker")
                end = (await log.append(NewMessage(marker, b""))).sequence
                async for message in following:
                    seen.append((message.subject, message.sequence, message.data))
                    if message.sequence == end:
                        return seen
            return seen

        self.both(follow)

    @invariant()
    def the_same_info(self) -> None:
        async def info(log: EventLog) -> object:
            found = await log.info()
            return (found.last_sequence, found.max_bytes, found.partitions)

        if hasattr(self, "memory"):
            self.both(info)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def test_memory_answers_as_a_server_does(server: Server) -> None:
    class Machine(Histories):
        pass

    Machine.server = server
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
