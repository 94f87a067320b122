"""`ports.EventLog` on JetStream: puts publisher, reader and ordered consumers together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_attempt, wait_fixed

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_ordered import Broken, OrderedConsumers
from tapio_shared.adapters.nats_publisher import Publisher
from tapio_shared.adapters.nats_reader import Reader
from tapio_shared.errors import LogRewound, LogUnavailable, RevisionConflict
from tapio_shared.keys import LOG_STREAM
from tapio_shared.ports import Appended, LogInfo, Message, NewMessage, View

_TRIES = 20
_AGAIN = 0.1


class NatsEventLog:
    """The log on one connection. Safe for many concurrent callers."""

    def __init__(self, connection: NatsConnection, stream: str = LOG_STREAM, *, may_get: bool = True) -> None:
        """Without `may_get` everything is read by consumers: who may read one namespace may ask for no single message,
        since a direct get names no subject that a permission could be about."""
        self._connection, self._may_get = connection, may_get
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
        view = await self._reader.multi_last(filters, at_least=at_least) if self._may_get else None
        if view is not None:
            return view
        revision = max(at_least, (await self._reader.info()).last_sequence)
        found: dict[str, Message] = {}
        for one in filters:
            found.update({message.subject: message for message in await self._read_by_consumer(one, revision)})
        return View(tuple(sorted(found.values(), key=lambda message: message.sequence)), revision)

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

    def read(self, filter_subject: str, *, from_sequence: int = 1, up_to: int) -> AsyncIterator[Message]:
        return self._consumers.read(filter_subject, from_sequence, up_to)

    async def info(self) -> LogInfo:
        return await self._reader.info()

    async def _read_by_consumer(self, filter_subject: str, revision: int) -> list[Message]:
        """The last messages of one filter, complete as of `revision`; read anew when the consumer breaks."""
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(Broken), wait=wait_fixed(_AGAIN), stop=stop_after_attempt(_TRIES)
            ):
                with attempt:
                    async with self._consumers.open(filter_subject, last_per_subject=True) as consumer:
                        return await consumer.read_up_to(revision)
        except RetryError as err:
            raise LogUnavailable(
                f"No consumer on {filter_subject} got as far as sequence {revision}: {err.last_attempt.exception()}."
            ) from err
        raise AssertionError("AsyncRetrying ends by return or by error.")
