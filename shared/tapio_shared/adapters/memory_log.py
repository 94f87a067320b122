"""`ports.EventLog` in memory: for simulation and unit tests, with every failure the real one can show.

The contract suite (tests/contract/event_log) runs on this and on real servers; where they differ, this is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing

from tapio_shared.errors import LogFull, LogRewound, LogUnavailable, RevisionConflict, TapioError
from tapio_shared.ports import Appended, Clock, LogInfo, Message, NewMessage, View

DUPLICATE_WINDOW = 120_000
"""Milliseconds for which a message id is remembered, as in provisioning."""
_OVERHEAD = 40

Fault = Callable[[str, str], TapioError | None]
"""Asked before each operation with (operation, subject): an error to raise instead, or None. Operations are append,
lost_ack (raised after the append took effect), last, last_per_subject, follow, info."""


class MemoryEventLog:
    """One stream. `fault` injects failures; `stale` makes reads lag by that many messages until the leader is asked."""

    def __init__(
        self, clock: Clock, *, partitions: int = 32, max_bytes: int = -1, max_age: float = 0.0, created_at: str = "1"
    ) -> None:
        self._clock, self._partitions = clock, partitions
        self._max_bytes, self._max_age = max_bytes, max_age
        self._created_at = created_at
        self._messages: dict[int, Message] = {}
        self._last: dict[str, int] = {}
        self._ids: dict[str, tuple[int, int]] = {}
        self._sequence = 0
        self._bytes = 0
        self._changed = asyncio.Condition()
        self.fault: Fault = lambda _operation, _subject: None
        self.refuse_when_full = False
        """A full disk: appends are refused instead of the oldest messages being dropped."""

    async def append(self, message: NewMessage) -> Appended:
        return await self.append_batch([message])

    async def append_batch(self, messages: Sequence[NewMessage]) -> Appended:
        await asyncio.sleep(0)
        self._raise("append", messages[0].subject)
        known = self._known_id(messages)
        if known is not None:
            return Appended(known, duplicate=True)
        self._check(messages)
        if self.refuse_when_full and 0 < self._max_bytes < self._bytes + sum(map(_size, messages)):
            raise LogFull("The stream takes no more messages: maximum bytes exceeded. Raise its limits.")
        for message in messages:
            self._store(message)
        self._evict()
        async with self._changed:
            self._changed.notify_all()
        self._raise("lost_ack", messages[0].subject)
        return Appended(self._sequence)

    async def last(self, subject: str) -> Message | None:
        await asyncio.sleep(0)
        self._raise("last", subject)
        self._evict()
        return self._messages.get(self._last.get(subject, 0))

    async def last_per_subject(self, *filters: str, at_least: int = 0) -> View:
        await asyncio.sleep(0)
        self._raise("last_per_subject", filters[0])
        self._evict()
        if at_least > self._sequence:
            raise LogUnavailable(f"No replica has caught up with sequence {at_least}; ask again.")
        found = [
            self._messages[sequence]
            for subject, sequence in self._last.items()
            if sequence in self._messages and any(matches(one, subject) for one in filters)
        ]
        return View(tuple(sorted(found, key=lambda message: message.sequence)), self._sequence)

    def follow(self, filter_subject: str, *, from_sequence: int) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        return aclosing(self._follow(filter_subject, from_sequence))

    async def info(self) -> LogInfo:
        await asyncio.sleep(0)
        self._raise("info", "")
        self._evict()
        return LogInfo(
            created_at=self._created_at,
            first_sequence=min(self._messages, default=self._sequence + 1),
            last_sequence=self._sequence,
            messages=len(self._messages),
            bytes=self._bytes,
            max_bytes=self._max_bytes,
            max_age=self._max_age,
            partitions=self._partitions,
        )

    async def destroy(self) -> None:
        """Lose everything, as when the store was deleted and the stream made anew."""
        self._created_at += "'"
        self._messages.clear()
        self._last.clear()
        self._ids.clear()
        self._sequence = self._bytes = 0
        async with self._changed:
            self._changed.notify_all()

    async def _follow(self, filter_subject: str, from_sequence: int) -> AsyncGenerator[Message]:
        created = self._created_at
        if self._sequence < from_sequence - 1:
            raise LogRewound(f"The log went backwards: it ends at {self._sequence}.")
        following = max(from_sequence, 1)
        while True:
            self._raise("follow", filter_subject)
            if self._created_at != created:
                raise LogRewound("The log went backwards: its stream was made anew.")
            while following <= self._sequence:
                message = self._messages.get(following)
                following += 1
                if message is not None and matches(filter_subject, message.subject):
                    yield message
            async with self._changed:
                if following > self._sequence and self._created_at == created:
                    await self._changed.wait()

    def _raise(self, operation: str, subject: str) -> None:
        error = self.fault(operation, subject)
        if error is not None:
            raise error

    def _known_id(self, messages: Sequence[NewMessage]) -> int | None:
        """The sequence of a single message whose id was seen within the window. Batches are not de-duplicated."""
        identifier = messages[0].message_id
        if len(messages) > 1 or identifier is None:
            return None
        known = self._ids.get(identifier)
        if known is None or self._clock.now() - known[1] > DUPLICATE_WINDOW:
            return None
        return known[0]

    def _check(self, messages: Sequence[NewMessage]) -> None:
        for message in messages:
            if message.expected_last is None:
                continue
            subject = message.expected_subject or message.subject
            last = self._last.get(subject, 0)
            actual = last if last in self._messages else 0
            if actual != message.expected_last:
                raise RevisionConflict(subject, message.expected_last, actual)

    def _store(self, message: NewMessage) -> None:
        self._sequence += 1
        stored = Message(message.subject, self._sequence, message.data, dict(message.headers), self._clock.now())
        self._messages[self._sequence] = stored
        self._last[message.subject] = self._sequence
        self._bytes += _size(message)
        if message.message_id is not None:
            self._ids[message.message_id] = (self._sequence, self._clock.now())

    def _evict(self) -> None:
        oldest_kept = self._clock.now() - int(self._max_age * 1000)
        while self._messages:
            first = next(iter(self._messages))
            message = self._messages[first]
            too_old = self._max_age > 0 and message.written_at < oldest_kept
            if not too_old and not 0 < self._max_bytes < self._bytes:
                break
            del self._messages[first]
            self._bytes -= _size(message)
            if self._last.get(message.subject) == first:
                del self._last[message.subject]


def _size(message: NewMessage | Message) -> int:
    return len(message.subject) + len(message.data) + _OVERHEAD


def matches(pattern: str, subject: str) -> bool:
    """Whether a NATS filter with `*` and `>` matches `subject`."""
    wanted, tokens = pattern.split("."), subject.split(".")
    for index, part in enumerate(wanted):
        if part == ">":
            return len(tokens) > index
        if index >= len(tokens) or part not in {"*", tokens[index]}:
            return False
    return len(wanted) == len(tokens)
