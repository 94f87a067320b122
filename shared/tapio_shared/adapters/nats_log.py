"""`ports.EventLog` on JetStream."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_ordered import Broken, OrderedConsumer
from tapio_shared.adapters.nats_publisher import Publisher
from tapio_shared.adapters.nats_reader import Reader
from tapio_shared.errors import LogRewound
from tapio_shared.keys import LOG_STREAM
from tapio_shared.ports import Appended, LogInfo, Message, NewMessage, View


class NatsEventLog:
    """The log on one connection. Safe for many concurrent callers."""

    def __init__(self, connection: NatsConnection, stream: str = LOG_STREAM) -> None:
        self._connection = connection
        self._publisher = Publisher(connection)
        self._reader = Reader(connection, stream)
        self._ordered = OrderedConsumer(connection, stream)
        self._batches = itertools.count(1)
        self._name = connection.client.new_inbox().rpartition(".")[2]

    @property
    def is_connected(self) -> bool:
        return self._connection.is_connected

    async def append(self, message: NewMessage) -> Appended:
        return await self._publisher.append(message)

    async def append_batch(self, messages: Sequence[NewMessage]) -> Appended:
        if len(messages) == 1:
            return await self._publisher.append(messages[0])
        return await self._publisher.append_batch(messages, f"{self._name}-{next(self._batches)}")

    async def last(self, subject: str) -> Message | None:
        return await self._reader.last(subject)

    async def last_per_subject(self, *filters: str, at_least: int = 0) -> View:
        view = await self._reader.multi_last(filters, at_least=at_least)
        if view is not None:
            return view
        found: dict[str, Message] = {}
        revision = 0
        for one in filters:
            part = await self._read_by_consumer(one)
            revision = min(revision or part.revision, part.revision)
            found.update({message.subject: message for message in part.messages})
        return View(tuple(sorted(found.values(), key=lambda message: message.sequence)), revision)

    @asynccontextmanager
    async def follow(self, filter_subject: str, *, from_sequence: int) -> AsyncGenerator[AsyncIterator[Message]]:
        known = await self._reader.info()
        if known.last_sequence < from_sequence - 1:
            raise LogRewound(
                f"The log went backwards: it ends at {known.last_sequence}, and {from_sequence - 1} was seen."
            )
        async with self._ordered.follow(filter_subject, from_sequence, known) as messages:
            yield messages

    async def info(self) -> LogInfo:
        return await self._reader.info()

    async def _read_by_consumer(self, filter_subject: str) -> View:
        """All last messages of one filter; read anew when the consumer breaks on the way."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(Broken), wait=wait_fixed(0.1), stop=stop_after_attempt(20), reraise=True
        ):
            with attempt:
                revision = (await self._reader.info()).last_sequence
                messages: dict[str, Message] = {}
                async with self._ordered.open(filter_subject, last_per_subject=True) as (waiting, deliveries):
                    if waiting:
                        async for delivery in deliveries:
                            messages[delivery.message.subject] = delivery.message
                            if delivery.number >= waiting:
                                break
                return View(tuple(sorted(messages.values(), key=lambda message: message.sequence)), revision)
        raise AssertionError("AsyncRetrying ends by return or by error.")
