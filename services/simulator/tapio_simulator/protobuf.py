"""Reads the few messages that kubectl can only send as protobuf: what `kubectl create <kind>` and `auth` make.

kubectl's typed commands ignore that a server prefers JSON. The field numbers are those of k8s.io/api's generated.proto;
a kind that isn't listed here is answered 415, naming JSON. Writing protobuf is refused: every client also reads JSON.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tapio_shared.json import JsonObject, JsonValue

MAGIC = b"k8s\x00"
Shape = Literal["string", "bool", "int", "message", "strings", "map", "byte-map"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its JSON name, its shape, and for messages their own fields."""

    name: str
    shape: Shape = "string"
    fields: Mapping[int, Field] | None = None


_META: Mapping[int, Field] = {
    1: Field("name"),
    2: Field("generateName"),
    3: Field("namespace"),
    11: Field("labels", "map"),
    12: Field("annotations", "map"),
    14: Field("finalizers", "strings"),
}
_METADATA = Field("metadata", "message", _META)
_ATTRIBUTES: Mapping[int, Field] = {
    1: Field("namespace"),
    2: Field("verb"),
    3: Field("group"),
    4: Field("version"),
    5: Field("resource"),
    6: Field("subresource"),
    7: Field("name"),
}
_REVIEW: Mapping[int, Field] = {
    1: Field("resourceAttributes", "message", _ATTRIBUTES),
    2: Field("nonResourceAttributes", "message", {1: Field("path"), 2: Field("verb")}),
}
_KINDS: Mapping[tuple[str, str], Mapping[int, Field]] = {
    ("v1", "ConfigMap"): {
        1: _METADATA,
        2: Field("data", "map"),
        3: Field("binaryData", "byte-map"),
        4: Field("immutable", "bool"),
    },
    ("v1", "DeleteOptions"): {
        1: Field("gracePeriodSeconds", "int"),
        2: Field("preconditions", "message", {1: Field("uid"), 2: Field("resourceVersion")}),
        3: Field("orphanDependents", "bool"),
        4: Field("propagationPolicy"),
        5: Field("dryRun", "strings"),
    },
    ("v1", "Namespace"): {1: _METADATA},
    ("v1", "Secret"): {
        1: _METADATA,
        2: Field("data", "byte-map"),
        3: Field("type"),
        4: Field("stringData", "map"),
        5: Field("immutable", "bool"),
    },
    ("v1", "ServiceAccount"): {1: _METADATA},
    ("authentication.k8s.io/v1", "SelfSubjectReview"): {1: _METADATA},
    ("authentication.k8s.io/v1", "TokenRequest"): {
        1: _METADATA,
        2: Field("spec", "message", {1: Field("audiences", "strings"), 4: Field("expirationSeconds", "int")}),
    },
    ("authorization.k8s.io/v1", "SelfSubjectAccessReview"): {1: _METADATA, 2: Field("spec", "message", _REVIEW)},
    ("authorization.k8s.io/v1", "SelfSubjectRulesReview"): {
        1: _METADATA,
        2: Field("spec", "message", {1: Field("namespace")}),
    },
}
_TYPE_META: Mapping[int, Field] = {1: Field("apiVersion"), 2: Field("kind")}
_ENVELOPE_TYPE, _ENVELOPE_RAW = 1, 2


class NotReadable(ValueError):
    """The message is broken, or of a kind that isn't listed."""


def read_protobuf(body: bytes) -> JsonObject:
    """The JSON form of a runtime.Unknown envelope. NotReadable when its kind isn't listed."""
    raw, type_ = b"", ("", "")
    for number, value in _entries(body[len(MAGIC) :]):
        if number == _ENVELOPE_TYPE and isinstance(value, bytes):
            meta = _message(value, _TYPE_META)
            type_ = (str(meta.get("apiVersion", "")), str(meta.get("kind", "")))
        elif number == _ENVELOPE_RAW and isinstance(value, bytes):
            raw = value
    fields = _KINDS.get(type_)
    if fields is None:
        raise NotReadable(f"{type_[1]} of {type_[0]} can't be read as protobuf")
    return {"apiVersion": type_[0], "kind": type_[1], **_message(raw, fields)}


def _message(data: bytes, fields: Mapping[int, Field]) -> JsonObject:
    found: JsonObject = {}
    for number, value in _entries(data):
        field = fields.get(number)
        if field is not None:
            _put(found, field, value)
    return found


def _put(found: JsonObject, field: Field, value: bytes | int) -> None:
    match field.shape:
        case "bool":
            found[field.name] = bool(value)
        case "int":
            found[field.name] = int(value) if isinstance(value, int) else 0
        case _ if isinstance(value, int):
            raise NotReadable(f"{field.name} is a number where text is expected")
        case "string":
            if value:
                found[field.name] = _text(value)
        case "message":
            below = _message(value, field.fields or {})
            if below:
                found[field.name] = below
        case "strings":
            known = found.get(field.name)
            found[field.name] = [*(known if isinstance(known, list) else []), _text(value)]
        case "map" | "byte-map":
            _put_entry(found, field, value)


def _put_entry(found: JsonObject, field: Field, entry: bytes) -> None:
    pair = dict(_entries(entry))
    key, value = pair.get(1, b""), pair.get(2, b"")
    if isinstance(key, int) or isinstance(value, int):
        raise NotReadable(f"{field.name} holds a number where text is expected")
    text: JsonValue = base64.b64encode(value).decode() if field.shape == "byte-map" else _text(value)
    known = found.get(field.name)
    found[field.name] = {**(known if isinstance(known, dict) else {}), _text(key): text}


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as err:
        raise NotReadable("the message holds text that is no UTF-8") from err


def _entries(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Field number and value of every entry on the wire."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        size = {1: 8, 5: 4}.get(wire)
        if wire == 2:
            size, position = _varint(data, position)
        if size is None or position + size > len(data):
            raise NotReadable("the message is broken")
        yield number, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise NotReadable("the message is broken")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7
