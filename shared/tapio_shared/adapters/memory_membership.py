"""`ports.Membership` in memory, for simulation and unit tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing


class MemoryMembership:
    """One membership that workers in the same event loop share."""

    def __init__(self) -> None:
        self._members: set[str] = set()
        self._changed = asyncio.Condition()

    async def join(self, name: str) -> None:
        self._members.add(name)
        await self._tell()

    async def leave(self, name: str) -> None:
        self._members.discard(name)
        await self._tell()

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[tuple[str, ...]]]:
        return aclosing(self._changes())

    async def _changes(self) -> AsyncGenerator[tuple[str, ...]]:
        known: tuple[str, ...] | None = None
        while True:
            members = tuple(sorted(self._members))
            if members != known:
                known = members
                yield members
                continue
            async with self._changed:
                if tuple(sorted(self._members)) == known:
                    await self._changed.wait()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
