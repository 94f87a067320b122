"""What a worker loses, it gives up without keeping anything else waiting; and it ends when it is asked to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from tapio_reconciler.core.assignment import partitions_of
from tapio_reconciler.shell.applying import Applier
from tapio_reconciler.shell.capacity import Capacity
from tapio_reconciler.shell.events import EventWriter
from tapio_reconciler.shell.identity import Identity
from tapio_reconciler.shell.metrics import Metrics
from tapio_reconciler.shell.partition import CHECK_EVERY, Partition
from tapio_reconciler.shell.recording import advance_epoch
from tapio_reconciler.shell.targets import Targets
from tapio_reconciler.shell.worker import DRAIN_WITHIN, Worker
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.adapters.memory_membership import MemoryMembership
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.codec import decode_record, encode
from tapio_shared.errors import LogRewound, LogUnavailable
from tapio_shared.facts import EpochAdvanced, ObjectGone
from tapio_shared.keys import ObjectRef, OrderingKey, epoch_subject, key_prefix, object_subject, partition_of
from tapio_shared.ports import Message, NewMessage, View
from tapio_simulator.cluster import SimulatedCluster
from tests.support.virtual_time import VirtualClock, run_virtually

PARTITIONS = 8


def key_in(partition: int) -> OrderingKey:
    """A key of `partition`."""
    keys = (OrderingKey("local", "default", f"c{number}") for number in range(1_000))
    return next(key for key in keys if partition_of(key, PARTITIONS) == partition)


def fact(key: OrderingKey) -> NewMessage:
    gone = ObjectGone(uid="u", resource_version="1", gone_at=1)
    subject = object_subject(key, ObjectRef("", "ConfigMap", "default", "one"), PARTITIONS)
    return NewMessage(subject=subject, data=encode(gone))


class Log(MemoryEventLog):
    """A log that answers nobody who asks for one of the keys `held`, and that takes `closing` seconds to let go of."""

    def __init__(self) -> None:
        super().__init__(VirtualClock(), partitions=PARTITIONS)
        self.held = dict[OrderingKey, asyncio.Event]()
        self.closing = 0.0
        self.breaks_after: Message | None = None

    async def last_per_subject(self, *filters: str, at_least: int = 0) -> View:
        for key, may_go_on in self.held.items():
            if filters == (f"{key_prefix(key, PARTITIONS)}.>",):
                await may_go_on.wait()
        return await super().last_per_subject(*filters, at_least=at_least)

    @asynccontextmanager
    async def follow(
        self, filter_subject: str, *, from_sequence: int, seen: Message | None = None
    ) -> AsyncGenerator[AsyncIterator[Message]]:
        async with super().follow(filter_subject, from_sequence=from_sequence, seen=seen) as messages:
            try:
                yield messages
            finally:
                if self.closing:
                    await asyncio.sleep(self.closing)

    async def _follow(self, filter_subject: str, from_sequence: int, created: str) -> AsyncGenerator[Message]:
        if self.breaks_after is not None:
            yield self.breaks_after
            raise LogRewound("The log went backwards. Begin from nothing.")
        async for message in super()._follow(filter_subject, from_sequence, created):
            yield message

    async def owner(self, partition: int) -> str:
        """Who took the partition over last."""
        last = await self.last(epoch_subject(partition))
        record = None if last is None else decode_record(last.data)
        return record.worker if isinstance(record, EpochAdvanced) else ""


class _Counted(Partition):
    """A partition, and how many of its number are owned at once."""

    running, most = Counter[int](), Counter[int]()

    async def run(self) -> None:
        self.running[self._number] += 1
        self.most[self._number] = max(self.most[self._number], self.running[self._number])
        try:
            await super().run()
        finally:
            self.running[self._number] -= 1


@dataclass(slots=True)
class Hands:
    """One worker, its log and its fellows."""

    log: Log = field(default_factory=Log)
    clock: VirtualClock = field(default_factory=VirtualClock)
    members: MemoryMembership = field(default_factory=MemoryMembership)
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry()))
    capacity: Capacity = field(default_factory=Capacity)

    def partition(self, number: int) -> Partition:
        kube = SimulatedCluster(self.clock, SeededRandom(1)).kube()
        targets = Targets("local", Applier(kube, SeededRandom(1), EventWriter(kube, self.clock), self.metrics))
        identity = Identity(worker="w", operator_version="1", partitions=PARTITIONS)
        return _Counted(number, self.log, targets, identity, self.clock, self.metrics, self.capacity)

    def worker(self) -> Worker:
        return Worker("w", PARTITIONS, self.members, self.partition, self.metrics)


def _shares() -> tuple[set[int], set[int]]:
    """What `w` loses and what it gains when `x` gives way to `y`, of which one joins before the other leaves."""
    before, between, after = (partitions_of("w", ["w", *others], PARTITIONS) for others in ("x", "xy", "y"))
    return set(before - after - between), set(after - before - between)


def test_what_is_gained_does_not_wait_for_what_is_lost() -> None:
    async def run() -> None:
        hands = Hands()
        lost, gained = _shares()
        assert lost
        assert gained
        stuck = key_in(min(lost))
        await hands.members.join("x")
        worker = hands.worker()
        task = asyncio.create_task(worker.run())
        await asyncio.sleep(1)
        hands.log.held[stuck] = asyncio.Event()
        await hands.log.append(fact(stuck))
        await asyncio.sleep(1)
        await hands.members.join("y")
        await hands.members.leave("x")
        await asyncio.sleep(1)
        assert [await hands.log.owner(number) for number in sorted(gained)] == ["w"] * len(gained)
        assert min(lost) in worker.owned, "what is under way there has its time"
        assert worker.is_ready()
        await asyncio.sleep(DRAIN_WITHIN)
        assert set(worker.owned) == partitions_of("w", ["w", "y"], PARTITIONS)
        worker.stop()
        await task

    run_virtually(run())


def test_what_is_assigned_again_while_it_is_handed_over_is_not_owned_twice() -> None:
    async def run() -> None:
        hands = Hands()
        _Counted.most.clear()
        number = min(partitions_of("w", ["w"], PARTITIONS) - partitions_of("w", ["w", "x"], PARTITIONS))
        stuck = key_in(number)
        worker = hands.worker()
        task = asyncio.create_task(worker.run())
        await asyncio.sleep(1)
        hands.log.held[stuck] = asyncio.Event()
        await hands.log.append(fact(stuck))
        await asyncio.sleep(1)
        await hands.members.join("x")
        await asyncio.sleep(1)
        await hands.members.leave("x")
        await asyncio.sleep(1)
        assert not worker.is_ready()
        hands.log.held.pop(stuck).set()
        await asyncio.sleep(1)
        assert worker.is_ready()
        assert worker.owned == list(range(PARTITIONS))
        assert _Counted.most == Counter(range(PARTITIONS))
        await hands.log.append(fact(key_in(number)))
        worker.stop()
        await task
        assert worker.owned == []

    run_virtually(run())


def test_a_hand_over_waits_for_no_key_that_has_not_begun() -> None:
    """Another partition's key has the only slot, and does not come to an end."""

    async def run() -> float:
        hands = Hands()
        hands.capacity.keys_of("local").resize(1)
        for number in (0, 1):
            await hands.log.append(fact(key_in(number)))
        hands.log.held[key_in(0)] = asyncio.Event()
        tasks: list[asyncio.Task[None]] = []
        partitions = [hands.partition(number) for number in (0, 1)]
        for partition in partitions:
            tasks.append(asyncio.create_task(partition.run()))
            await asyncio.sleep(1)
        before, began = await hands.log.last(epoch_subject(1)), hands.clock.monotonic()
        async with asyncio.timeout(DRAIN_WITHIN):
            await partitions[1].drain()
        assert before != await hands.log.last(epoch_subject(1)), "the next owner is told of what is idle"
        took = hands.clock.monotonic() - began
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return took

    assert run_virtually(run()) == 0.0


@pytest.mark.timeout(10)
def test_a_hand_over_waits_for_no_key_whose_partition_ended_before_it_could_begin() -> None:
    """It was told of in the very moment in which the log was found to be another one."""

    async def run() -> None:
        hands = Hands()
        message = fact(key_in(0))
        hands.log.breaks_after = Message(message.subject, 100, message.data)
        partition = hands.partition(0)
        with pytest.raises(ExceptionGroup):
            await partition.run()
        await partition.drain()

    run_virtually(run())


def test_a_worker_ends_though_it_was_told_to_while_a_partition_was_ending_by_itself() -> None:
    async def run() -> None:
        hands = Hands()
        hands.log.closing = 2.0
        task = asyncio.create_task(hands.worker().run())
        await asyncio.sleep(1)
        await advance_epoch(hands.log, 0, worker="x", partitions=PARTITIONS, clock=hands.clock)
        await asyncio.sleep(CHECK_EVERY)
        task.cancel()
        await asyncio.wait([task], timeout=60)
        assert task.cancelled(), "it owns the partition again, and nobody tells it to end any more"

    run_virtually(run())


class _NoMembers(MemoryMembership):
    """The bucket of members is not there."""

    async def join(self, name: str) -> None:
        raise LogUnavailable(f"{name} can't be announced.")


def test_a_worker_ends_while_it_waits_for_the_streams() -> None:
    async def run() -> float:
        hands = Hands(members=_NoMembers())
        worker = hands.worker()
        task = asyncio.create_task(worker.run())
        await asyncio.sleep(60)
        began = hands.clock.monotonic()
        worker.stop()
        await asyncio.wait([task], timeout=60)
        assert task.done()
        await task
        return hands.clock.monotonic() - began

    assert run_virtually(run()) == 0.0
