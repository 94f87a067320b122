"""The log of a campaign: the one in memory, everything that it ever held, and how it dies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.ports import Message, NewMessage
from tests.support.virtual_time import VirtualClock


class CampaignLog(MemoryEventLog):
    """One stream. Each time that it loses something it has already told, another life of it begins."""

    def __init__(self, clock: VirtualClock, partitions: int, max_bytes: int) -> None:
        super().__init__(clock, partitions=partitions, max_bytes=max_bytes)
        self.lives: list[list[Message]] = [[]]
        """Every message with its sequence; a life that begins with a loss begins with what was left."""
        self.began: list[dict[int, int]] = [{}]
        """For each life and message the first sequence that the log still held when that was stored."""
        self.stored = 0
        """How many messages were stored, in all lives."""
        self.life = 0
        """Changes whenever the server is started anew, which ends its consumers."""
        self._waiters: dict[int, asyncio.Future[None]] = {}
        self._tickets = 0

    def messages_from(self, sequence: int) -> Iterator[Message]:
        """What the log holds from `sequence` on."""
        for number in range(max(sequence, 1), self._sequence + 1):
            message = self._messages.get(number)
            if message is not None:
                yield message

    async def changed_within(self, sequence: int, seconds: float) -> bool:
        """Wait until the log has reached `sequence`, or is another one; answers False after `seconds`."""
        if self._sequence >= sequence:
            return True
        self._tickets += 1
        ticket = self._tickets
        self._waiters[ticket] = waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiters.pop(ticket, None)
        return True

    async def remove(self) -> None:
        await super().remove()
        self.life += 1
        self.lives.append([])
        self.began.append({})

    async def rewind(self, to: int) -> None:
        await super().rewind(to)
        self.life += 1
        self.lives.append([message for message in self.lives[-1] if message.sequence <= to])
        self.began.append(dict(self.began[-1]))

    @property
    def end(self) -> int:
        """The last sequence."""
        return self._sequence

    @property
    def first(self) -> int:
        """The first sequence that it still holds."""
        return next(iter(self._messages), self._sequence + 1)

    def restarted(self) -> None:
        """The server was started anew, and lost nothing but its consumers."""
        self.life += 1

    def last_messages(self) -> dict[str, Message]:
        """The last message of every subject."""
        return {subject: self._messages[sequence] for subject, sequence in self._last.items()}

    def _store(self, message: NewMessage, size: int) -> None:
        super()._store(message, size)
        self.stored += 1
        self.lives[-1].append(self._messages[self._sequence])
        self.began[-1][self._sequence] = self.first

    async def _tell(self) -> None:
        await super()._tell()
        for waiter in list(self._waiters.values()):
            if not waiter.done():
                waiter.set_result(None)
