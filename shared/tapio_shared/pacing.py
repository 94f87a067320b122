"""How fast one API server is asked: so many requests at once, so many a second, and not before it said to come back.

One per API server and process. Whatever asks, lists and watches too, waits its turn here, so that nobody has to heed a
`Retry-After` for himself and none is forgotten. What waits is bounded by who asks: callers await their answers.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from tapio_shared.api.operator_config import Limits

LONGEST_HOLD = 60.0
"""Seconds. API servers ask for 1 to 5; whatever a proxy before one makes of that, it is asked again after this long."""
_BURST_SECONDS = 2.0
"""So many seconds' worth of requests may go out at once after a rest, as with client-go's rate limiter."""


_ANOTHERS_TURN = 4
"""Of so many who are let in, one is not of those who go first, however many those are."""


class Slots:
    """A semaphore whose size may change; first come, first served, but for those who go first, or after others."""

    def __init__(self, limit: int) -> None:
        self._limit, self._taken, self._given = limit, 0, 0
        self._first: deque[asyncio.Future[None]] = deque()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        """A heap, by order and by who came first; who has given up stays until it would be his turn."""
        self._numbers = itertools.count()

    @property
    def taken(self) -> int:
        return self._taken

    def resize(self, limit: int) -> None:
        """Allow `limit` at once from now on; who is in stays in."""
        self._limit = limit
        self._admit()

    @asynccontextmanager
    async def first(self) -> AsyncGenerator[None]:
        """Enter before all who wait without this; of so many who are let in one is another, who so never starves."""
        await self._enter(self._first.append)
        try:
            yield
        finally:
            self._leave()

    @asynccontextmanager
    async def after(self, order: int) -> AsyncGenerator[None]:
        """Enter after all who wait with less, or without this, which is 0."""
        await self._enter(partial(self._queue, order))
        try:
            yield
        finally:
            self._leave()

    async def __aenter__(self) -> None:
        await self._enter(partial(self._queue, 0))

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _queue(self, order: int, turn: asyncio.Future[None]) -> None:
        heapq.heappush(self._waiting, (order, next(self._numbers), turn))

    async def _enter(self, queue: Callable[[asyncio.Future[None]], None]) -> None:
        if self._taken < self._limit and not self._first and not self._waiting:
            self._taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        queue(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        self._taken -= 1
        self._admit()

    def _admit(self) -> None:
        while (self._first or self._waiting) and self._taken < self._limit:
            turn = self._next()
            if not turn.done():
                self._taken += 1
                self._given += 1
                turn.set_result(None)

    def _next(self) -> asyncio.Future[None]:
        is_anothers = self._given % _ANOTHERS_TURN == _ANOTHERS_TURN - 1
        if self._waiting and (is_anothers or not self._first):
            return heapq.heappop(self._waiting)[2]
        return self._first.popleft()


class Pacing:
    """The pace of the requests to one API server. Instants are those of the running loop."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self.slots = Slots(self._limits.concurrent_requests)
        self._held_until = 0.0
        self._spent_until = float("-inf")
        """When all that was let through would be over at the allowed rate (generic cell rate algorithm)."""

    def limit(self, limits: Limits) -> None:
        """Go on by `limits`; who waits by the former rate goes on waiting for as long."""
        if limits != self._limits:
            self._limits = limits
            self.slots.resize(limits.concurrent_requests)

    async def turn(self) -> None:
        """Wait until the next request may leave."""
        loop = asyncio.get_running_loop()
        wait = self._reserve(loop.time())
        while wait > 0:
            await asyncio.sleep(wait)
            wait = self._held_until - loop.time()

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Take an answer in: after a 429 nothing leaves before the time that it names."""
        after = headers.get("Retry-After", "")
        if status == 429 and after.isdigit():
            self._held_until = max(self._held_until, _now() + min(float(after), LONGEST_HOLD))

    def _reserve(self, now: float) -> float:
        held = self._held_until - now
        rate = self._limits.requests_per_second
        if rate is None:
            return held
        self._spent_until = max(self._spent_until, now - _BURST_SECONDS) + 1 / rate
        return max(held, self._spent_until - now)


def _now() -> float:
    return asyncio.get_running_loop().time()
