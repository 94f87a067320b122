"""How far a partition has been followed, for those who must not go on before they have been told of something."""

from __future__ import annotations

import asyncio
import heapq


class Progress:
    """The sequence up to which everything was folded, and who waits for a later one."""

    def __init__(self) -> None:
        self._at = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tickets = 0

    @property
    def at(self) -> int:
        """The sequence up to which everything is folded."""
        return self._at

    def advance(self, sequence: int) -> None:
        """Everything up to `sequence` is folded."""
        self._at = max(self._at, sequence)
        while self._waiting and self._waiting[0][0] <= self._at:
            waiter = heapq.heappop(self._waiting)[2]
            if not waiter.done():
                waiter.set_result(None)

    async def reached(self, sequence: int) -> None:
        """Wait until everything up to `sequence` is folded."""
        if sequence <= self._at:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._tickets += 1
        heapq.heappush(self._waiting, (sequence, self._tickets, waiter))
        await waiter
