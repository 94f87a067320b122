"""Bytes of the log: one canonical encoding, and digests over it.

Encoding is msgspec JSON with sorted keys, so equal values have equal bytes on every machine and under every
PYTHONHASHSEED. Stored bytes are never re-encoded; a message this version can't read is `Undecodable` and gets
parked, never skipped in silence.
"""

from __future__ import annotations

import hashlib
from typing import Final, TypeVar, cast, get_args

import msgspec

from tapio_shared.errors import NewerFormat, Undecodable
from tapio_shared.facts import FORMAT, Record
from tapio_shared.json import JsonValue

_ENCODER = msgspec.json.Encoder(order="sorted")
_RECORD_DECODER: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
T = TypeVar("T")


def encode(value: object) -> bytes:
    """The canonical bytes of a record or JSON document."""
    return _ENCODER.encode(value)


class _Written(msgspec.Struct, frozen=True):
    """What every record says of itself, whatever else it holds."""

    type: str
    format: int = 1


_WRITTEN_DECODER: msgspec.json.Decoder[_Written] = msgspec.json.Decoder(_Written)
_TYPES: Final = frozenset(str(one.__struct_config__.tag) for one in get_args(Record))


def decode_record(data: bytes | memoryview) -> Record:
    """The record in `data`; `Undecodable` names what this version does not understand, `NewerFormat` a newer record."""
    try:
        record = _RECORD_DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        _refuse_newer(data, err)
        raise Undecodable(
            f"A message of the log can't be read by this version: {err}. "
            "Run a version at least as new as the one that wrote it."
        ) from err

    if record.format > FORMAT:
        raise _newer(str(record.__struct_config__.tag), record.format)
    return record


def _refuse_newer(data: bytes | memoryview, err: Exception) -> None:
    """Raise `NewerFormat` when what can't be decoded says that a newer version wrote it."""
    try:
        written = _WRITTEN_DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if written.format > FORMAT or written.type not in _TYPES:
        raise _newer(written.type, written.format) from err


def _newer(kind: str, written: int) -> NewerFormat:
    if written > FORMAT:
        return NewerFormat(
            f"It is {kind} of format {written}, and this version reads formats up to {FORMAT}. "
            "Run the version that wrote it, or a newer one; docs/upgrades.md says how to go back."
        )
    return NewerFormat(
        f"It is {kind}, a type of record that this version does not know. "
        "Run the version that wrote it, or a newer one; docs/upgrades.md says how to go back."
    )


def decode_as(kind: type[T], data: bytes | memoryview) -> T:
    """The value of type `kind` in JSON `data`; `Undecodable` when it does not fit."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise Undecodable(f"A JSON document is not a {kind.__name__}: {err}.") from err


def to_document(value: object) -> JsonValue:
    """`value` as plain JSON types (dict, list, str, ...), for templates and people."""
    return cast("JsonValue", msgspec.to_builtins(value, order="sorted"))


def digest(value: object) -> str:
    """Hex digest (128 bits of BLAKE2b) of the canonical bytes of `value`."""
    return hashlib.blake2b(encode(value), digest_size=16).hexdigest()
