"""Two versions of the operator side by side: the older one owns nothing that it would misread, and says why."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from tapio_reconciler.core.state import Entry
from tapio_reconciler.shell.applying import Applier
from tapio_reconciler.shell.capacity import Capacity
from tapio_reconciler.shell.events import EventWriter
from tapio_reconciler.shell.identity import Identity
from tapio_reconciler.shell.metrics import Metrics
from tapio_reconciler.shell.partition import Partition
from tapio_reconciler.shell.recording import newer_epoch
from tapio_reconciler.shell.states import States
from tapio_reconciler.shell.targets import Targets
from tapio_reconciler.shell.worker import LOOK_AGAIN_EVERY, Worker
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.adapters.memory_membership import MemoryMembership
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.codec import encode
from tapio_shared.facts import FORMAT, ConfigurationObserved, EpochAdvanced, MessageParked, OutcomeRecorded
from tapio_shared.json import objects_at, str_at
from tapio_shared.keys import OrderingKey, epoch_subject, outcome_subject, shared_subject
from tapio_shared.ports import Message, NewMessage
from tapio_simulator.cluster import SimulatedCluster
from tests.support.planned_world import World, example
from tests.support.virtual_time import VirtualClock, run_virtually

NEXT = FORMAT + 1
NEWER_EPOCH = NewMessage(
    epoch_subject(0), encode(EpochAdvanced(format=NEXT, worker="newer", partitions=1, advanced_at=1))
)
KEY = OrderingKey("local", "default", "a")


@dataclass(frozen=True, slots=True)
class Older:
    """One worker of this version in virtual time."""

    clock: VirtualClock
    log: MemoryEventLog
    members: MemoryMembership
    worker: Worker
    registry: CollectorRegistry

    @classmethod
    def make(cls) -> Older:
        clock, registry, members = VirtualClock(), CollectorRegistry(), MemoryMembership()
        log, metrics, capacity = MemoryEventLog(clock, partitions=1), Metrics(registry), Capacity()
        kube = SimulatedCluster(clock, SeededRandom(1)).kube()
        targets = Targets("local", Applier(kube, SeededRandom(1), EventWriter(kube, clock), metrics))
        identity = Identity(worker="older", operator_version="1", partitions=1)

        def make_partition(number: int) -> Partition:
            return Partition(number, log, targets, identity, clock, metrics, capacity)

        async def newer() -> str:
            return await newer_epoch(log)

        return cls(clock, log, members, Worker("older", 1, members, make_partition, metrics, newer), registry)

    @property
    def is_outdated(self) -> bool:
        return self.registry.get_sample_value("tapio_reconciler_outdated") == 1

    async def owner(self) -> Message | None:
        return await self.log.last(epoch_subject(0))

    async def names(self) -> tuple[str, ...]:
        async with self.members.changes() as changes:
            async for members in changes:
                return members
        raise AssertionError


def test_a_worker_leaves_a_partition_to_the_newer_version_that_owned_it_last() -> None:
    async def run() -> None:
        older = Older.make()
        await older.log.append(NEWER_EPOCH)
        working = asyncio.create_task(older.worker.run())
        await asyncio.sleep(1)
        assert older.is_outdated
        assert older.worker.is_outdated()
        assert not older.worker.is_ready()
        assert await older.names() == ()
        last = await older.owner()
        assert last is not None
        assert last.data == NEWER_EPOCH.data

        await older.log.remove()
        await older.log.make()  # What a newer version recorded is gone: docs/upgrades.md, "Going back".
        await asyncio.sleep(LOOK_AGAIN_EVERY + 5)
        assert not older.is_outdated
        assert older.worker.is_ready()
        older.worker.stop()
        await working

    run_virtually(run())


def test_a_worker_that_owns_partitions_gives_them_all_up_when_one_comes_to_it_from_a_newer_version() -> None:
    async def run() -> None:
        older = Older.make()
        working = asyncio.create_task(older.worker.run())
        while not older.worker.is_ready():  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.1)
        await older.log.append(NEWER_EPOCH)  # The newer worker takes it, and dies.
        await asyncio.sleep(700)  # Until this one re-asserts its epoch, is fenced and would take the partition back.
        assert older.is_outdated
        assert older.worker.owned == []
        assert await older.names() == ()
        last = await older.owner()
        assert last is not None
        assert last.data == NEWER_EPOCH.data
        older.worker.stop()
        await working

    run_virtually(run())


def test_a_worker_gives_up_where_an_outcome_is_of_a_newer_version() -> None:
    async def run() -> None:
        older = Older.make()
        outcome = encode(OutcomeRecorded(format=NEXT, decision=1, ended_at=1))
        await older.log.append(NewMessage(outcome_subject(KEY, 1), outcome))
        working = asyncio.create_task(older.worker.run())
        await asyncio.sleep(5)
        assert older.is_outdated
        assert older.worker.owned == []
        older.worker.stop()
        await working

    run_virtually(run())


def test_the_reason_names_partition_and_formats() -> None:
    async def run() -> str:
        log = MemoryEventLog(VirtualClock(), partitions=1)
        await log.append(NEWER_EPOCH)
        return await newer_epoch(log)

    assert run_virtually(run()) == (
        f"Partition 0 was last owned by a newer version of the operator. It is EpochAdvanced of format {NEXT}, and "
        f"this version reads formats up to {FORMAT}. Run the version that wrote it, or a newer one; docs/upgrades.md "
        "says how to go back."
    )


def test_a_shared_fact_of_a_newer_version_takes_the_place_of_the_one_before() -> None:
    owner = States(MemoryEventLog(VirtualClock(), partitions=1), 1, 0)
    subject = shared_subject(0, "local", "config")
    known = ConfigurationObserved(configuration={}, observed_at=1)
    owner.fold(Message(subject, 1, encode(known)))
    assert owner.fold(Message(subject, 2, b"garbage"))[1] is False
    assert owner.shared["local"]["config"].record == known
    newer = ConfigurationObserved(format=NEXT, configuration={"reversed": True}, observed_at=2)
    assert owner.fold(Message(subject, 3, encode(newer)))[1] is True
    record = owner.shared["local"]["config"].record
    assert isinstance(record, MessageParked)
    assert record.newer
    assert owner.fold(Message(subject, 4, encode(known)))[1] is True
    assert owner.shared["local"]["config"].record == known


@pytest.mark.parametrize("what", ["config", "synced", "discovery", "fleet"])
def test_nothing_is_planned_by_a_shared_fact_that_only_a_newer_version_reads(what: str) -> None:
    world = World.of(example("development"))
    world.settle()
    _put_newer(world, what)
    planned = world.plan()
    assert (planned.decision.apply, planned.decision.delete, planned.decision.finalizer) == ([], [], "")
    conditions = objects_at(planned.decision.status, "conditions")
    stalled = next(one for one in conditions if str_at(one, "type") == "Stalled")
    assert (str_at(stalled, "status"), str_at(stalled, "reason")) == ("True", "MessageParked")
    assert str_at(stalled, "message") == (
        f"Message {world.sequence} of the event log, on subject s, was written by a newer version of the operator. "
        f"Because. What it says of {what} of this Kubernetes cluster is unknown, so nothing is planned for it."
    )


def test_nothing_at_all_is_said_where_it_is_unknown_whether_the_target_is_ours_to_write_to() -> None:
    world = World.of(example("development"))
    world.settle()
    _put_newer(world, "target")
    planned = world.plan()
    assert not planned.has_effects
    assert planned.decision.status is None


def _put_newer(world: World, what: str) -> None:
    world.sequence += 1
    record = MessageParked(subject="s", sequence=world.sequence, reason="Because.", parked_at=world.now, newer=True)
    world.state.shared[what] = Entry(world.sequence, record)
