"""One key's trouble stays its own: timers, cold states and errors of our own making."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from tapio_reconciler.core.planning import plan
from tapio_reconciler.core.plans import Plan
from tapio_reconciler.core.state import State
from tapio_reconciler.shell import rounds as rounds_module
from tapio_reconciler.shell.applying import Applier
from tapio_reconciler.shell.capacity import Capacity
from tapio_reconciler.shell.events import EventWriter
from tapio_reconciler.shell.identity import Identity
from tapio_reconciler.shell.metrics import Metrics
from tapio_reconciler.shell.partition import Partition
from tapio_reconciler.shell.states import PARKED_KEPT, States
from tapio_reconciler.shell.targets import Targets
from tapio_reconciler.shell.timers import Timers
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.codec import encode
from tapio_shared.errors import MessageTooLarge, TapioError
from tapio_shared.facts import DecisionRecorded, Inputs, ObjectGone, SweepMarked, Timer
from tapio_shared.keys import (
    ObjectRef,
    OrderingKey,
    decision_subject,
    object_subject,
    partition_of,
    shared_subject,
)
from tapio_shared.ports import Message, NewMessage, View
from tapio_simulator.cluster import SimulatedCluster
from tests.support.virtual_time import VirtualClock, run_virtually

PARTITIONS = 1
A, B = OrderingKey("local", "default", "a"), OrderingKey("local", "default", "b")


def _fact(key: OrderingKey, name: str) -> NewMessage:
    gone = ObjectGone(uid="u", resource_version="1", gone_at=1)
    return NewMessage(subject=object_subject(key, ObjectRef("", "ConfigMap", "default", name), 1), data=encode(gone))


def test_a_timer_forgotten_while_another_fires_breaks_nothing() -> None:
    async def run() -> list[OrderingKey]:
        fired: list[OrderingKey] = []

        async def due(key: OrderingKey, _: Timer) -> None:
            fired.append(key)
            timers.replace(B, [])
            await asyncio.sleep(0)

        clock = VirtualClock()
        timers = Timers(clock, due)
        for key in (A, B):
            timers.replace(key, [Timer(name="retry", due_at=clock.now())])
        task = asyncio.create_task(timers.run())
        await asyncio.wait([task], timeout=1.0)
        assert not task.done()
        task.cancel()
        return fired

    assert run_virtually(run()) == [A]


class _FactsMeanwhile(MemoryEventLog):
    """A log in which `after` is stored, and followed by `states`, before the first read is answered."""

    states: States
    after: NewMessage | None = None

    async def last_per_subject(self, *filters: str, at_least: int = 0) -> View:
        view = await super().last_per_subject(*filters, at_least=at_least)
        if self.after is not None:
            message, self.after = self.after, None
            sequence = (await self.append(message)).sequence
            self.states.fold(Message(message.subject, sequence, message.data))
        return view


def test_a_cold_key_misses_no_fact_that_arrives_while_it_is_read() -> None:
    async def run() -> Sequence[str]:
        log = _FactsMeanwhile(VirtualClock(), partitions=PARTITIONS)
        log.states = States(log, PARTITIONS)
        first, log.after = _fact(A, "first"), _fact(A, "meanwhile")
        sequence = (await log.append(first)).sequence
        log.states.fold(Message(first.subject, sequence, first.data))
        state = await log.states.state(A)
        return [ref.name for ref, _ in state.objects()]

    assert run_virtually(run()) == ["first", "meanwhile"]


def test_unreadable_messages_are_all_counted_and_few_are_kept() -> None:
    async def run() -> States:
        states = States(MemoryEventLog(VirtualClock(), partitions=PARTITIONS), PARTITIONS)
        for sequence in range(1, 2 * PARKED_KEPT + 1):
            states.fold(Message(_fact(A, "x").subject, sequence, b"no record"))
        return states

    states = run_virtually(run())
    assert (states.parked_total, len(states.parked)) == (2 * PARKED_KEPT, PARKED_KEPT)
    assert next(iter(states.parked)) == PARKED_KEPT + 1


def test_a_planner_that_breaks_on_one_key_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[tuple[str, float]] = []

    def breaking(state: State, inputs: Inputs) -> Plan:
        tries.append((state.key.name, inputs.now))
        if state.key == A:
            raise KeyError("a fault of the planner's own")
        return plan(state, inputs)

    async def run() -> None:
        clock, registry = VirtualClock(), CollectorRegistry()
        log, metrics = MemoryEventLog(clock, partitions=PARTITIONS), Metrics(registry)
        assert partition_of(A, PARTITIONS) == 0
        for key in (A, B):
            await log.append(_fact(key, "one"))
        kube = SimulatedCluster(clock, SeededRandom(1)).kube()
        targets = Targets("local", Applier(kube, SeededRandom(1), EventWriter(kube, clock), metrics))
        identity = Identity(worker="w", operator_version="1", partitions=PARTITIONS)
        owner = Partition(0, log, targets, identity, clock, metrics, Capacity())
        task = asyncio.create_task(owner.run())
        await owner.ready.wait()
        await asyncio.wait([task], timeout=10.0)
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
        assert registry.get_sample_value("tapio_reconciler_plans_total", {"result": "failed"}) == 4.0

    monkeypatch.setattr(rounds_module, "plan", breaking)
    run_virtually(run())
    assert [name for name, _ in tries].count("b") == 1
    assert [name for name, _ in tries].count("a") == 4


def test_a_record_that_the_server_takes_no_more_is_not_swept_and_ends_nothing() -> None:
    """It was written when the server took larger messages."""
    subject = decision_subject(A, PARTITIONS)

    def smaller(operation: str, appended: str) -> TapioError | None:
        return MessageTooLarge(subject, 2, 1) if (operation, appended) == ("append", subject) else None

    async def run() -> None:
        clock, metrics = VirtualClock(), Metrics(CollectorRegistry())
        log = MemoryEventLog(clock, partitions=PARTITIONS)
        inputs = Inputs(now=1, operator_version="1")
        decision = DecisionRecorded(revision=1, inputs=inputs, digest="", desired_digest="")
        await log.append(NewMessage(subject, encode(decision)))
        for key in (A, B):
            await log.append(_fact(key, "one"))
        log.fault = smaller
        kube = SimulatedCluster(clock, SeededRandom(1)).kube()
        targets = Targets("local", Applier(kube, SeededRandom(1), EventWriter(kube, clock), metrics))
        identity = Identity(worker="w", operator_version="1", partitions=PARTITIONS)
        task = asyncio.create_task(Partition(0, log, targets, identity, clock, metrics, Capacity()).run())
        await asyncio.sleep(5)
        mark = SweepMarked(phase="started", below=2, marked_at=1)
        await log.append(NewMessage(shared_subject(0, "local", "sweep"), encode(mark)))
        await asyncio.wait([task], timeout=10)
        if task.done():
            task.result()
        task.cancel()
        await asyncio.wait([task])

    run_virtually(run())
