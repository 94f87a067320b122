"""An ordered consumer: every message from a sequence on, in order, without gaps, whatever breaks in between.

An ephemeral push consumer with heartbeats and flow control; a gap in its numbering, a reconnect or silence makes a new
one from the last message on. A log that was made anew, or that went backwards, is an error: what was folded from it
may no longer be true.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.errors import LogRewound, LogUnavailable
from tapio_shared.keys import LOG_STREAM
from tapio_shared.ports import LogInfo, Message

log = structlog.get_logger(__name__)

_HEARTBEAT = 2.0
_SILENCE = 3 * _HEARTBEAT
_QUEUED = 4_096
_RETRY = 0.25


class _ConsumerInfo(msgspec.Struct, frozen=True):
    name: str
    num_pending: int = 0


@dataclass(slots=True)
class Delivery:
    """One message as a consumer delivered it; `pending` are still to come at that moment."""

    message: Message
    number: int
    pending: int


class Broken(Exception):
    """The consumer must be made anew."""


class OrderedConsumer:
    """Creates and reads ephemeral push consumers of one stream."""

    def __init__(self, connection: NatsConnection, stream: str = LOG_STREAM) -> None:
        self._connection, self._stream = connection, stream
        self._names = iter(range(1, 1 << 62))

    @asynccontextmanager
    async def open(
        self, filter_subject: str, *, from_sequence: int = 0, last_per_subject: bool = False
    ) -> AsyncGenerator[tuple[int, AsyncIterator[Delivery]]]:
        """One consumer: how many messages were waiting when it was made, and its deliveries.

        The iterator raises `Broken` on a gap, on silence and after a reconnect.
        """
        client = self._connection.client
        deliver = client.new_inbox()
        queue: asyncio.Queue[Msg | None] = asyncio.Queue(_QUEUED)
        broken = asyncio.Event()

        async def received(message: Msg) -> None:
            await queue.put(message)

        forget = self._connection.on_reconnect(broken.set)
        subscription: Subscription | None = None
        name = f"ordered-{deliver.rpartition('.')[2]}-{next(self._names)}"
        try:
            subscription = await self._connection.subscribe(deliver, received)
            policy: dict[str, object] = (
                {"deliver_policy": "last_per_subject"}
                if last_per_subject
                else {"deliver_policy": "by_start_sequence", "opt_start_seq": max(from_sequence, 1)}
            )
            config: dict[str, object] = {
                "name": name,
                "deliver_subject": deliver,
                "filter_subject": filter_subject,
                "ack_policy": "none",
                "max_deliver": 1,
                "flow_control": True,
                "idle_heartbeat": int(_HEARTBEAT * 1e9),
                "inactive_threshold": int(30e9),
                "mem_storage": True,
                "num_replicas": 1,
                **policy,
            }
            info = await self._connection.api(
                f"CONSUMER.CREATE.{self._stream}.{name}.{filter_subject}",
                {"stream_name": self._stream, "config": config},
                _ConsumerInfo,
            )
            yield info.num_pending, self._deliveries(queue, broken)
        finally:
            forget()
            if subscription is not None and not client.is_closed:
                with suppress(NatsError, OSError):
                    await subscription.unsubscribe()
                if client.is_connected:
                    with suppress(LogUnavailable):
                        await self._connection.send(f"$JS.API.CONSUMER.DELETE.{self._stream}.{name}", b"")

    async def _deliveries(self, queue: asyncio.Queue[Msg | None], broken: asyncio.Event) -> AsyncIterator[Delivery]:
        expected = 1
        waiting_for_break = asyncio.create_task(broken.wait())
        try:
            while True:
                message = await _next(queue, waiting_for_break)
                status = (message.headers or {}).get("Status") if not message.reply.startswith("$JS.ACK") else None
                if status is not None:
                    await self._control(message)
                    continue
                delivery = _delivery(message)
                if delivery.number != expected:
                    raise Broken(f"message {delivery.number} arrived instead of {expected}")
                expected += 1
                yield delivery
        finally:
            waiting_for_break.cancel()

    async def _control(self, message: Msg) -> None:
        """Answer flow control; heartbeats need no answer unless the consumer says it is stalled."""
        stalled = (message.headers or {}).get("Nats-Consumer-Stalled", "")
        reply = message.reply or stalled
        if reply:
            await self._connection.send(reply, b"")

    def follow(
        self, filter_subject: str, from_sequence: int, known: LogInfo
    ) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        """See `ports.EventLog.follow`; `known` is the stream as it was when following was asked for."""
        return aclosing(self._follow(filter_subject, from_sequence, known))

    async def _follow(self, filter_subject: str, from_sequence: int, known: LogInfo) -> AsyncGenerator[Message]:
        following = from_sequence
        while True:
            try:
                async with self.open(filter_subject, from_sequence=following) as (_, deliveries):
                    await self._same_log(known, following - 1)
                    async for delivery in deliveries:
                        following = delivery.message.sequence + 1
                        yield delivery.message
            except Broken as err:
                log.info("consumer made anew", filter=filter_subject, sequence=following, why=str(err))
            except LogUnavailable as err:
                log.warning("consumer not made", filter=filter_subject, error=str(err))
                await asyncio.sleep(_RETRY)

    async def _same_log(self, known: LogInfo, seen: int) -> None:
        info = await self._connection.api(f"STREAM.INFO.{self._stream}", None, _CreatedInfo)
        if info.created != known.created_at:
            raise LogRewound("The log went backwards: its stream was made anew.")
        newest = max(seen, known.last_sequence)
        if info.state.last_seq < newest:
            raise LogRewound(f"The log went backwards: it ends at {info.state.last_seq}, and {newest} was seen.")


class _LastSequence(msgspec.Struct, frozen=True):
    last_seq: int = 0


class _CreatedInfo(msgspec.Struct, frozen=True):
    created: str
    state: _LastSequence


async def _next(queue: asyncio.Queue[Msg | None], broken: asyncio.Task[bool]) -> Msg:
    """The next message, or `Broken` after silence or a reconnect."""
    if broken.done():
        raise Broken("the connection was made anew")
    if not queue.empty():
        message = queue.get_nowait()
    else:
        getting = asyncio.create_task(queue.get())
        try:
            await asyncio.wait({getting, broken}, timeout=_SILENCE, return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                raise Broken("the connection was made anew" if broken.done() else "the consumer is silent")
            message = getting.result()
        finally:
            if not getting.done():
                getting.cancel()
    if message is None:
        raise Broken("the subscription ended")
    return message


def _delivery(message: Msg) -> Delivery:
    """Parse `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`."""
    tokens = message.reply.split(".")
    at = len(tokens) - 5 if len(tokens) <= 9 else 6
    stream_sequence, number, stamp, pending = (int(token) for token in tokens[at + 1 : at + 5])
    return Delivery(
        Message(
            subject=message.subject,
            sequence=stream_sequence,
            data=message.data,
            headers=message.headers or {},
            written_at=stamp // 1_000_000,
        ),
        number,
        pending,
    )
