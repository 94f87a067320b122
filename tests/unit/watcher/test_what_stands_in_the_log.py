"""A log that lost its end and has grown again is told from the one that was known, however long it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from tapio_shared.adapters.clock import ManualClock
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.errors import LogRewound
from tapio_shared.facts import ConfigurationObserved
from tapio_shared.keys import ObjectRef, OrderingKey, object_subject
from tapio_shared.ports import NewMessage
from tapio_watcher.encoding import observed_fact
from tapio_watcher.generation import went_backwards
from tapio_watcher.guarding import LogGuard
from tapio_watcher.metrics import Metrics
from tapio_watcher.publishing import FactWriter
from tapio_watcher.shared_facts import SharedFacts
from tapio_watcher.standing import Standing

KEY = OrderingKey("local", "team", "tapio")


def ref(name: str) -> ObjectRef:
    return ObjectRef("", "ConfigMap", "team", name)


def subject(name: str) -> str:
    return object_subject(KEY, ref(name), 4)


@dataclass
class Watching:
    """A watcher's view of a log."""

    log: MemoryEventLog
    writer: FactWriter
    shared: SharedFacts
    guard: LogGuard

    async def tell(self, *names: str) -> None:
        for name in names:
            fact = observed_fact({"name": name}, uid=name, resource_version="1", now=1)
            self.writer.observed(KEY, ref(name), fact)
        await self.writer.flush()

    async def grow(self, to: int) -> None:
        """Somebody else appends until the log ends at `to`."""
        while (await self.log.info()).last_sequence < to:
            await self.log.append(NewMessage("tapio.log.0.local.team.other.decision", b"{}"))


@asynccontextmanager
async def watching(log: MemoryEventLog) -> AsyncGenerator[Watching]:
    clock = ManualClock()
    async with asyncio.TaskGroup() as group:
        writer = FactWriter(log, "local", 4, clock, Metrics(CollectorRegistry()), group)
        shared = SharedFacts(log, "local", 4, clock)
        await writer.hydrate()
        await shared.hydrate()
        yield Watching(
            log, writer, shared, LogGuard(log, await log.info(), writer, shared, clock, Metrics(CollectorRegistry()))
        )


@pytest.fixture
def log() -> MemoryEventLog:
    return MemoryEventLog(ManualClock(), partitions=4)


async def lost(one: Watching) -> str:
    """What the next look finds wrong."""
    with pytest.raises(LogRewound) as error:
        await one.guard.look()
    return str(error.value)


async def test_what_was_appended_is_missed_when_the_log_has_grown_again(log: MemoryEventLog) -> None:
    async with watching(log) as one:
        await one.tell("a", "b")
        await one.guard.look()
        await log.rewind(1)
        await one.grow(5)
        assert await lost(one) == (
            f"The stream has lost its end and has grown again: what stood at 2, of {subject('b')}, is not there any "
            "more; everything is observed again."
        )
        assert went_backwards(one.guard.remembered, await log.info()) == one.guard.remembered.lost


async def test_a_loss_between_two_appends_is_found(log: MemoryEventLog) -> None:
    async with watching(log) as one:
        await one.tell("a")
        await one.guard.look()
        await one.tell("b")
        await log.rewind(1)
        await one.grow(4)
        await one.tell("c")
        assert "what stood at 2" in await lost(one)


async def test_what_was_read_is_missed_too(log: MemoryEventLog) -> None:
    async with watching(log) as one:
        await one.tell("a", "b")
    async with watching(log) as one:
        await log.rewind(1)
        await one.grow(5)
        assert "what stood at 2" in await lost(one)


async def test_another_message_of_the_same_subject_in_its_place_is_another(log: MemoryEventLog) -> None:
    async with watching(log) as one:
        await one.tell("a", "b")
        await log.rewind(1)
        await log.append(NewMessage(subject("b"), b"{}"))
        assert "what stood at 2" in await lost(one)


async def test_a_fact_that_concerns_everybody_is_missed(log: MemoryEventLog) -> None:
    async with watching(log) as one:
        await one.shared.publish("config", ConfigurationObserved(configuration={}, observed_at=1))
        await log.rewind(3)
        await one.grow(9)
        assert "what stood at 4, of tapio.log.3._shared.local.config" in await lost(one)


async def test_a_conflict_with_something_older_is_a_loss(log: MemoryEventLog) -> None:
    """What replaces the lost fact must not hide that others were lost with it."""
    guards: list[LogGuard] = []
    with pytest.RaisesGroup(pytest.RaisesExc(LogRewound, match="what stood at 2")):
        async with watching(log) as one:
            guards.append(one.guard)
            await one.tell("a", "b")
            await log.rewind(1)
            await one.grow(4)
            one.writer.observed(KEY, ref("b"), observed_fact({}, uid="b", resource_version="2", now=2))
            await asyncio.sleep(60)
    assert "what stood at 2" in guards[0].remembered.lost


async def test_a_conflict_of_a_fact_that_concerns_everybody_is_a_loss(log: MemoryEventLog) -> None:
    async with watching(log) as one:
        await one.shared.publish("config", ConfigurationObserved(configuration={}, observed_at=1))
        await log.rewind(2)
        await one.grow(9)
        with pytest.raises(LogRewound, match="what stood at 3"):
            await one.shared.publish("config", ConfigurationObserved(configuration={"a": 1}, observed_at=1))
        assert "what stood at 3" in one.guard.remembered.lost


async def test_what_others_have_replaced_and_what_has_aged_out_is_no_loss() -> None:
    log = MemoryEventLog(ManualClock(), partitions=4, max_bytes=3_000)
    standing = Standing()
    for name in ("a", "b"):
        appended = await log.append(NewMessage(subject(name), b"1"))
        standing.believe(subject(name), appended.sequence, b"1")
    await log.append(NewMessage(subject("b"), b"2"))
    await standing.look(log)
    for _ in range(4):
        await log.append(NewMessage("tapio.cursor.test.filling", b"x" * 1_000))
    assert (await log.info()).first_sequence > 3
    await standing.look(log)
    assert await standing.last(log, subject("a"), 1) is None
    assert standing.lost == ""


async def test_only_the_newest_is_looked_for_again(log: MemoryEventLog) -> None:
    looked: list[str] = []
    async with watching(log) as one:
        await one.tell("a", "b", "c")
        log.fault = lambda operation, what: looked.append(what) if operation == "last_per_subject" else None
        await one.guard.look()
        await one.guard.look()
        assert looked == [subject("a"), subject("c")]
