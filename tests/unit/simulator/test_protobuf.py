"""Broken protobuf never crashes the simulator."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio_simulator.protobuf import MAGIC, NotReadable, read_protobuf

# typeMeta {apiVersion: v1, kind: Namespace}, raw {metadata {name: team}}
NAMESPACE = MAGIC + b"\x0a\x0f\x0a\x02v1\x12\x09Namespace" + b"\x12\x08\x0a\x06\x0a\x04team"


def test_a_namespace_is_read() -> None:
    assert read_protobuf(NAMESPACE) == {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}


def test_a_kind_that_is_not_listed_is_named() -> None:
    with pytest.raises(NotReadable, match="Nonsenses of v1 can't be read as protobuf"):
        read_protobuf(NAMESPACE.replace(b"Namespace", b"Nonsenses"))


@given(st.binary(max_size=64))
def test_anything_else_is_not_readable(data: bytes) -> None:
    with pytest.raises(NotReadable):
        read_protobuf(MAGIC + data)


@given(st.integers(0, len(NAMESPACE) - 1), st.integers(0, 255))
def test_a_damaged_message_is_read_or_refused(position: int, byte: int) -> None:
    damaged = bytearray(NAMESPACE)
    damaged[position] = byte
    try:
        document = read_protobuf(bytes(damaged))
    except NotReadable:
        return
    assert document["kind"] == "Namespace"
