"""Timers of one partition: plans name instants, and a due timer becomes a fact that wakes its key.

Timers carry no state: planning a key names them again, and what an epoch tells of a key that need not be planned names
its timers too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from tapio_shared.facts import Timer
from tapio_shared.keys import OrderingKey
from tapio_shared.ports import Clock

_TOLERANCE = 1.0
"""Seconds by which two clocks may differ without one of them having been set."""
_LONGEST_SLEEP = 5.0
"""Seconds. The wall clock may jump while we sleep, so it is read again this often."""


@dataclass(frozen=True, slots=True)
class _Armed:
    """A timer, and when it is due by a clock that nobody can set back."""

    timer: Timer
    deadline: float

    def is_due(self, clock: Clock) -> bool:
        """By either clock: the wall's may have been set back, the other stands still while a machine sleeps."""
        return clock.monotonic() >= self.deadline or clock.now() >= self.timer.due_at


class Timers:
    """The pending timers of each key. `run` calls `due(key, timer)` for each one that has come due."""

    def __init__(self, clock: Clock, due: Callable[[OrderingKey, Timer], Awaitable[None]]) -> None:
        self._clock, self._due = clock, due
        self._pending: dict[OrderingKey, tuple[_Armed, ...]] = {}
        self._changed = asyncio.Event()

    def replace(self, key: OrderingKey, timers: Iterable[Timer]) -> None:
        """The timers that `key` now has; those it had before are forgotten."""
        wanted = tuple(timers)
        if wanted == tuple(one.timer for one in self._pending.get(key, ())):
            return
        if wanted:
            wall, monotonic = self._clock.now(), self._clock.monotonic()
            self._pending[key] = tuple(_Armed(one, monotonic + (one.due_at - wall) / 1000) for one in wanted)
        else:
            self._pending.pop(key, None)
        self._changed.set()

    def of(self, key: OrderingKey) -> list[Timer]:
        """The timers of `key` that have not come due yet."""
        return [one.timer for one in self._pending.get(key, ())]

    def go_by_the_wall(self, key: OrderingKey) -> bool:
        """Whether the wall clock tells when the timers of `key` are due: it was not set back since they were armed."""
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        return all(
            (one.timer.due_at - wall) / 1000 <= one.deadline - monotonic + _TOLERANCE
            for one in self._pending.get(key, ())
        )

    def wait(self) -> float | None:
        """Seconds until the next timer of all keys may be due, or None when there is none."""
        armed = [one for timers in self._pending.values() for one in timers]
        if not armed:
            return None
        by_wall = (min(one.timer.due_at for one in armed) - self._clock.now()) / 1000
        by_other = min(one.deadline for one in armed) - self._clock.monotonic()
        return min(max(0.0, min(by_wall, by_other)), _LONGEST_SLEEP)

    async def run(self) -> None:
        """Fire timers until cancelled."""
        while True:
            self._changed.clear()
            await self._fire_due()
            try:
                async with asyncio.timeout(self.wait()):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _fire_due(self) -> None:
        for key in sorted(self._pending):
            armed = self._pending.get(key, ())  # Replaced while another key's fact was being appended?
            due = [one for one in armed if one.is_due(self._clock)]
            if not due:
                continue
            rest = tuple(one for one in armed if one not in due)
            if rest:
                self._pending[key] = rest
            else:
                del self._pending[key]
            for one in due:
                await self._due(key, one.timer)
