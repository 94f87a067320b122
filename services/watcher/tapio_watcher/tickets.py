"""Who waits until what was handed in is durable: a ticket for each fact, which goes over to whatever replaces it."""

from __future__ import annotations

import asyncio


class Tickets:
    """The tickets that are still out."""

    def __init__(self) -> None:
        self._last = 0
        self._out: set[int] = set()
        self._flushes: list[tuple[set[int], asyncio.Event]] = []
        self._readings = 0

    def new(self) -> int:
        """A ticket for what is handed in now."""
        self._last += 1
        self._out.add(self._last)
        return self._last

    def done(self, ticket: int) -> None:
        """What it stands for is durable, or needless."""
        self._out.discard(ticket)
        for flush in list(self._flushes):
            flush[0].discard(ticket)
            if not flush[0]:
                flush[1].set()
                self._flushes.remove(flush)

    def read_again(self) -> None:
        """An object was read again in place of what waited: what that told has tickets of its own."""
        self._readings += 1

    async def flush(self) -> None:
        """Wait for every ticket that is out, and for those of what is read again meanwhile."""
        readings = -1
        while self._out and readings != self._readings:
            readings = self._readings
            done = asyncio.Event()
            self._flushes.append((set(self._out), done))
            await done.wait()
