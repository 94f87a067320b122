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

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_errors import CLIENT_ERRORS
from tapio_shared.adapters.nats_reader import Reader, own_headers, timestamp
from tapio_shared.errors import LogMissing, LogRefused, LogRewound, LogUnavailable, RetryableError
from tapio_shared.keys import LOG_STREAM
from tapio_shared.ports import LogInfo, Message

log = structlog.get_logger(__name__)

HEARTBEAT = 2.0
SILENCE = 3 * HEARTBEAT
_QUICK_HEARTBEAT = 0.1
"""The server's least, for consumers that are read to their end: a heartbeat says that it is reached."""
_IDLE_HEARTBEATS = 3
_QUEUED = 1_024
"""Messages beyond these wait in nats-py, bounded by what flow control lets the server send (32 MB)."""
_RETRY = 0.25
_TRIES = 20
_AGAIN = 0.1
"""Seconds between tries of reading what is last, by a consumer whose replica lags."""
_INACTIVE = 30.0


class _ConsumerInfo(msgspec.Struct, frozen=True):
    name: str


class _Sequences(msgspec.Struct, frozen=True):
    first_seq: int = 0
    last_seq: int = 0


class _CreatedInfo(msgspec.Struct, frozen=True):
    created: str
    state: _Sequences


@dataclass(slots=True)
class Delivery:
    """One message, and its number among those that this consumer delivered."""

    message: Message
    number: int


class Broken(Exception):
    """The consumer must be made anew."""


class Consumer:
    """One ephemeral push consumer, as `OrderedConsumers.open` makes it."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self._queue: asyncio.Queue[Msg] = asyncio.Queue(_QUEUED)
        self._received = self._reached = 0
        self._flow_controlled = False
        self._broken = ""
        self._refused: LogRefused | None = None
        self._woken = asyncio.Event()

    def break_off(self, why: str) -> None:
        """Have `next` raise `Broken`, at once."""
        self._broken = why
        self._woken.set()

    def refuse(self, error: LogRefused) -> None:
        """Have `next` raise `error`, at once."""
        self._refused = error
        self._woken.set()

    async def take(self, message: Msg) -> None:
        """Queue `message`, waiting for room: flow control, which `next` answers, then holds the server back."""
        await self._queue.put(message)
        self._woken.set()

    async def next(self) -> Delivery:
        """The next delivery, however long it takes, as long as heartbeats come. `Broken` after a gap or silence."""
        while True:
            delivery = await self._take_next()
            if delivery is not None:
                return delivery

    async def up_to(self, revision: int) -> AsyncGenerator[Message]:
        """Everything delivered until all up to `revision` has been. `Broken` when its replica is not that far.

        Only heartbeats tell how far a consumer has looked: CONSUMER.INFO tells the sequence of its last delivery.
        """
        idle = 0
        while self._reached < revision:
            delivery = await self._take_next()
            if delivery is not None:
                idle = 0
                if delivery.message.sequence <= revision:
                    yield delivery.message
                continue
            idle += 0 if self._flow_controlled else 1
            if idle > _IDLE_HEARTBEATS and self._reached < revision:
                raise Broken(f"its replica is at sequence {self._reached}, not yet at {revision}")

    async def _take_next(self) -> Delivery | None:
        """One message: a delivery, or None for a heartbeat or flow control."""
        while self._queue.empty() or self._refused is not None or self._broken:
            if self._refused is not None:
                raise self._refused
            if self._broken:
                raise Broken(self._broken)
            self._woken.clear()
            try:
                async with asyncio.timeout(SILENCE):
                    await self._woken.wait()
            except TimeoutError as err:
                raise Broken(f"nothing came for {SILENCE:g} s, not even a heartbeat") from err
        message = self._queue.get_nowait()
        if not message.reply.startswith("$JS.ACK"):
            await self._control(message)
            return None
        delivery = _delivery(message)
        if delivery.number != self._received + 1:
            raise Broken(f"message {delivery.number} arrived instead of {self._received + 1}")
        self._received += 1
        # True for `last_per_subject` too: that delivers in the order of sequences.
        self._reached = delivery.message.sequence
        return delivery

    async def _control(self, message: Msg) -> None:
        """Answer flow control, once everything before it was taken; notice what was lost before a heartbeat."""
        headers = message.headers or {}
        reply = message.reply or headers.get("Nats-Consumer-Stalled", "")
        self._flow_controlled = reply != ""
        if reply:
            await self._connection.send(reply, b"")
        sent = int(headers.get("Nats-Last-Consumer", "0"))
        if sent > self._received:
            raise Broken(f"{sent} messages were sent and {self._received} arrived")
        self._reached = max(self._reached, int(headers.get("Nats-Last-Stream", "0")))


class OrderedConsumers:
    """Creates and follows ephemeral push consumers of one stream."""

    def __init__(self, connection: NatsConnection, stream: str = LOG_STREAM) -> None:
        self._connection, self._stream = connection, stream
        self._reader = Reader(connection, stream)

    @asynccontextmanager
    async def open(
        self,
        filter_subject: str,
        *,
        from_sequence: int = 0,
        written_from: int = 0,
        last_per_subject: bool = False,
        heartbeat: float = HEARTBEAT,
    ) -> AsyncGenerator[Consumer]:
        """A new consumer; deleted on the way out. Made again by the caller when it is `Broken`. It begins at
        `from_sequence`, or where something was written at `written_from` (milliseconds) or later."""
        deliver = self._connection.client.new_inbox()
        name = f"ordered-{deliver.rpartition('.')[2]}"
        consumer = Consumer(self._connection)

        def refused(subject: str, error: LogRefused) -> None:
            if subject.startswith(deliver.lower()):
                consumer.refuse(error)

        forget = [
            self._connection.on_reconnect(lambda: consumer.break_off("the connection was made anew")),
            self._connection.on_refusal(refused),
        ]
        subscription = None
        try:
            subscription = await self._connection.subscribe(deliver, consumer.take)
            await self._connection.api(
                f"CONSUMER.CREATE.{self._stream}.{name}.{filter_subject}",
                {
                    "stream_name": self._stream,
                    "config": _config(name, deliver, filter_subject, heartbeat)
                    | _beginning(from_sequence, written_from, last_per_subject=last_per_subject),
                },
                _ConsumerInfo,
            )
            yield consumer
        finally:
            for one in forget:
                one()
            if subscription is not None:
                with suppress(*CLIENT_ERRORS):
                    await subscription.unsubscribe()
            with suppress(RetryableError):
                await self._connection.send(f"$JS.API.CONSUMER.DELETE.{self._stream}.{name}", b"")

    def follow(
        self, filter_subject: str, from_sequence: int, known: LogInfo, seen: Message | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        """See `ports.EventLog.follow`; `known` is the stream as it was when following was asked for."""
        return aclosing(self._follow(filter_subject, from_sequence, known, seen))

    async def _follow(
        self, filter_subject: str, from_sequence: int, known: LogInfo, seen: Message | None
    ) -> AsyncGenerator[Message]:
        following = from_sequence
        while True:
            try:
                async with self.open(filter_subject, from_sequence=following) as consumer:
                    await self._same_log(known, following - 1, seen)
                    seen = seen or await self._reader.at(known.last_sequence)
                    while True:
                        delivery = await consumer.next()
                        # On a replica that lags, a consumer begins at the replica's end, before what was asked for.
                        if delivery.message.sequence >= following:
                            following, seen = delivery.message.sequence + 1, delivery.message
                            yield delivery.message
            except Broken as err:
                log.info("consumer made anew", filter=filter_subject, sequence=following, reason=str(err))
            except (LogMissing, LogRewound):
                raise
            except RetryableError as err:
                log.warning("consumer not made", filter=filter_subject, error=str(err))
                await asyncio.sleep(_RETRY)

    async def each_last(self, filter_subject: str, revision: int) -> AsyncGenerator[Message]:
        """See `ports.EventLog.each_last`; complete as of `revision`."""
        why = ""
        for _ in range(_TRIES):
            try:
                async with self.open(filter_subject, last_per_subject=True) as consumer:
                    async for message in consumer.up_to(revision):
                        yield message
                    return
            except Broken as err:
                why = str(err)
                log.info("consumer made anew", filter=filter_subject, sequence=revision, reason=why)
                await asyncio.sleep(_AGAIN)
        raise LogUnavailable(f"No consumer on {filter_subject} got as far as sequence {revision}: {why}.")

    async def read(
        self, filter_subject: str, from_sequence: int, revision: int, written_from: int = 0
    ) -> AsyncGenerator[Message]:
        """See `ports.EventLog.read`; with `written_from` it begins there, as `open` does."""
        following = from_sequence
        while following <= revision:
            try:
                async with self.open(
                    filter_subject,
                    from_sequence=following,
                    written_from=written_from,
                    heartbeat=_QUICK_HEARTBEAT,
                ) as consumer:
                    async for message in consumer.up_to(revision):
                        if message.sequence >= following:
                            following = message.sequence + 1
                            yield message
                    return
            except Broken as err:
                log.info("consumer made anew", filter=filter_subject, sequence=following, reason=str(err))

    async def _same_log(self, known: LogInfo, up_to: int, seen: Message | None) -> None:
        """Raise LogRewound for another log, a shorter one, or one in which another message stands where `seen` stood.

        The last is how a log looks that went back and has grown again meanwhile: its length says nothing.
        """
        there = None if seen is None else await self._reader.at(seen.sequence)
        info = await self._connection.api(f"STREAM.INFO.{self._stream}", None, _CreatedInfo)
        if info.created != known.created_at:
            raise LogRewound(
                f"The log went backwards: stream {self._stream} was made anew at {info.created}. Begin from nothing."
            )
        newest = max(up_to, known.last_sequence)
        if info.state.last_seq < newest:
            raise LogRewound(
                f"The log went backwards: it ends at {info.state.last_seq}, and {newest} was seen. Begin from nothing."
            )
        if seen is None or seen.sequence < info.state.first_seq:  # dropped in the order of age
            return
        if there is None or (there.subject, there.written_at) != (seen.subject, seen.written_at):
            raise LogRewound(
                f"The log went backwards and has grown again: what stands at {seen.sequence} is not what was seen "
                "there. Begin from nothing."
            )


def _config(name: str, deliver: str, filter_subject: str, heartbeat: float) -> dict[str, object]:
    return {
        "name": name,
        "deliver_subject": deliver,
        "filter_subject": filter_subject,
        "ack_policy": "none",
        "max_deliver": 1,
        "flow_control": True,
        "idle_heartbeat": int(heartbeat * 1e9),
        "inactive_threshold": int(_INACTIVE * 1e9),
        "mem_storage": True,
        "num_replicas": 1,
    }


def _beginning(from_sequence: int, written_from: int, *, last_per_subject: bool) -> dict[str, object]:
    """With which message a consumer begins."""
    if last_per_subject:
        return {"deliver_policy": "last_per_subject", "idle_heartbeat": int(_QUICK_HEARTBEAT * 1e9)}
    if written_from:
        return {"deliver_policy": "by_start_time", "opt_start_time": timestamp(written_from)}
    return {"deliver_policy": "by_start_sequence", "opt_start_seq": max(from_sequence, 1)}


def _delivery(message: Msg) -> Delivery:
    """Parse `$JS.ACK[.<domain>.<account>].<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.…`."""
    tokens = message.reply.split(".")
    at = 5 if len(tokens) <= 9 else 7
    stream_sequence, number, stamp = map(int, tokens[at : at + 3])
    return Delivery(
        Message(
            subject=message.subject,
            sequence=stream_sequence,
            data=message.data,
            headers=own_headers(message.headers),
            written_at=stamp // 1_000_000,
        ),
        number,
    )
