"""`ports.EventLog` in memory: for simulation and unit tests, with every failure the real one can show.

The contract suite (tests/contract/event_log) runs on this and on real servers; where they differ, this is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence, Set
from contextlib import aclosing, asynccontextmanager

from tapio_shared.adapters.batches import check_batch, check_size
from tapio_shared.errors import LogFull, LogMissing, LogRewound, LogUnavailable, RevisionConflict, TapioError
from tapio_shared.keys import subject_matches
from tapio_shared.ports import Appended, AsOf, Clock, LogInfo, Message, NewMessage, View

DUPLICATE_WINDOW = 120_000
"""Milliseconds for which a message id is remembered, as in provisioning."""
MAX_PAYLOAD = 8 << 20
"""Bytes of one message with its headers, as the embedded server is set up."""
_RECORD = 30
_HEADER_LINE = len("NATS/1.0\r\n\r\n")

Fault = Callable[[str, str], TapioError | None]
"""Asked before each operation with (operation, subject): an error to raise instead, or None. Operations are `append`,
`lost_ack` (asked after the append took effect), `last`, `last_per_subject`, `follow` and `info`."""


class MemoryEventLog:
    """One stream. `fault` injects failures; `lag` makes a replica answer that is so many messages behind."""

    def __init__(
        self, clock: Clock, *, partitions: int = 32, max_bytes: int = -1, max_age: float = 0.0, created_at: str = "1"
    ) -> None:
        self._clock, self._partitions = clock, partitions
        self._max_bytes, self._max_age = max_bytes, max_age
        self._created_at = created_at
        self._messages: dict[int, Message] = {}
        self._sizes: dict[int, int] = {}
        self._last: dict[str, int] = {}
        self._ids: dict[str, tuple[int, int]] = {}
        self._sequence = 0
        self._bytes = 0
        self._exists = True
        self._cuts: list[int] = []
        """Where it was cut each time that it lost its end."""
        self._changed = asyncio.Condition()
        self.fault: Fault = lambda _operation, _subject: None
        self.refuse_when_full = False
        """A full disk: appends are refused instead of the oldest messages being dropped."""
        self.lag = 0

    async def append(self, message: NewMessage) -> Appended:
        return await self._append([message])

    async def append_batch(self, messages: Sequence[NewMessage]) -> Appended:
        check_batch(messages)
        return await self._append(messages)

    async def last(self, subject: str) -> Message | None:
        await self._begin("last", subject)
        return self._messages.get(self._last.get(subject, 0))

    async def last_per_subject(self, *filters: str, at_least: int = 0) -> View:
        await self._begin("last_per_subject", filters[0])
        if at_least > self._sequence:
            raise LogUnavailable(f"The log is at sequence {self._sequence}, and {at_least} was asked for. Ask again.")
        behind = max(self._sequence - self.lag, 0)
        if self.lag and at_least <= behind:
            view = self._as_of(behind, filters)
            if view.messages:  # An answer without messages carries no sequence, so the leader is asked.
                return view
        return self._as_of(self._sequence, filters)

    async def each_last(self, filter_subject: str, *, at_least: int = 0) -> AsyncGenerator[Message]:
        for message in (await self.last_per_subject(filter_subject, at_least=at_least)).messages:
            yield message

    @asynccontextmanager
    async def follow(
        self, filter_subject: str, *, from_sequence: int, seen: Message | None = None
    ) -> AsyncGenerator[AsyncIterator[Message]]:
        await self._begin("info", "")
        if self._sequence < from_sequence - 1:
            raise self._rewound(from_sequence - 1)
        if seen is not None and seen.sequence >= next(iter(self._messages), self._sequence + 1):
            there = self._messages.get(seen.sequence)
            if there is None or (there.subject, there.written_at) != (seen.subject, seen.written_at):
                raise self._grown_again(seen.sequence)
        async with aclosing(self._follow(filter_subject, from_sequence, self._created_at)) as messages:
            yield messages

    async def read(self, filter_subject: str, *, from_sequence: int = 1, up_to: int) -> AsyncGenerator[Message]:
        await self._begin("follow", filter_subject)
        for sequence in range(max(from_sequence, 1), up_to + 1):
            message = self._messages.get(sequence)
            if message is not None and subject_matches(filter_subject, message.subject):
                yield message

    async def earliest(self, filter_subject: str, *, from_sequence: int = 1, written_from: int = 0) -> Message | None:
        await self._begin("last", filter_subject)
        for message in self._messages.values():
            is_so_far = message.written_at >= written_from if written_from else message.sequence >= from_sequence
            if is_so_far and subject_matches(filter_subject, message.subject):
                return message
        return None

    async def as_of(self, filter_subject: str, sequence: int, *, but: Set[str] = frozenset()) -> AsOf:
        await self._begin("last", filter_subject)
        matching = [one for one in self._messages.values() if subject_matches(filter_subject, one.subject)]
        then = {one.subject: one for one in matching if one.sequence <= sequence and one.subject not in but}
        nothing = frozenset(one.subject for one in matching) - then.keys() - but
        return AsOf(messages=tuple(sorted(then.values(), key=lambda one: one.sequence)), nothing=nothing)

    async def info(self) -> LogInfo:
        await self._begin("info", "")
        return LogInfo(
            created_at=self._created_at,
            first_sequence=next(iter(self._messages), self._sequence + 1 if self._sequence else 0),
            last_sequence=self._sequence,
            messages=len(self._messages),
            bytes=self._bytes,
            max_bytes=self._max_bytes,
            max_age=self._max_age,
            partitions=self._partitions,
        )

    async def remove(self) -> None:
        """Lose the stream with all it holds; nothing works until it is made again."""
        self._exists = False
        self._messages.clear()
        self._sizes.clear()
        self._last.clear()
        self._ids.clear()
        self._sequence = self._bytes = 0
        await self._tell()

    async def make(self) -> None:
        """Make a removed stream again, empty, as provisioning does."""
        self._created_at += "'"
        self._exists = True
        await self._tell()

    async def limit(self, max_bytes: int) -> None:
        """Let the stream hold so many bytes from now on; what is too much goes at once, as when a server updates it."""
        self._max_bytes = max_bytes
        self._evict()
        await self._tell()

    async def rewind(self, to: int) -> None:
        """Lose what came after sequence `to`, as a single server does that loses power before it writes to disk."""
        for sequence in [one for one in self._messages if one > to]:
            self._bytes -= self._sizes.pop(sequence)
            del self._messages[sequence]
        self._sequence = min(self._sequence, to)
        self._cuts.append(to)
        self._last = {message.subject: sequence for sequence, message in self._messages.items()}
        self._ids = {name: known for name, known in self._ids.items() if known[0] <= to}
        await self._tell()

    async def _append(self, messages: Sequence[NewMessage]) -> Appended:
        await self._begin("append", messages[0].subject)
        sizes = [_size(message) for message in messages]
        for message in messages:
            check_size(message, MAX_PAYLOAD)
        known = self._known_id(messages[0])
        if known is not None and self._last.get(messages[0].subject) == known:
            return Appended(known, duplicate=True)
        # As one server does: an expectation is looked at before an id. Three servers look at the id first.
        self._check(messages)
        if known is not None:
            return Appended(known, duplicate=True)
        if self.refuse_when_full and 0 < self._max_bytes < self._bytes + sum(sizes):
            raise LogFull("JetStream takes no more: maximum bytes exceeded. Raise the limit or free disk space.")
        for message, size in zip(messages, sizes, strict=True):
            self._store(message, size)
        appended = Appended(self._sequence)
        self._evict()
        await self._tell()
        self._raise("lost_ack", messages[0].subject)
        return appended

    async def _begin(self, operation: str, subject: str) -> None:
        await asyncio.sleep(0)
        self._raise(operation, subject)
        if not self._exists:
            raise LogMissing("The stream does not exist. Provision it; everything is then observed anew.")
        self._evict()

    async def _follow(self, filter_subject: str, from_sequence: int, created: str) -> AsyncGenerator[Message]:
        following, cuts = max(from_sequence, 1), len(self._cuts)
        while True:
            self._raise("follow", filter_subject)
            if not self._exists:
                raise LogMissing("The stream does not exist. Provision it; everything is then observed anew.")
            if self._created_at != created or self._sequence < following - 1:
                raise self._rewound(following - 1)
            if self._is_cut(cuts, following):
                raise self._grown_again(following - 1)
            while following <= self._sequence and self._created_at == created and not self._is_cut(cuts, following):
                message = self._messages.get(following)
                following += 1
                if message is not None and subject_matches(filter_subject, message.subject):
                    yield message
            async with self._changed:
                if following == self._sequence + 1 and self._created_at == created and self._exists:
                    await self._changed.wait()

    def _rewound(self, seen: int) -> LogRewound:
        return LogRewound(
            f"The log went backwards: it ends at {self._sequence}, and {seen} was seen. Begin from nothing."
        )

    def _is_cut(self, cuts: int, following: int) -> bool:
        """Whether one of the cuts after the first `cuts` took something that stood before `following`."""
        return min(self._cuts[cuts:], default=following) < following - 1

    def _grown_again(self, seen: int) -> LogRewound:
        return LogRewound(
            f"The log went backwards and has grown again: what stands at {seen} is not what was seen there. Begin from "
            "nothing."
        )

    def _raise(self, operation: str, subject: str) -> None:
        error = self.fault(operation, subject)
        if error is not None:
            raise error

    def _known_id(self, message: NewMessage) -> int | None:
        """The sequence of a message whose id was seen within the window."""
        oldest = self._clock.now() - DUPLICATE_WINDOW
        while self._ids and next(iter(self._ids.values()))[1] < oldest:
            del self._ids[next(iter(self._ids))]
        known = self._ids.get(message.message_id or "")
        return None if known is None else known[0]

    def _check(self, messages: Sequence[NewMessage]) -> None:
        """RevisionConflict names the batch's first expectation, since JetStream does not say which one failed."""
        expecting = [
            (message.expected_subject or message.subject, message.expected_last)
            for message in messages
            if message.expected_last is not None
        ]
        for subject, expected in expecting:
            actual = self._last.get(subject, 0)
            if actual != expected:
                raise RevisionConflict(*expecting[0], actual)

    def _store(self, message: NewMessage, size: int) -> None:
        self._sequence += 1
        self._messages[self._sequence] = Message(
            message.subject, self._sequence, message.data, dict(message.headers), self._clock.now()
        )
        self._sizes[self._sequence] = size
        self._last[message.subject] = self._sequence
        self._bytes += size
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
            self._bytes -= self._sizes.pop(first)
            if self._last.get(message.subject) == first:
                del self._last[message.subject]

    def _as_of(self, revision: int, filters: Sequence[str]) -> View:
        """The view that a replica gives that knows everything up to `revision`."""
        found = [self._messages[sequence] for subject, sequence in self._last.items() if _any(filters, subject)]
        if revision < self._sequence:
            older: dict[str, Message] = {}
            for message in self._messages.values():
                if message.sequence <= revision and _any(filters, message.subject):
                    older[message.subject] = message
            found = list(older.values())
        return View(tuple(sorted(found, key=lambda message: message.sequence)), revision)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _size(message: NewMessage) -> int:
    """Bytes in the store, as the server's file store counts them."""
    size = _RECORD + len(message.subject) + len(message.data)
    headers = dict(message.headers) | ({} if message.message_id is None else {"Nats-Msg-Id": message.message_id})
    if headers:
        size += 4 + _HEADER_LINE + sum(len(f"{name}: {value}\r\n".encode()) for name, value in headers.items())
    return size


def _any(filters: Sequence[str], subject: str) -> bool:
    return any(subject_matches(one, subject) for one in filters)
