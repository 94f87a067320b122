"""A work queue of keys: a key waits at most once, is worked on by one worker at a time, and backs off when it fails.

Its length is bounded by the number of objects, since a key says who, never what happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from tapio_shared.errors import ApiTerminal, RetryableError

log = structlog.get_logger(__name__)

K = TypeVar("K")
_FIRST_RETRY, _LAST_RETRY = 0.05, 5.0
"""Seconds between tries; a real controller waits up to minutes, which nobody wants to watch."""
_SHORTEST = 0.001
"""Seconds: a rest that rounding left over must not be shorter than what the loop's clock can tell apart."""


class WorkQueue(Generic[K]):
    """Keys waiting for work, in the order in which they came."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._waiting: dict[K, None] = {}
        self._working: dict[K, bool] = {}
        """Keys being worked on; True when they were asked for again meanwhile."""
        self._later: dict[K, tuple[float, asyncio.TimerHandle]] = {}
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()

    def add(self, key: K) -> None:
        """Work on `key` as soon as a worker is free."""
        pending = self._later.pop(key, None)
        if pending is not None:
            pending[1].cancel()
        if key in self._working:
            self._working[key] = True
        else:
            self._waiting[key] = None
            self._wake.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Work on `key` in `seconds`, or earlier when it is already waiting or due earlier."""
        if seconds <= 0:
            self.add(key)
            return
        if key in self._waiting or self._working.get(key) is True:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + max(seconds, _SHORTEST)
        known = self._later.get(key)
        if known is not None:
            if known[0] <= due:
                return
            known[1].cancel()
        self._later[key] = (due, loop.call_at(due, self._due, key))

    def _due(self, key: K) -> None:
        self._later.pop(key, None)
        self.add(key)

    async def run(self, workers: int, work: Callable[[K], Awaitable[None]]) -> None:
        """Work off keys with so many workers until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(workers):
                    tasks.create_task(self._worker(work), name=f"{self.name} {number}")
        finally:
            for _, timer in self._later.values():
                timer.cancel()

    async def _worker(self, work: Callable[[K], Awaitable[None]]) -> None:
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            key = next(iter(self._waiting))
            del self._waiting[key]
            self._working[key] = False
            try:
                await work(key)
                self._failures.pop(key, None)
            except (RetryableError, ApiTerminal) as err:
                self._failed(key, err)
            except Exception as err:  # one strange object must not end every controller
                log.exception("work failed unexpectedly", queue=self.name, key=key)
                self._failed(key, err)
            finally:
                again = self._working.pop(key)
            if again:
                self.add(key)
            # An in-process API server never suspends: without this, one busy worker would starve everybody.
            await asyncio.sleep(0)

    def _failed(self, key: K, err: Exception) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        wait = min(_FIRST_RETRY * 2 ** min(failures - 1, 12), _LAST_RETRY)
        log.debug("work failed", queue=self.name, key=key, error=str(err), retry_in=wait)
        # Not add_after alone: the key is still marked as worked on, which add() would take for a new request.
        loop = asyncio.get_running_loop()
        known = self._later.pop(key, None)
        if known is not None:
            known[1].cancel()
        due = loop.time() + wait
        self._later[key] = (due, loop.call_at(due, self._due, key))
