"""Where the log begins, asked after something was read from it: what stood before may be missing from what was read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tapio_shared.ports import EventLog


@dataclass(slots=True)
class Beginning:
    """Asks the log for its first sequence; those who ask at the same time share one answer."""

    event_log: EventLog
    _asked: int = 0
    _answer: int = 0
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def sequence(self) -> int:
        """The first sequence that the log holds, as it was at some instant after this call began."""
        before = self._asked
        async with self._asking:
            if self._asked == before:  # whoever was waited for may have been answered before this call began
                self._asked += 1
                self._answer = (await self.event_log.info()).first_sequence
            return self._answer
