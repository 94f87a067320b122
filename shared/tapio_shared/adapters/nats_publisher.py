"""Publishing with acknowledgements on one reply inbox: many in flight, every one ends.

nats-py's own `publish_async` never resolves on errors and disconnects; here a disconnect fails what is in flight, and
a time-out bounds the rest. Headers: https://docs.nats.io/nats-concepts/jetstream/headers, batches: ADR-50.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import msgspec
from nats.aio.msg import Msg

from tapio_shared.adapters.nats_connection import ApiFault, NatsConnection, raise_fault, within
from tapio_shared.codec import decode_as
from tapio_shared.errors import LogUnavailable, RevisionConflict, Undecodable
from tapio_shared.ports import Appended, NewMessage

_IN_FLIGHT = 1_000
_TIMEOUT = 5.0
_WRONG_SEQUENCE = frozenset({10071, 10070, 10060})


class _Ack(msgspec.Struct, frozen=True):
    error: ApiFault | None = None
    seq: int = 0
    duplicate: bool = False


class Publisher:
    """Appends messages to whatever stream listens on their subjects."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self._inbox = connection.client.new_inbox()
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._numbers = itertools.count(1)
        self._slots = asyncio.Semaphore(_IN_FLIGHT)
        self._started = False
        connection.on_disconnect(self._fail_all)

    async def append(self, message: NewMessage) -> Appended:
        """Append one message; see `ports.EventLog.append`."""
        async with self._slots:
            answer = await self._exchange(message, _headers(message))
        return _appended(answer, message)

    async def append_batch(self, messages: Sequence[NewMessage], batch: str) -> Appended:
        """Append `messages` atomically under the batch id `batch`; see `ports.EventLog.append_batch`."""
        async with self._slots:
            await self._start()
            for number, message in enumerate(messages[:-1], start=1):
                headers = _headers(message) | {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
                await self._connection.send(message.subject, message.data, headers=headers)
            last = messages[-1]
            commit = {
                "Nats-Batch-Id": batch,
                "Nats-Batch-Sequence": str(len(messages)),
                "Nats-Batch-Commit": "1",
            }
            answer = await self._exchange(last, _headers(last) | commit)
        return _appended(answer, next((one for one in messages if one.expected_last is not None), last))

    async def _exchange(self, message: NewMessage, headers: dict[str, str]) -> Msg:
        await self._start()
        reply = f"{self._inbox}.{next(self._numbers)}"
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[reply] = future
        try:
            await self._connection.send(message.subject, message.data, reply=reply, headers=headers or None)
            return await within(_TIMEOUT, future, f"an append to {message.subject}")
        finally:
            self._waiting.pop(reply, None)

    async def _start(self) -> None:
        if not self._started:
            self._started = True
            await self._connection.subscribe(f"{self._inbox}.*", self._received)

    async def _received(self, message: Msg) -> None:
        future = self._waiting.get(message.subject)
        if future is not None and not future.done():
            future.set_result(message)

    def _fail_all(self) -> None:
        for reply, future in list(self._waiting.items()):
            if not future.done():
                future.set_exception(
                    LogUnavailable(f"The connection to NATS broke while an append was under way ({reply}).")
                )


def _headers(message: NewMessage) -> dict[str, str]:
    headers = dict(message.headers)
    if message.message_id is not None:
        headers["Nats-Msg-Id"] = message.message_id
    if message.expected_last is not None:
        headers["Nats-Expected-Last-Subject-Sequence"] = str(message.expected_last)
        if message.expected_subject is not None:
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = message.expected_subject
    return headers


def _appended(answer: Msg, message: NewMessage) -> Appended:
    status = (answer.headers or {}).get("Status", "")
    if status:
        raise LogUnavailable(f"No stream takes messages on {message.subject} at the moment (status {status}).")
    try:
        ack = decode_as(_Ack, answer.data)
    except Undecodable as err:
        raise LogUnavailable(f"The answer to an append to {message.subject} can't be read: {err}") from err
    if ack.error is not None:
        if ack.error.err_code in _WRONG_SEQUENCE:
            tail = ack.error.description.rpartition(" ")[2]
            raise RevisionConflict(
                message.expected_subject or message.subject,
                message.expected_last or 0,
                int(tail) if tail.isdigit() else None,
            )
        if ack.error.err_code == 10158:
            raise LogUnavailable(f"An append to {message.subject} with the same id is under way; ask again.")
        raise_fault(ack.error)
    return Appended(ack.seq, ack.duplicate)
