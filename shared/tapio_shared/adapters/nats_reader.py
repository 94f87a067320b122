"""Reading last messages: one by the leader, one key by batched direct get, whole partitions by a consumer.

A lagging replica may answer a direct get; it shows in `Nats-UpTo-Sequence`, and then the stream's leader decides.
Never `up_to_seq` (it blocks publishing; see ../shared/reference/jetstream.md).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from nats.aio.msg import Msg

from tapio_shared.adapters.nats_connection import JetStreamError, NatsConnection, within
from tapio_shared.errors import LogUnavailable
from tapio_shared.keys import LOG_STREAM
from tapio_shared.ports import LogInfo, Message, View

_NOT_FOUND = 10037
_MOST_SUBJECTS = 1_024
_TIMEOUT = 5.0
_RESERVED = "Nats-"
PARTITIONS_METADATA = "tapio.partitions"


class _StreamConfig(msgspec.Struct, frozen=True):
    max_bytes: int = -1
    max_age: int = 0
    metadata: dict[str, str] = {}


class _StreamState(msgspec.Struct, frozen=True):
    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    subjects: dict[str, int] = {}


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


class Reader:
    """Reads `TAPIO_LOG`."""

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
        request = {"last_by_subj": subject}
        try:
            answer = await self._connection.api(f"STREAM.MSG.GET.{self._stream}", request, _MessageAnswer)
        except JetStreamError as err:
            if err.err_code == _NOT_FOUND:
                return None
            raise
        found = answer.message
        return Message(
            subject=found.subject,
            sequence=found.seq,
            data=base64.b64decode(found.data),
            headers=_stored_headers(base64.b64decode(found.hdrs)) if found.hdrs else {},
            written_at=_milliseconds(found.time),
        )

    async def multi_last(self, filters: Sequence[str], *, at_least: int) -> View | None:
        """The last message per subject by direct get; None when there are too many subjects for one answer."""
        for _ in range(20):
            before = await self.info() if at_least == 0 else None
            answer = await self._direct_get(filters)
            if answer is None:
                return None
            messages, revision = answer
            if revision >= at_least and (messages or revision):
                return View(messages, revision)
            if not messages:
                leader = await self._connection.api(
                    f"STREAM.INFO.{self._stream}", {"subjects_filter": filters[0]}, _StreamInfo
                )
                if not leader.state.subjects:
                    return View((), leader.state.last_seq if before is None else before.last_sequence)
            await asyncio.sleep(0.05)
        raise LogUnavailable(f"No replica of {self._stream} has caught up with sequence {at_least}; ask again.")

    async def _direct_get(self, filters: Sequence[str]) -> tuple[tuple[Message, ...], int] | None:
        client = self._connection.client
        inbox = client.new_inbox()
        found: list[Message] = []
        done: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

        async def received(message: Msg) -> None:
            if done.done():
                return
            headers = message.headers or {}
            status = headers.get("Status", "")
            if status == "204":
                done.set_result(int(headers.get("Nats-UpTo-Sequence", "0")))
            elif status == "404":
                done.set_result(0)
            elif status == "413":
                done.set_result(None)
            elif status:
                text = headers.get("Description", "")
                done.set_exception(LogUnavailable(f"A direct get on {self._stream} failed: {status} {text}."))
            else:
                found.append(_direct_message(headers, message.data))

        subscription = await self._connection.subscribe(inbox, received)
        try:
            request = msgspec.json.encode({"multi_last": list(filters), "batch": _MOST_SUBJECTS})
            await self._connection.send(f"$JS.API.DIRECT.GET.{self._stream}", request, reply=inbox)
            revision = await within(_TIMEOUT, done, f"a direct get on {self._stream}")
        finally:
            if not client.is_closed:
                await subscription.unsubscribe()
        return None if revision is None else (tuple(sorted(found, key=lambda one: one.sequence)), revision)


def _direct_message(headers: Mapping[str, str], data: bytes) -> Message:
    own = {name: value for name, value in headers.items() if not name.startswith(_RESERVED)}
    stamp = headers.get("Nats-Time-Stamp", "")
    return Message(
        subject=headers["Nats-Subject"],
        sequence=int(headers["Nats-Sequence"]),
        data=data,
        headers=own,
        written_at=_milliseconds(stamp) if stamp else 0,
    )


def _stored_headers(raw: bytes) -> dict[str, str]:
    """Headers as the server stores them: a version line, then `Name: value` lines."""
    headers: dict[str, str] = {}
    for line in raw.decode("utf-8", "replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon and not name.startswith(_RESERVED):
            headers[name] = value.strip()
    return headers


def _milliseconds(stamp: str) -> int:
    """An RFC 3339 time stamp with nanoseconds, as milliseconds since the epoch."""
    seconds, _, fraction = stamp.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{seconds}Z").timestamp()) * 1000 + int(fraction.ljust(3, "0")[:3] or "0")
