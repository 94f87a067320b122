"""Making a stream of recorded messages, with the sequences and time stamps that they had.

An append gives both anew; only a restore keeps them. This speaks the server's own: `$JS.API.STREAM.RESTORE` and the
portable backup format of nats-server 2.15 (`server/archive/archive.go`, `server/stream_backup.go`), which names
messages rather than the files of one version's store. What is restored is a stream like any other. Nothing here
deletes a stream unasked.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

import cramjam
import msgspec
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_errors import ApiAnswer, error_of_fault
from tapio_shared.adapters.nats_reader import Reader
from tapio_shared.adapters.nats_requests import NO_RESPONDERS
from tapio_shared.adapters.provisioning import admitted_config, log_config
from tapio_shared.codec import decode_as, encode
from tapio_shared.errors import InvalidSettings, LogMissing, LogUnavailable
from tapio_shared.json import JsonObject
from tapio_shared.keys import ADMITTED_STREAM, LOG_STREAM
from tapio_shared.ports import LogInfo, Message

MINIMUM_VERSION = (2, 15)
_MAGIC = b"NATSARC1"
_CHUNK = 128 << 10
"""Bytes of a request: what nats-server itself takes for a chunk of a backup."""
_TIMEOUT = 60.0
"""Seconds for one chunk, and for taking the stream into service: the server may write a gigabyte meanwhile."""
_TRIES, _AGAIN = 10, 1.0
_NANOSECONDS = 1_000_000


class _Deliver(msgspec.Struct, frozen=True):
    deliver_subject: str


class _Deleted(msgspec.Struct, frozen=True):
    success: bool


class _Present(msgspec.Struct, frozen=True):
    config: JsonObject


class NatsStreams:
    """Streams of the operator's kind on one connection, as `history.source.Streams` has them."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection

    async def info(self, stream: str) -> LogInfo | None:
        """The stream, or None when there is none of that name."""
        try:
            return await Reader(self._connection, stream).info()
        except LogMissing:
            return None

    async def replace(
        self,
        stream: str,
        former: LogInfo,
        messages: Callable[[], AsyncIterator[Message]],
        *,
        keep_settings: bool = False,
    ) -> int:
        """Restore `messages` as `stream`, which holds the sequences of `former` again; answers how many those were.

        A stream of that name is deleted first. It keeps what it was set to with `keep_settings`; otherwise nothing is
        limited, so that nothing of a history is dropped for its age. While NATS is away it is begun anew, from
        `messages` again: what was deleted is nowhere else by then.
        """
        version = self._connection.client.connected_server_version
        check_version(f"{version.major}.{version.minor}")
        config = _unlimited(stream, former.partitions)
        if keep_settings:
            config = (await self._connection.api(f"STREAM.INFO.{stream}", None, _Present)).config
        count = 0
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(LogUnavailable),
            wait=wait_fixed(_AGAIN),
            stop=stop_after_attempt(_TRIES),
            reraise=True,
        ):
            with attempt:
                if await self.info(stream) is not None:
                    await self._connection.api(f"STREAM.DELETE.{stream}", None, _Deleted)
                count = await self._restore(stream, config, former, messages())
        return count

    async def _restore(self, stream: str, config: JsonObject, former: LogInfo, messages: AsyncIterator[Message]) -> int:
        request: JsonObject = {"config": config, "state": _state(former)}
        deliver = await self._connection.api(f"STREAM.RESTORE.{stream}", request, _Deliver)
        count, waiting = 0, bytearray(_MAGIC + _entry("state.json", encode(_state(former))))
        async for message in messages:
            waiting += _message(message)
            count += 1
            if len(waiting) >= _CHUNK:
                await self._send(deliver.deliver_subject, waiting)
        await self._send(deliver.deliver_subject, waiting + _entry("", b""))
        await self._put(deliver.deliver_subject, b"")
        return count

    async def _send(self, subject: str, waiting: bytearray) -> None:
        """Send what waits, compressed, and leave nothing of it. S2 reads Snappy's frames, each with its beginning."""
        data = bytes(cramjam.snappy.compress(bytes(waiting)))
        waiting.clear()
        for at in range(0, len(data), _CHUNK):
            await self._put(subject, data[at : at + _CHUNK])

    async def _put(self, subject: str, data: bytes) -> None:
        answer = await self._connection.request(subject, data, timeout=_TIMEOUT)
        if (answer.headers or {}).get("Status") == NO_RESPONDERS:
            raise LogUnavailable("The NATS server ended while it was restoring a stream; nothing of that is left.")
        fault = decode_as(ApiAnswer, answer.data).error if answer.data else None
        if fault is not None:
            raise error_of_fault(fault)


def check_version(version: str) -> None:
    """`InvalidSettings` when a server is too old for the portable backup format."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < MINIMUM_VERSION:
        raise InvalidSettings(
            f"nats-server {version} can't restore messages with their sequences: that takes "
            f"{'.'.join(map(str, MINIMUM_VERSION))} or newer. Upgrade it, or import into another."
        )


def _unlimited(stream: str, partitions: int) -> JsonObject:
    if stream == LOG_STREAM:
        return log_config(partitions, 1, -1, 0)
    if stream == ADMITTED_STREAM:
        return {**admitted_config(1, -1), "max_age": 0}
    raise InvalidSettings(f"{stream} is no stream of the operator's; those are {LOG_STREAM} and {ADMITTED_STREAM}.")


def _state(former: LogInfo) -> JsonObject:
    """What the server must know before the first message; the number of consumers is none."""
    return {
        "messages": former.messages,
        "bytes": 0,
        "first_seq": max(former.first_sequence, 1),
        "first_ts": "0001-01-01T00:00:00Z",
        "last_seq": former.last_sequence,
        "last_ts": "0001-01-01T00:00:00Z",
        "consumer_count": 0,
    }


def _message(message: Message) -> bytes:
    return _entry(
        message.subject,
        message.data,
        headers=_headers(message.headers),
        sequence=message.sequence,
        written_at=message.written_at * _NANOSECONDS,
    )


def _entry(name: str, data: bytes, *, headers: bytes = b"", sequence: int = 0, written_at: int = 0) -> bytes:
    """One entry of the format: five numbers, the name, then headers and data. The last one is all zeros."""
    zigzag = written_at << 1 if written_at >= 0 else (-written_at << 1) - 1
    subject = name.encode()
    numbers = (len(subject), zigzag, sequence, len(headers), len(data))
    return b"".join((*map(_varint, numbers), subject, headers, data))


def _headers(headers: Mapping[str, str]) -> bytes:
    """As the server stores them."""
    if not headers:
        return b""
    lines: Iterable[str] = (f"{name}: {value}\r\n" for name, value in headers.items())
    return f"NATS/1.0\r\n{''.join(lines)}\r\n".encode()


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; https://protobuf.dev/programming-guides/encoding/#varints."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
