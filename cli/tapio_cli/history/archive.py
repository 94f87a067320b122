"""An archive: a history in one file, compressed, versioned, and chained by checksums from its first byte to its last.

    TAPIO-HISTORY 3\n
    block*            each: 4 bytes length, 32 bytes SHA-256 over (former checksum + payload), payload

The first payload is the header, the last one the trailer, and each between a batch of messages: first what the webhook
answered, if it is in there, then the log. Payloads are MessagePack compressed by Zstandard. Formats 1 and 2 are read as
well, which had zlib, and the first no answers of the webhook: what a version has written every later one reads.

A file that was cut off has no trailer, and one that was changed has a checksum that does not fit: both are refused with
the place. The checksums tell accidents and careless edits, not a forger who computes them anew.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence, Set
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import cramjam
import msgspec

from tapio_cli.history.codes import PARTIAL
from tapio_cli.history.source import Recorded
from tapio_shared.errors import TerminalError
from tapio_shared.keys import subject_matches
from tapio_shared.ports import AsOf, LogInfo, Message, View

T = TypeVar("T")
MAGIC = b"TAPIO-HISTORY 3\n"
_FAMILY = b"TAPIO-HISTORY "
_BY_ZLIB = (b"TAPIO-HISTORY 1\n", b"TAPIO-HISTORY 2\n")
_LEVEL = 3
"""Of Zstandard. Zlib takes twelve times as long to write, three times to read, and more room (ADR 0030)."""
_BATCH_MESSAGES, _BATCH_BYTES = 2_000, 4 << 20
_LONGEST = 256 << 20
"""Bytes of one block that are read into memory; a longer length is a damaged one."""


class ArchiveError(TerminalError):
    """An archive that can't be trusted; the sentence says where and what to do."""


class Stream(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The stream that an archive was made of, as `ports.LogInfo` has it."""

    created_at: str
    first_sequence: int
    last_sequence: int
    max_age: float
    partitions: int


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="header"):
    """What the archive holds, and who made it when."""

    made_at: int
    operator_version: str
    stream: Stream
    admitted: Stream | None = None
    """The stream of the webhook's answers, with the names of users; None where they were left out."""


class Batch(msgspec.Struct, frozen=True, kw_only=True, tag="batch"):
    """Messages in order: subject, sequence, data, headers, written_at."""

    messages: list[tuple[str, int, bytes, dict[str, str], int]]


class Admitted(msgspec.Struct, frozen=True, kw_only=True, tag="admitted"):
    """The same of what the webhook answered."""

    messages: list[tuple[str, int, bytes, dict[str, str], int]]


class Trailer(msgspec.Struct, frozen=True, kw_only=True, tag="trailer"):
    """Says that nothing is missing."""

    messages: int
    admissions: int = 0


_Block = Header | Batch | Admitted | Trailer
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Block)


class ArchiveWriter:
    """Writes one archive. A context manager: the file appears under its name when all of it was written."""

    def __init__(self, path: Path, header: Header) -> None:
        self._path, self._temporary = path, path.with_name(path.name + PARTIAL)
        self._header = header
        self._checksum = hashlib.sha256(MAGIC).digest()
        self._waiting: list[tuple[str, int, bytes, dict[str, str], int]] = []
        self._waiting_bytes = self.messages = self.admissions = 0

    def __enter__(self) -> ArchiveWriter:
        self._file: BinaryIO = self._temporary.open("wb")
        self._file.write(MAGIC)
        self._block(self._header)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
            self._block(Trailer(messages=self.messages, admissions=self.admissions))
        self._file.close()
        if kind is None:
            self._temporary.replace(self._path)
        else:
            self._temporary.unlink()

    def add(self, message: Message) -> None:
        """Add the next message of the log."""
        if self.admissions and not self.messages:
            self._flush()
        self.messages += 1
        self._wait(message)

    def add_admission(self, message: Message) -> None:
        """Add the next answer of the webhook, before anything of the log."""
        assert not self.messages, "the webhook's answers stand before the log"
        self.admissions += 1
        self._wait(message)

    def _wait(self, message: Message) -> None:
        self._waiting.append(
            (message.subject, message.sequence, message.data, dict(message.headers), message.written_at)
        )
        self._waiting_bytes += len(message.data)
        if len(self._waiting) >= _BATCH_MESSAGES or self._waiting_bytes >= _BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._block((Batch if self.messages else Admitted)(messages=self._waiting))
            self._waiting, self._waiting_bytes = [], 0

    def _block(self, block: _Block) -> None:
        payload = bytes(cramjam.zstd.compress(_encode(block), level=_LEVEL))
        self._checksum = hashlib.sha256(self._checksum + payload).digest()
        self._file.write(len(payload).to_bytes(4, "big") + self._checksum + payload)


class Archive:
    """A readable archive. Every pass over it checks all of it that it passes; `open` has checked its header."""

    def __init__(self, path: Path, header: Header) -> None:
        self.path, self.header = path, header

    @classmethod
    def open(cls, path: Path) -> Archive:
        """The archive in `path`; `ArchiveError` for anything else."""
        if path.is_dir():
            raise ArchiveError(f"{path} is a folder. Name an archive that `tapioctl export` has made.")
        if not path.is_file():
            raise ArchiveError(f"There is no file {path}. Name an archive that `tapioctl export` has made.")
        first = next(_blocks(path), None)
        if not isinstance(first, Header):
            raise ArchiveError(f"{path} has no header: it was damaged in its first block. Export the history again.")
        return cls(path, first)

    @property
    def admitted(self) -> Answers | None:
        """What the webhook answered; None where that was left out."""
        return None if self.header.admitted is None else Answers(self.path, self.header.admitted)

    def messages(self) -> Iterator[Message]:
        """Every message of the log, in order. `ArchiveError` where the file turns out to be cut off or changed."""
        told, answers, ended = 0, 0, False
        for block in _blocks(self.path):
            match block:
                case Batch():
                    for subject, sequence, data, headers, written_at in block.messages:
                        yield Message(subject, sequence, data, headers, written_at)
                    told += len(block.messages)
                case Admitted():
                    answers += len(block.messages)
                case Trailer():
                    ended = (block.messages, block.admissions) == (told, answers)
                case Header():
                    pass
        if not ended:
            raise ArchiveError(
                f"{self.path} is cut off after {told} messages: its end is missing. Copy it again, or export again."
            )

    async def read(self, filter_subject: str, *, from_sequence: int = 1, up_to: int) -> AsyncIterator[Message]:
        """As `Recorded.read`; the whole file is checked on the way."""
        matches = lru_cache(maxsize=131_072)(partial(subject_matches, filter_subject))
        for message in self.messages():
            if from_sequence <= message.sequence <= up_to and matches(message.subject):
                yield message

    async def last_per_subject(self, *filters: str, at_least: int = 0) -> View:
        """As `Recorded.last_per_subject`; the whole file is checked on the way."""
        return await _last_of(self, filters, at_least)

    async def earliest(self, filter_subject: str, *, from_sequence: int = 1, written_from: int = 0) -> Message | None:
        """As `Recorded.earliest`."""
        return await _first_of(self, filter_subject, from_sequence, written_from)

    async def as_of(self, filter_subject: str, sequence: int, *, but: Set[str] = frozenset()) -> AsOf:
        """As `Recorded.as_of`."""
        return await _as_of(self, filter_subject, sequence, but)

    async def info(self) -> LogInfo:
        """The stream as it was when the archive was made."""
        return _info(self.header.stream, self.path)


class Answers:
    """What the webhook answered, as an archive holds it; stands before the log, so the rest is not read for it."""

    def __init__(self, path: Path, stream: Stream) -> None:
        self._path, self._stream = path, stream

    async def read(self, filter_subject: str, *, from_sequence: int = 1, up_to: int) -> AsyncIterator[Message]:
        """As `Recorded.read`."""
        for block in _blocks(self._path):
            match block:
                case Admitted():
                    for subject, sequence, data, headers, written_at in block.messages:
                        if from_sequence <= sequence <= up_to and subject_matches(filter_subject, subject):
                            yield Message(subject, sequence, data, headers, written_at)
                case Batch() | Trailer():
                    return
                case Header():
                    pass

    async def last_per_subject(self, *filters: str, at_least: int = 0) -> View:
        """As `Recorded.last_per_subject`."""
        return await _last_of(self, filters, at_least)

    async def earliest(self, filter_subject: str, *, from_sequence: int = 1, written_from: int = 0) -> Message | None:
        """As `Recorded.earliest`."""
        return await _first_of(self, filter_subject, from_sequence, written_from)

    async def as_of(self, filter_subject: str, sequence: int, *, but: Set[str] = frozenset()) -> AsOf:
        """As `Recorded.as_of`."""
        return await _as_of(self, filter_subject, sequence, but)

    async def info(self) -> LogInfo:
        """The stream as it was when the archive was made."""
        return _info(self._stream, self._path)


async def _last_of(recorded: Recorded, filters: Sequence[str], at_least: int, up_to: int | None = None) -> View:
    """The last message of each subject; an archive ends where it ends, however much is asked for."""
    revision = max((await recorded.info()).last_sequence, at_least) if up_to is None else up_to
    found: dict[str, Message] = {}
    for one in filters:
        async for message in recorded.read(one, up_to=revision):
            found[message.subject] = message
    return View(tuple(sorted(found.values(), key=lambda message: message.sequence)), revision)


async def _as_of(recorded: Recorded, pattern: str, sequence: int, but: Set[str]) -> AsOf:
    """What stood last at `sequence`."""
    then = await _last_of(recorded, [pattern], 0, up_to=sequence)
    now = await _last_of(recorded, [pattern], 0)
    messages = tuple(one for one in then.messages if one.subject not in but)
    nothing = {one.subject for one in now.messages} - {one.subject for one in then.messages} - but
    return AsOf(messages=messages, nothing=frozenset(nothing))


async def _first_of(recorded: Recorded, pattern: str, from_sequence: int, written_from: int) -> Message | None:
    """The first message that matches from there on."""
    last = (await recorded.info()).last_sequence
    async for message in recorded.read(pattern, from_sequence=1 if written_from else from_sequence, up_to=last):
        if message.written_at >= written_from:
            return message
    return None


def _info(stream: Stream, path: Path) -> LogInfo:
    return LogInfo(
        created_at=stream.created_at,
        first_sequence=stream.first_sequence,
        last_sequence=stream.last_sequence,
        messages=0,
        bytes=path.stat().st_size,
        max_bytes=-1,
        max_age=stream.max_age,
        partitions=stream.partitions,
    )


def _blocks(path: Path) -> Iterator[_Block]:
    with path.open("rb") as file:
        magic = file.read(len(MAGIC))
        if magic != MAGIC and magic not in _BY_ZLIB:
            if magic.startswith(_FAMILY):
                version = magic[len(_FAMILY) :].decode(errors="replace").strip()
                raise ArchiveError(
                    f"{path} has format {version}, and this version reads formats 1 to 3. Use a newer tapioctl."
                )
            raise ArchiveError(f"{path} is no archive of a history: it does not begin with {MAGIC[:-1].decode()!r}.")
        checksum, number = hashlib.sha256(magic).digest(), 0
        while True:
            place, head = file.tell(), file.read(36)
            if not head:
                return
            length = int.from_bytes(head[:4], "big")
            payload = file.read(length) if len(head) == 36 and length <= _LONGEST else b""
            where = f"block {number} (bytes {place} to {place + 36 + length})"
            if len(head) < 36 or (length <= _LONGEST and len(payload) < length):
                raise ArchiveError(f"{path} is cut off in {where}. Copy it again, or export the history again.")
            checksum = hashlib.sha256(checksum + payload).digest()
            if checksum != head[4:]:
                raise ArchiveError(
                    f"{path} was changed in {where}: its checksum does not fit. Nothing from there on can be trusted; "
                    "copy it again, or export the history again."
                )
            yield _decoder.decode(zlib.decompress(payload) if magic in _BY_ZLIB else cramjam.zstd.decompress(payload))
            number += 1


__all__ = ["Answers", "Archive", "ArchiveError", "ArchiveWriter", "Header", "Stream"]
