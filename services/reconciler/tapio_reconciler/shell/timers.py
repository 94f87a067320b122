"""Timers of one partition: plans name instants, and a due timer becomes a fact that wakes its key.

Timers carry no state and are not kept: taking a partition over plans every key, which names them again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from tapio_shared.facts import Timer
from tapio_shared.keys import OrderingKey
from tapio_shared.ports import Clock

_LONGEST_SLEEP = 5.0
"""Seconds. The wall clock may jump while we sleep, so it is read again this often."""


class Timers:
    """The pending timers of each key. `run` calls `due(key, timer)` for each one that has come due."""

    def __init__(self, clock: Clock, due: Callable[[OrderingKey, Timer], Awaitable[None]]) -> None:
        self._clock, self._due = clock, due
        self._pending: dict[OrderingKey, tuple[Timer, ...]] = {}
        self._changed = asyncio.Event()

    def replace(self, key: OrderingKey, timers: Iterable[Timer]) -> None:
        """The timers that `key` now has; those it had before are forgotten."""
        wanted = tuple(timers)
        if wanted == self._pending.get(key, ()):
            return
        if wanted:
            self._pending[key] = wanted
        else:
            self._pending.pop(key, None)
        self._changed.set()

    def earliest(self) -> int | None:
        """Instant of the next timer of all keys, or None."""
        return min((timer.due_at for timers in self._pending.values() for timer in timers), default=None)

    async def run(self) -> None:
        """Fire timers until cancelled."""
        while True:
            self._changed.clear()
            await self._fire_due()
            earliest = self.earliest()
            wait = None if earliest is None else min(max(0.0, (earliest - self._clock.now()) / 1000), _LONGEST_SLEEP)
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _fire_due(self) -> None:
        now = self._clock.now()
        for key in sorted(self._pending):
            timers = self._pending.get(key, ())  # Replaced while another key's fact was being appended?
            due = [timer for timer in timers if timer.due_at <= now]
            if not due:
                continue
            rest = tuple(timer for timer in timers if timer.due_at > now)
            if rest:
                self._pending[key] = rest
            else:
                del self._pending[key]
            for timer in due:
                await self._due(key, timer)
