"""Timers of idle keys go by the wall clock; where that was set back nobody is told of them (campaign, seed 81138)."""

from __future__ import annotations

import asyncio

from tapio_reconciler.core.state import Entry
from tapio_reconciler.shell.idle import Idle
from tapio_reconciler.shell.states import Known, States
from tapio_reconciler.shell.timers import Timers
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.facts import DiscoveryObserved, IdleKeys, Synced, Timer
from tapio_shared.keys import OrderingKey
from tests.support.virtual_time import VirtualClock, run_virtually

A, B = OrderingKey("local", "default", "a"), OrderingKey("local", "default", "b")
HOUR = 3_600_000


class JumpingClock(VirtualClock):
    """A wall clock that can be set; the monotonic one can't."""

    offset = 0

    def now(self) -> int:
        return super().now() + self.offset


def _idle(clock: JumpingClock) -> tuple[Idle, Timers]:
    async def due(_: OrderingKey, __: Timer) -> None:
        raise AssertionError("nobody waits here")

    states, timers = States(MemoryEventLog(clock, partitions=1), 1), Timers(clock, due)
    states.known = {A: Known(revision=7), B: Known(revision=9)}
    states.shared["local"] = {
        "synced": Entry(1, Synced(generation="1", kinds=[], synced_at=1)),
        "discovery": Entry(2, DiscoveryObserved(version="v1.36.2", resources=[], observed_at=1)),
    }
    return Idle(states, timers, clock, "1"), timers


def _told(clock: JumpingClock, *, set_back: int) -> IdleKeys:
    """What is told of two idle keys, of which one has a timer, a second after the clock was set back."""
    idle, timers = _idle(clock)
    idle.add(A)
    idle.add(B)
    timers.replace(A, [Timer(name="retry", due_at=clock.now() + 60_000)])
    clock.offset -= set_back
    return idle.tell()


def test_what_is_told_is_taken_over_with_its_timers() -> None:
    async def run() -> tuple[bool, list[Timer], int]:
        clock = JumpingClock()
        told, due_at = _told(clock, set_back=0), clock.now() + 60_000
        await asyncio.sleep(5)
        idle, timers = _idle(clock)
        idle.take_over(told, 1)
        return A in idle and B in idle, timers.of(A), due_at

    is_idle, timers, due_at = run_virtually(run())
    assert is_idle
    assert timers == [Timer(name="retry", due_at=due_at)]


def test_a_key_whose_timers_were_named_before_the_clock_was_set_back_is_not_told_of() -> None:
    async def run() -> IdleKeys:
        return _told(JumpingClock(), set_back=HOUR)

    assert sorted(run_virtually(run()).keys) == ["local.default.b"]


def test_nothing_is_believed_by_a_clock_that_is_behind_the_one_that_told_it() -> None:
    async def run() -> list[bool]:
        clock = JumpingClock()
        told = _told(clock, set_back=0)
        clock.offset -= HOUR
        idle, _ = _idle(clock)
        idle.take_over(told, 1)
        return [A in idle, B in idle]

    assert run_virtually(run()) == [False, False]
