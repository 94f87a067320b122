"""What waits goes on in time: after a clock was set back, and after a partition was lost for the tenth time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from tapio_reconciler.core.assignment import owners_of
from tapio_reconciler.shell.applying import Applier
from tapio_reconciler.shell.capacity import Capacity
from tapio_reconciler.shell.events import EventWriter
from tapio_reconciler.shell.identity import Identity
from tapio_reconciler.shell.metrics import Metrics
from tapio_reconciler.shell.partition import CHECK_EVERY, Partition
from tapio_reconciler.shell.recording import advance_epoch
from tapio_reconciler.shell.targets import Targets
from tapio_reconciler.shell.timers import Timers
from tapio_reconciler.shell.worker import AFTER_A_LOSS, Worker
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.adapters.memory_membership import MemoryMembership
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.facts import ObjectResult, Timer
from tapio_shared.keys import OrderingKey
from tapio_simulator.cluster import SimulatedCluster
from tests.support.planned_world import World, example
from tests.support.virtual_time import VirtualClock, run_virtually

KEY = OrderingKey("local", "default", "a")
HOUR = 3_600_000


class JumpingClock(VirtualClock):
    """A wall clock that can be set; the monotonic one can't."""

    def __init__(self) -> None:
        self.offset = 0

    def now(self) -> int:
        return super().now() + self.offset


def test_a_timer_is_due_in_time_when_the_clock_is_set_back() -> None:
    async def run() -> float:
        clock, fired = JumpingClock(), asyncio.Event()

        async def due(key: OrderingKey, timer: Timer) -> None:
            assert (key, timer.name) == (KEY, "retry")
            fired.set()

        timers = Timers(clock, due)
        timers.replace(KEY, [Timer(name="retry", due_at=clock.now() + 30_000)])
        task = asyncio.create_task(timers.run())
        await asyncio.sleep(10)
        clock.offset = -HOUR
        await fired.wait()
        task.cancel()
        return clock.monotonic()

    assert 30.0 <= run_virtually(run()) <= 35.0


def test_a_timer_is_due_at_once_when_the_clock_is_set_forward() -> None:
    async def run() -> float:
        clock, fired = JumpingClock(), asyncio.Event()

        async def due(_: OrderingKey, __: Timer) -> None:
            fired.set()

        timers = Timers(clock, due)
        timers.replace(KEY, [Timer(name="retry", due_at=clock.now() + HOUR)])
        task = asyncio.create_task(timers.run())
        await asyncio.sleep(10)
        clock.offset = HOUR
        await fired.wait()
        task.cancel()
        return clock.monotonic()

    assert 10.0 <= run_virtually(run()) <= 15.0


def test_a_failed_write_is_tried_again_when_the_clock_was_set_back() -> None:
    world, name = World.of(example("development")), "Service default/dev-nats"
    digest = world.plan().decision.objects[name]
    refused = ObjectResult(ref=name, action="create", digest=digest, code=403, error_reason="Forbidden", error="no")
    world.step(refuse={name: refused})
    world.step()
    world.step()
    assert not world.plan().has_effects
    world.now -= HOUR
    assert [action.name for action in world.plan().decision.apply] == ["dev-nats"]
    world.step(refuse={name: refused})
    world.step()
    assert not world.plan().has_effects, "a clock that goes on from there makes it wait again"


@dataclass(frozen=True, slots=True)
class Owner:
    """One worker in virtual time, with everything it works on."""

    clock: VirtualClock
    log: MemoryEventLog
    members: MemoryMembership
    worker: Worker
    registry: CollectorRegistry

    @classmethod
    def make(cls) -> Owner:
        clock, registry, members = VirtualClock(), CollectorRegistry(), MemoryMembership()
        log, metrics, capacity = MemoryEventLog(clock, partitions=1), Metrics(registry), Capacity()
        kube = SimulatedCluster(clock, SeededRandom(1)).kube()
        targets = Targets("local", Applier(kube, SeededRandom(1), EventWriter(kube, clock), metrics))
        identity = Identity(worker="w", operator_version="1", partitions=1)

        def make_partition(number: int) -> Partition:
            return Partition(number, log, targets, identity, clock, metrics, capacity)

        return cls(clock, log, members, Worker("w", 1, members, make_partition, metrics), registry)

    async def taken_over(self, times: int) -> None:
        """Wait until the partition was taken over so often."""
        taken = "tapio_reconciler_takeovers_total"
        while self.registry.get_sample_value(taken) != times or not self.worker.is_ready():  # noqa: ASYNC110 - virtual
            await asyncio.sleep(0.05)


def test_a_partition_that_is_lost_often_is_taken_over_as_soon_as_after_the_first_time() -> None:
    async def run() -> list[float]:
        owner = Owner.make()
        task = asyncio.create_task(owner.worker.run())
        waits: list[float] = []
        await owner.taken_over(1)
        for times in range(2, 14):
            before = owner.clock.monotonic()
            await owner.log.rewind((await owner.log.info()).last_sequence - 1)
            await owner.taken_over(times)
            waits.append(owner.clock.monotonic() - before)
        owner.worker.stop()
        await task
        return waits

    assert max(run_virtually(run())) < 1.0


async def _lose(owner: Owner) -> float:
    """Have another worker take the partition over; answers when ours will notice, with its next look."""
    await advance_epoch(owner.log, 0, worker="other", partitions=1, clock=owner.clock)
    return CHECK_EVERY


def test_a_partition_lost_to_another_worker_is_left_to_it_for_two_looks_at_the_members() -> None:
    async def run() -> float:
        owner = Owner.make()
        task = asyncio.create_task(owner.worker.run())
        await owner.taken_over(1)
        noticed = await _lose(owner)
        await owner.taken_over(2)
        owner.worker.stop()
        await task
        return owner.clock.monotonic() - noticed

    assert AFTER_A_LOSS <= run_virtually(run()) < AFTER_A_LOSS + 1.0


def test_a_partition_that_became_another_members_is_not_taken_back() -> None:
    async def run() -> float | None:
        owner = Owner.make()
        task = asyncio.create_task(owner.worker.run())
        await owner.taken_over(1)
        await _lose(owner)
        await asyncio.sleep(CHECK_EVERY + AFTER_A_LOSS / 2)
        other = next(name for name in map(str, range(100)) if owners_of(["w", name], 1)[0] == name)
        await owner.members.join(other)
        await asyncio.sleep(60)
        owner.worker.stop()
        await task
        return owner.registry.get_sample_value("tapio_reconciler_takeovers_total")

    assert run_virtually(run()) == 1.0
