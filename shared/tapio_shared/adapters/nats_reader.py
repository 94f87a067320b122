"""Reading last messages: one by the leader, a few by one direct get, what a lagging replica can't tell by the leader.

Any replica may answer a direct get. How far it was shows in `Nats-UpTo-Sequence`; an answer without messages carries no
sequence at all and proves nothing. Never `up_to_seq`: it blocks publishing (docs/measurements/jetstream.md). A replica
holds the beginning of what the leader has, so what it answers to "the first from here on" is true, if it answers.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import structlog
from nats.aio.msg import Msg

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_errors import CLIENT_ERRORS, NO_MESSAGE, JetStreamError
from tapio_shared.adapters.nats_publisher import EXPECTED_LAST, EXPECTED_SUBJECT, MESSAGE_ID, OWN_HEADERS
from tapio_shared.errors import LogRefused, LogUnavailable
from tapio_shared.keys import LOG_STREAM
from tapio_shared.ports import LogInfo, Message, View

log = structlog.get_logger(__name__)

MOST_SUBJECTS = 1_024
PARTITIONS_METADATA = "tapio.partitions"
_CONNECT_TIMEOUT = 5.0
_TIMEOUT = 2.0
"""Seconds for a direct get: any replica may have been chosen, also one that has just died, so the leader is next."""
_TRIES = 3
"""Direct gets before the leader is asked: replicas take turns in answering, most lag by milliseconds."""
_AGAIN = 0.02
_CONCURRENT_GETS = 64


class _StreamConfig(msgspec.Struct, frozen=True):
    max_bytes: int = -1
    max_age: int = 0
    metadata: dict[str, str] = {}


class _StreamState(msgspec.Struct, frozen=True):
    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    subjects: dict[str, int] | None = None


class _StreamInfo(msgspec.Struct, frozen=True):
    created: str
    config: _StreamConfig
    state: _StreamState


class _StoredMessage(msgspec.Struct, frozen=True):
    subject: str
    seq: int
    time: str
    data: str = ""
    hdrs: str = ""


class _MessageAnswer(msgspec.Struct, frozen=True):
    message: _StoredMessage


@dataclass(slots=True)
class _Got:
    """What a direct get brought: `complete` is False when the answer was cut short."""

    messages: list[Message]
    revision: int = 0
    complete: bool = True


class Reader:
    """Reads last messages and the state of one stream."""

    def __init__(self, connection: NatsConnection, stream: str = LOG_STREAM) -> None:
        self._connection, self._stream = connection, stream

    async def info(self) -> LogInfo:
        """The stream as its leader knows it."""
        info = await self._connection.api(f"STREAM.INFO.{self._stream}", None, _StreamInfo)
        return LogInfo(
            created_at=info.created,
            first_sequence=info.state.first_seq,
            last_sequence=info.state.last_seq,
            messages=info.state.messages,
            bytes=info.state.bytes,
            max_bytes=info.config.max_bytes,
            max_age=info.config.max_age / 1e9,
            partitions=int(info.config.metadata.get(PARTITIONS_METADATA, "0")),
        )

    async def last(self, subject: str) -> Message | None:
        """The last message of `subject`, from the leader."""
        found = await self._stored({"last_by_subj": subject})
        return None if found is None else _message(found)

    async def at(self, sequence: int) -> Message | None:
        """The message that stands at `sequence`, from the leader; None where the log holds none, as at 0."""
        found = await self._stored({"seq": sequence}) if sequence else None
        return None if found is None else _message(found)

    async def last_with_id(self, subject: str, message_id: str) -> int | None:
        """Sequence of the last message of `subject` if that was appended with `message_id`."""
        found = await self._stored({"last_by_subj": subject})
        if found is None or _all_headers(found).get(MESSAGE_ID) != message_id:
            return None
        return found.seq

    async def earliest(self, filter_subject: str, from_sequence: int, written_from: int = 0) -> Message | None:
        """See `ports.BrowsableLog.earliest`. What a replica does not have, which may lag, the leader is asked for."""
        if written_from:
            request: dict[str, object] = {"start_time": timestamp(written_from), "next_by_subj": filter_subject}
        else:
            request = {"seq": max(from_sequence, 1), "next_by_subj": filter_subject}
        subject = f"$JS.API.DIRECT.GET.{self._stream}"
        try:
            answer = await self._connection.request(subject, msgspec.json.encode(request), timeout=_TIMEOUT)
        except LogUnavailable as err:
            log.info("direct get failed; the leader is asked", stream=self._stream, reason=str(err))
        else:
            headers = answer.headers or {}
            if "Status" not in headers:
                return _direct_message(headers, answer.data)
        found = await self._stored(request)
        return None if found is None else _message(found)

    async def at_any(self, sequence: int) -> Message | None:
        """The message that stands at `sequence`, from any replica; None where the log holds none."""
        request = msgspec.json.encode({"seq": sequence})
        try:
            answer = await self._connection.request(f"$JS.API.DIRECT.GET.{self._stream}", request, timeout=_TIMEOUT)
        except LogUnavailable:
            return await self.at(sequence)
        headers = answer.headers or {}
        return await self.at(sequence) if "Status" in headers else _direct_message(headers, answer.data)

    async def multi_last(self, filters: Sequence[str], *, at_least: int) -> View | None:
        """The last message per subject; None when they are too many, or too large, for this way of reading."""
        for _ in range(_TRIES):
            try:
                got = await self._direct_get(filters)
            except LogUnavailable as err:
                log.info("direct get failed; the leader is asked", stream=self._stream, reason=str(err))
                break
            if not got.complete:
                return None
            if not got.messages:
                break
            if got.revision >= at_least:
                return View(tuple(sorted(got.messages, key=lambda one: one.sequence)), got.revision)
            await asyncio.sleep(_AGAIN)
        return await self._ask_leader(filters, at_least)

    async def last_in_slices(self, filters: Sequence[str], size: int) -> View | None:
        """The same, so many subjects at a time (`last_of_each`). None when something came meanwhile, so that they don't
        go together."""
        subjects, revision = await self.subjects(filters)
        if len(subjects) > MOST_SUBJECTS:
            return None
        found = await self.last_of_each(sorted(subjects), size, at_least=revision)
        if len(found) < len(subjects) or any(one.sequence > revision for one in found):
            return None
        return View(tuple(sorted(found, key=lambda one: one.sequence)), revision)

    async def last_of_each(self, subjects: Sequence[str], size: int, *, at_least: int) -> list[Message]:
        """The last message of each, of `size` subjects at a time (0: of all), as of `at_least` or later: appends wait
        for as long as the server looks for those of one request, which lie in as many blocks. Fewer where messages are
        too large to be had in this way."""
        found: list[Message] = []
        step = size or MOST_SUBJECTS
        for begin in range(0, len(subjects), step):
            view = await self.multi_last(subjects[begin : begin + step], at_least=at_least)
            found += () if view is None else view.messages
        return found

    async def subjects(self, filters: Sequence[str]) -> tuple[dict[str, int], int]:
        """Every subject that matches with how many messages it has, and a sequence as of which that is so, from the
        leader."""
        subjects: dict[str, int] = {}
        revision: int | None = None
        for one in filters:
            request = {"subjects_filter": one}
            state = (await self._connection.api(f"STREAM.INFO.{self._stream}", request, _StreamInfo)).state
            revision = state.last_seq if revision is None else min(revision, state.last_seq)
            subjects.update(state.subjects or {})
        return subjects, revision or 0

    async def _ask_leader(self, filters: Sequence[str], at_least: int) -> View | None:
        """The same from the leader, one request per subject."""
        subjects, revision = await self.subjects(filters)
        if len(subjects) > MOST_SUBJECTS:
            return None
        if revision < at_least:
            raise LogUnavailable(
                f"The leader of {self._stream} is at sequence {revision}, and {at_least} was asked for. Ask again."
            )
        slots = asyncio.Semaphore(_CONCURRENT_GETS)

        async def get(subject: str) -> Message | None:
            async with slots:
                return await self.last(subject)

        found = [message for message in await asyncio.gather(*map(get, subjects)) if message is not None]
        return View(tuple(sorted(found, key=lambda one: one.sequence)), revision)

    async def _stored(self, request: Mapping[str, object]) -> _StoredMessage | None:
        try:
            answer = await self._connection.api(f"STREAM.MSG.GET.{self._stream}", request, _MessageAnswer)
        except JetStreamError as err:
            if err.err_code == NO_MESSAGE:
                return None
            raise
        return answer.message

    async def _direct_get(self, filters: Sequence[str]) -> _Got:
        inbox = self._connection.client.new_inbox()
        got = _Got([])
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def received(message: Msg) -> None:
            if done.done():
                return
            try:
                ended = self._receive(message, got)
            except LogUnavailable as err:
                done.set_exception(err)
                return
            if ended:
                done.set_result(None)

        asked = f"$JS.API.DIRECT.GET.{self._stream}"

        def refused(subject: str, error: LogRefused) -> None:
            if subject == asked.lower() and not done.done():
                done.set_exception(error)

        await self._connection.until_connected(_CONNECT_TIMEOUT)
        forget = self._connection.on_refusal(refused)
        subscription = await self._connection.subscribe(inbox, received)
        try:
            request = msgspec.json.encode({"multi_last": list(filters), "batch": MOST_SUBJECTS})
            await self._connection.send(asked, request, reply=inbox)
            async with asyncio.timeout(_TIMEOUT):
                await done
        except TimeoutError as err:
            raise LogUnavailable(f"No replica of {self._stream} answered a direct get within {_TIMEOUT:g} s.") from err
        finally:
            forget()
            with suppress(*CLIENT_ERRORS):
                await subscription.unsubscribe()
        return got

    def _receive(self, message: Msg, got: _Got) -> bool:
        """Take one message of the answer to a direct get; True when it was the last."""
        headers = message.headers or {}
        status = headers.get("Status", "")
        previous = got.messages[-1].sequence if got.messages else 0
        if status in {"", "204"} and int(headers.get("Nats-Last-Sequence", "0")) != previous:
            raise LogUnavailable(f"Part of the answer to a direct get on {self._stream} was lost. Ask again.")
        match status:
            case "":
                got.messages.append(_direct_message(headers, message.data))
                return False
            case "204":
                got.revision = int(headers.get("Nats-UpTo-Sequence", "0"))
                # The server cuts an answer at its max_pending (64 MB by default) without calling that an error.
                got.complete = int(headers.get("Nats-Num-Pending", "0")) == 0
                return True
            case "404":
                got.messages.clear()
                return True
            case "413":
                got.complete = False
                return True
            case _:
                text = headers.get("Description", "")
                raise LogUnavailable(f"A direct get on {self._stream} failed: {status} {text}. Ask again.")


def own_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """`headers` without JetStream's own."""
    return {name: value for name, value in (headers or {}).items() if not name.startswith(OWN_HEADERS)}


def timestamp(milliseconds: int) -> str:
    """An instant as JetStream's requests have it (RFC 3339)."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _direct_message(headers: Mapping[str, str], data: bytes) -> Message:
    return Message(
        subject=headers["Nats-Subject"],
        sequence=int(headers["Nats-Sequence"]),
        data=data,
        headers=own_headers(headers),
        written_at=_milliseconds(headers["Nats-Time-Stamp"]),
        previous=_previous(headers),
    )


def _message(found: _StoredMessage) -> Message:
    headers = _all_headers(found)
    return Message(
        subject=found.subject,
        sequence=found.seq,
        data=base64.b64decode(found.data),
        headers=own_headers(headers),
        written_at=_milliseconds(found.time),
        previous=_previous(headers),
    )


def _previous(headers: Mapping[str, str]) -> int | None:
    """What was the last message of its subject when this one was taken: the server has compared that."""
    expected = headers.get(EXPECTED_LAST)
    return None if expected is None or EXPECTED_SUBJECT in headers else int(expected)


def _all_headers(found: _StoredMessage) -> dict[str, str]:
    """Headers as the server stores them: a version line, then `Name: value` lines."""
    headers: dict[str, str] = {}
    for line in base64.b64decode(found.hdrs).decode("utf-8", "replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name] = value.strip()
    return headers


def _milliseconds(stamp: str) -> int:
    """An RFC 3339 time stamp with nanoseconds, as milliseconds since the epoch."""
    seconds, _, fraction = stamp.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{seconds}Z").timestamp()) * 1000 + int(fraction.ljust(3, "0")[:3] or "0")
