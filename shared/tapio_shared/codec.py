"""Bytes of the log: one canonical encoding, and digests over it.

Encoding is msgspec JSON with sorted keys, so equal values have equal bytes on every machine and under every
PYTHONHASHSEED. Stored bytes are never re-encoded; a message this version can't read is `Undecodable` and gets
parked, never skipped in silence.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar, cast

import msgspec

from tapio_shared.errors import Undecodable
from tapio_shared.facts import Record
from tapio_shared.json import JsonValue

_ENCODER = msgspec.json.Encoder(order="sorted")
_RECORD_DECODER: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
T = TypeVar("T")


def encode(value: object) -> bytes:
    """The canonical bytes of a record or JSON document."""
    return _ENCODER.encode(value)


def decode_record(data: bytes | memoryview) -> Record:
    """The record in `data`; `Undecodable` names what this version does not understand."""
    try:
        return _RECORD_DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise Undecodable(
            f"A message of the log can't be read by this version: {err}. "
            "Run a version at least as new as the one that wrote it."
        ) from err


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
