"""Appending with acknowledgements: single messages and atomic batches, a thousand in flight.

Tried again here is only what JetStream refused without storing anything. A lost answer is not: whether the message is
in the log is then unknown, and only the caller knows how to find out. Headers:
https://docs.nats.io/nats-concepts/jetstream/headers, batches: ADR-50, both as tried in docs/measurements/jetstream.md.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import msgspec
from nats.aio.msg import Msg
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from tapio_shared.adapters.batches import check_batch, check_size
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_errors import (
    NOTHING_APPENDED_RETRY,
    WRONG_LAST_SEQUENCE,
    ApiFault,
    error_of_fault,
)
from tapio_shared.codec import decode_as
from tapio_shared.errors import LogRefused, LogUnavailable, RevisionConflict, Undecodable
from tapio_shared.ports import Appended, NewMessage

IN_FLIGHT = 1_000
TIMEOUT = 5.0
OWN_HEADERS = "Nats-"
"""Headers with this prefix are JetStream's own: not part of a message as ports know it."""
MESSAGE_ID = "Nats-Msg-Id"
EXPECTED_LAST = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"


class NothingAppended(LogUnavailable):
    """JetStream certainly did not store the message; it may in a moment."""


class _Ack(msgspec.Struct, frozen=True):
    error: ApiFault | None = None
    seq: int = 0
    duplicate: bool = False


class Publisher:
    """Appends messages to whatever stream listens on their subjects."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._name = connection.client.new_inbox().rpartition(".")[2]
        self._batches = itertools.count(1)

    async def append(self, message: NewMessage) -> Appended:
        """Append one message; see `ports.EventLog.append`."""
        check_size(message, self._connection.client.max_payload)
        async with self._slots:
            return await _patiently(lambda: self._append(message))

    async def append_batch(self, messages: Sequence[NewMessage]) -> Appended:
        """Append `messages` atomically; see `ports.EventLog.append_batch`."""
        check_batch(messages)
        if len(messages) == 1:
            return await self.append(messages[0])
        for message in messages:
            check_size(message, self._connection.client.max_payload)
        async with self._slots:
            return await _patiently(lambda: self._append_batch(messages))

    async def _append(self, message: NewMessage) -> Appended:
        answer = await self._connection.request(
            message.subject, message.data, headers=_headers(message) or None, timeout=TIMEOUT
        )
        return _appended(answer, message)

    async def _append_batch(self, messages: Sequence[NewMessage]) -> Appended:
        subjects = {message.subject.lower() for message in messages}
        refused: list[LogRefused] = []

        def note(subject: str, error: LogRefused) -> None:
            if subject in subjects:
                refused.append(error)

        forget = self._connection.on_refusal(note)
        try:
            return await self._send_batch(messages)
        except NothingAppended as err:
            # A message that was not permitted is missing from the batch, which then is incomplete for ever.
            if refused:
                raise refused[0] from err
            raise
        finally:
            forget()

    async def _send_batch(self, messages: Sequence[NewMessage]) -> Appended:
        await self._connection.until_connected(TIMEOUT)
        batch = {"Nats-Batch-Id": f"{self._name}-{next(self._batches)}"}
        for number, message in enumerate(messages[:-1], start=1):
            headers = _headers(message) | batch | {"Nats-Batch-Sequence": str(number)}
            await self._connection.send(message.subject, message.data, headers=headers)
        last = messages[-1]
        headers = _headers(last) | batch | {"Nats-Batch-Sequence": str(len(messages)), "Nats-Batch-Commit": "1"}
        answer = await self._connection.request(last.subject, last.data, headers=headers, timeout=TIMEOUT)
        # The answer does not say whose expectation failed. One fence per batch is the rule here: the first is named.
        return _appended(answer, next((one for one in messages if one.expected_last is not None), last))


async def _patiently(append: Callable[[], Awaitable[Appended]]) -> Appended:
    """`append`, again and again while JetStream says that nothing was stored; with a new batch id each time."""
    with suppress(NothingAppended):
        return await append()  # Nearly always: a retry loop around it costs three times as much as the append itself.
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(NothingAppended),
        wait=wait_random_exponential(multiplier=0.005, max=0.25),
        stop=stop_after_delay(TIMEOUT),
        reraise=True,
    ):
        with attempt:
            return await append()
    raise AssertionError("AsyncRetrying ends by return or by error.")


def _headers(message: NewMessage) -> dict[str, str]:
    headers = dict(message.headers)
    if message.message_id is not None:
        headers[MESSAGE_ID] = message.message_id
    if message.expected_last is not None:
        headers[EXPECTED_LAST] = str(message.expected_last)
        if message.expected_subject is not None:
            headers[EXPECTED_SUBJECT] = message.expected_subject
    return headers


def _appended(answer: Msg, message: NewMessage) -> Appended:
    status = (answer.headers or {}).get("Status", "")
    if status:
        raise NothingAppended(f"No stream takes messages on {message.subject} at the moment (status {status}).")
    try:
        ack = decode_as(_Ack, answer.data)
    except Undecodable as err:
        raise LogUnavailable(f"The answer to an append to {message.subject} can't be read: {err}") from err
    if ack.error is None:
        return Appended(ack.seq, ack.duplicate)
    if ack.error.err_code == WRONG_LAST_SEQUENCE:
        last = ack.error.description.rpartition(" ")[2]
        raise RevisionConflict(
            message.expected_subject or message.subject,
            message.expected_last or 0,
            int(last) if last.isdigit() else None,
        )
    if ack.error.err_code in NOTHING_APPENDED_RETRY:
        raise NothingAppended(
            f"JetStream has something else under way for {message.subject}: {ack.error.description} "
            f"(error {ack.error.err_code}). Try again."
        )
    raise error_of_fault(ack.error)
