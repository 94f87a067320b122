"""Which states a worker keeps at hand: those at work before all others, and nobody keeps others from their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

import pytest
from msgspec import structs
from prometheus_client import CollectorRegistry

from tapio_reconciler.core.planning import plan
from tapio_reconciler.core.plans import Plan
from tapio_reconciler.core.state import State
from tapio_reconciler.shell import rounds as rounds_module
from tapio_reconciler.shell.applying import Applier
from tapio_reconciler.shell.capacity import Capacity, HotStates
from tapio_reconciler.shell.events import EventWriter
from tapio_reconciler.shell.identity import Identity
from tapio_reconciler.shell.metrics import Metrics
from tapio_reconciler.shell.partition import ROUNDS, Partition
from tapio_reconciler.shell.targets import Targets
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.codec import encode
from tapio_shared.facts import Inputs, ObjectGone, OutcomeRecorded, SweepMarked
from tapio_shared.keys import ObjectRef, OrderingKey, key_prefix, object_subject, outcome_subject, shared_subject
from tapio_shared.ports import NewMessage, View
from tapio_simulator.cluster import SimulatedCluster
from tests.support.virtual_time import VirtualClock, run_virtually

A, B, C = (OrderingKey("local", "default", name) for name in "abc")


@pytest.mark.parametrize(
    ("at_work", "left"),
    [
        pytest.param([], [B, C], id="the one that was not used for longest goes"),
        pytest.param([A], [A, C], id="but not while it is at work"),
        pytest.param([A, B, C], [B, C], id="unless all are: there are never more than the limit"),
    ],
)
def test_which_state_goes(at_work: Sequence[OrderingKey], left: Sequence[OrderingKey]) -> None:
    states = HotStates(limit=2)
    owner = states.owner()
    with ExitStack() as working:
        for key in at_work:
            working.enter_context(states.at_work(owner, key))
        for key in (A, B, C):
            states.keep(owner, key, State(key))
        assert [key for key in (A, B, C) if states.get(owner, key) is not None] == left


def test_what_was_at_work_may_go_afterwards() -> None:
    states = HotStates(limit=1)
    owner = states.owner()
    with states.at_work(owner, A):
        states.keep(owner, A, State(A))
    states.keep(owner, B, State(B))
    assert states.get(owner, A) is None


def test_a_key_of_which_there_is_always_news_leaves_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    news: list[Callable[[], None]] = []

    def restless(state: State, inputs: Inputs) -> Plan:
        turns.append(state.key.name)
        planned = plan(state, inputs)
        if state.key == A:
            news[0]()  # and told while this round is recorded, which it is for being another than the last
        return replace(planned, decision=structs.replace(planned.decision, desired_digest=str(len(turns))))

    async def run() -> None:
        clock, metrics, capacity = VirtualClock(), Metrics(CollectorRegistry()), Capacity()
        log = MemoryEventLog(clock, partitions=1)
        for key in (A, B):
            await log.append(_gone(key, 0))
        kube = SimulatedCluster(clock, SeededRandom(1)).kube()
        targets = Targets("local", Applier(kube, SeededRandom(1), EventWriter(kube, clock), metrics))
        capacity.keys_of("local").resize(1)
        owner = Partition(0, log, targets, Identity("w", "1", 1), clock, metrics, capacity)
        news.append(lambda: telling.append(asyncio.create_task(log.append(_gone(A, len(turns))))))
        telling: list[asyncio.Task[object]] = []
        task = asyncio.create_task(owner.run())
        await asyncio.wait([task], timeout=2.0)
        task.cancel()
        await asyncio.wait([task])

    monkeypatch.setattr(rounds_module, "plan", restless)
    run_virtually(run())
    assert turns.index("b") == ROUNDS
    assert len(turns) > 2 * ROUNDS


class _Read(MemoryEventLog):
    """A log that notes which keys are read of it."""

    def __init__(self) -> None:
        super().__init__(VirtualClock(), partitions=1)
        self.reads: list[str] = []

    async def last_per_subject(self, *filters: str, at_least: int = 0) -> View:
        self.reads += [key.name for key in (A, B) if filters == (f"{key_prefix(key, 1)}.>",)]
        return await super().last_per_subject(*filters, at_least=at_least)


def test_what_needs_nothing_when_it_is_taken_over_is_read_again_when_there_is_news() -> None:
    async def live(log: MemoryEventLog, *, news: NewMessage | None = None) -> None:
        clock, metrics, capacity = VirtualClock(), Metrics(CollectorRegistry()), Capacity()
        kube = SimulatedCluster(clock, SeededRandom(1)).kube()
        targets = Targets("local", Applier(kube, SeededRandom(1), EventWriter(kube, clock), metrics))
        task = asyncio.create_task(Partition(0, log, targets, Identity("w", "1", 1), clock, metrics, capacity).run())
        await asyncio.wait([task], timeout=1.0)
        if news is not None:
            await log.append(news)
            await asyncio.wait([task], timeout=1.0)
        task.cancel()
        await asyncio.wait([task])

    async def run() -> None:
        log = _Read()
        for key in (A, B):
            await log.append(_gone(key, 0))
        await live(log)
        assert sorted(log.reads) == ["a", "b"]
        log.reads.clear()
        await live(log, news=_gone(B, 1))
        assert sorted(log.reads) == ["a", "b", "b"]

    run_virtually(run())


def _gone(key: OrderingKey, number: int) -> NewMessage:
    gone = ObjectGone(uid=f"u{number}", resource_version="1", gone_at=1)
    return NewMessage(subject=object_subject(key, ObjectRef("", "ConfigMap", "default", "x"), 1), data=encode(gone))


@pytest.mark.parametrize(
    ("phase", "is_moved"),
    [
        pytest.param("started", True, id="it has begun"),
        pytest.param("under way", True, id="it has come some way"),
        pytest.param("ended", False, id="it is over"),
    ],
)
def test_who_takes_a_partition_over_takes_part_in_the_sweep_of_it(phase: str, is_moved: bool) -> None:
    async def run() -> None:
        clock, metrics, capacity = VirtualClock(), Metrics(CollectorRegistry()), Capacity()
        log = MemoryEventLog(clock, partitions=1)
        await log.append(_gone(A, 0))
        outcome = encode(OutcomeRecorded(decision=1, ended_at=1))
        before = (await log.append(NewMessage(outcome_subject(A, 1), outcome))).sequence
        mark = SweepMarked(phase=phase, below=before + 1, marked_at=1)
        await log.append(NewMessage(shared_subject(0, "local", "sweep"), encode(mark)))
        kube = SimulatedCluster(clock, SeededRandom(1)).kube()
        targets = Targets("local", Applier(kube, SeededRandom(1), EventWriter(kube, clock), metrics))
        task = asyncio.create_task(Partition(0, log, targets, Identity("w", "1", 1), clock, metrics, capacity).run())
        await asyncio.wait([task], timeout=2.0)
        last = await log.last(outcome_subject(A, 1))
        assert last is not None
        assert (last.data, last.sequence > before) == (outcome, is_moved)
        task.cancel()
        await asyncio.wait([task])

    run_virtually(run())
