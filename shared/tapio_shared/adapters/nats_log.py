"""`ports.EventLog` on JetStream: puts publisher, reader and ordered consumers together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence, Set
from contextlib import aclosing, asynccontextmanager

from tapio_shared.adapters.nats_as_of import as_of
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_ordered import OrderedConsumers
from tapio_shared.adapters.nats_publisher import Publisher
from tapio_shared.adapters.nats_reader import Reader
from tapio_shared.errors import LogRefused, LogRewound, LogUnavailable, RevisionConflict
from tapio_shared.keys import LOG_STREAM
from tapio_shared.ports import Appended, AsOf, LogInfo, Message, NewMessage, View

_LANES = 8
"""Places of a range from which messages are asked for at once."""
_FEW = 256
"""Messages of an eighth of a range that are asked for one by one; more are read by a consumer. A sweep tells all of a
TapioCluster in one place."""


class NatsEventLog:
    """The log on one connection. Safe for many concurrent callers."""

    def __init__(
        self, connection: NatsConnection, stream: str = LOG_STREAM, *, may_get: bool = True, slice_size: int = 0
    ) -> None:
        """Without `may_get`, or once a get was refused, everything is read by consumers: who may read one namespace may
        ask for no single message, since a direct get names no subject that a permission could be about.

        With `slice_size` the last messages of what filters without `*` match are asked for of so many subjects at a
        time, so that no writer waits long for who only looks."""
        self._connection, self._may_get, self._slice_size = connection, may_get, slice_size
        self._publisher = Publisher(connection)
        self._reader = Reader(connection, stream)
        self._consumers = OrderedConsumers(connection, stream)

    @property
    def is_connected(self) -> bool:
        return self._connection.is_connected

    async def append(self, message: NewMessage) -> Appended:
        try:
            return await self._publisher.append(message)
        except RevisionConflict:
            # One server checks the expectation before the id, three servers the other way round: made alike here, so
            # that an append whose answer was lost can simply be repeated.
            if message.message_id is None:
                raise
            known = await self._reader.last_with_id(message.subject, message.message_id)
            if known is None:
                raise
            return Appended(known, duplicate=True)

    async def append_batch(self, messages: Sequence[NewMessage]) -> Appended:
        if len(messages) == 1:
            return await self.append(messages[0])
        return await self._publisher.append_batch(messages)

    async def last(self, subject: str) -> Message | None:
        return await self._reader.last(subject)

    async def last_per_subject(self, *filters: str, at_least: int = 0) -> View:
        view = await self._multi_last(filters, at_least) if self._may_get else None
        if view is not None:
            return view
        revision = max(at_least, (await self._reader.info()).last_sequence)
        found: dict[str, Message] = {}
        for one in filters:
            found.update({message.subject: message async for message in self._consumers.each_last(one, revision)})
        return View(tuple(sorted(found.values(), key=lambda message: message.sequence)), revision)

    async def each_last(self, filter_subject: str, *, at_least: int = 0) -> AsyncGenerator[Message]:
        revision = max(at_least, (await self._reader.info()).last_sequence)
        async with aclosing(self._consumers.each_last(filter_subject, revision)) as messages:
            async for message in messages:
                yield message

    @asynccontextmanager
    async def follow(
        self, filter_subject: str, *, from_sequence: int, seen: Message | None = None
    ) -> AsyncGenerator[AsyncIterator[Message]]:
        known = await self._reader.info()
        if known.last_sequence < from_sequence - 1:
            raise LogRewound(
                f"The log went backwards: it ends at {known.last_sequence}, and {from_sequence - 1} was seen. "
                "Begin from nothing."
            )
        async with self._consumers.follow(filter_subject, from_sequence, known, seen) as messages:
            yield messages

    async def read(self, filter_subject: str, *, from_sequence: int = 1, up_to: int) -> AsyncGenerator[Message]:
        # For a consumer that begins in the middle the server counts what is pending: it unpacks up to half of the log,
        # under the lock that appends wait for. A few messages are rather asked for one after the other.
        few = await self._few(filter_subject, from_sequence, up_to) if from_sequence > 1 else None
        messages = self._consumers.read(filter_subject, from_sequence, up_to) if few is None else _each(few)
        async for message in messages:
            yield message

    async def earliest(self, filter_subject: str, *, from_sequence: int = 1, written_from: int = 0) -> Message | None:
        if self._may_get:
            try:
                return await self._reader.earliest(filter_subject, from_sequence, written_from)
            except LogRefused:
                self._may_get = False
        info = await self._reader.info()
        messages = self._consumers.read(filter_subject, from_sequence, info.last_sequence, written_from)
        async with aclosing(messages):
            return await anext(messages, None)

    async def as_of(self, filter_subject: str, sequence: int, *, but: Set[str] = frozenset()) -> AsOf:
        if self._may_get:
            try:
                found = await as_of(self._reader, self._few, filter_subject, sequence, but, self._slice_size)
            except LogRefused:
                self._may_get = False
            else:
                if found is not None:
                    return found
        lasts = [one for one in (await self.last_per_subject(filter_subject)).messages if one.subject not in but]
        untold = frozenset(one.subject for one in lasts if one.sequence > sequence)
        return AsOf(messages=tuple(one for one in lasts if one.subject not in untold), untold=untold)

    async def info(self) -> LogInfo:
        return await self._reader.info()

    async def _multi_last(self, filters: Sequence[str], at_least: int) -> View | None:
        try:
            if self._slice_size and not at_least and "*" not in "".join(filters):
                view = await self._reader.last_in_slices(filters, self._slice_size)
                if view is not None:
                    return view
            return await self._reader.multi_last(filters, at_least=at_least)
        except LogRefused:
            self._may_get = False
            return None

    async def _few(self, filter_subject: str, lower: int, upper: int) -> list[Message] | None:
        """What matches from `lower` to `upper`, by gets alone; None when that is more than a few messages, or may not
        be. Asked for from several places at once, since every get takes a round trip."""
        if not self._may_get:
            return None

        async def lane(begin: int, end: int) -> list[Message] | None:
            found: list[Message] = []
            following = begin
            while following <= end:
                message = await self._reader.earliest(filter_subject, following)
                if message is None or message.sequence > end:
                    return found
                found.append(message)
                following = message.sequence + 1
                if len(found) > _FEW:
                    return None
            return found

        try:
            first = await self._reader.earliest(filter_subject, lower)
            if first is None or first.sequence > upper:
                return []
            begins = range(first.sequence, upper + 1, max((upper - first.sequence) // _LANES + 1, 1))
            lanes = await asyncio.gather(*(lane(one, min(one + begins.step - 1, upper)) for one in begins))
        except LogRefused:
            self._may_get = False
            return None
        except LogUnavailable:
            return None
        found = [message for one in lanes for message in one or ()]
        return None if None in lanes else found


async def _each(messages: Iterable[Message]) -> AsyncGenerator[Message]:
    for message in messages:
        yield message
