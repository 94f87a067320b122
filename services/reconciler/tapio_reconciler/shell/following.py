"""How far a partition has been followed, for those who must not go on before they have been told of something."""

from __future__ import annotations

import asyncio
import heapq

from tapio_reconciler.core.reading import checksum_of
from tapio_shared.ports import Message


class Progress:
    """The sequence up to which everything was folded, and who waits for a later one."""

    def __init__(self) -> None:
        self._at = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tickets = 0
        self._expected: dict[int, int] = {}

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

    def expect(self, sequence: int, checksum: int) -> None:
        """What was read at `sequence` is yet to be followed, and something rests on it."""
        if sequence > self._at:
            self._expected[sequence] = checksum

    def missed(self, message: Message) -> int:
        """The sequence of what was expected and is not told, now that `message` is; 0 for none."""
        found = 0
        for sequence in sorted(one for one in self._expected if one <= message.sequence):
            checksum = self._expected.pop(sequence)
            if sequence != message.sequence or checksum != checksum_of(message):
                found = sequence
        return found

    async def reached(self, sequence: int) -> None:
        """Wait until everything up to `sequence` is folded."""
        if sequence <= self._at:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._tickets += 1
        heapq.heappush(self._waiting, (sequence, self._tickets, waiter))
        await waiter
