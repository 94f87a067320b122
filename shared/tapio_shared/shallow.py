"""JSON of an API server, which stores documents nested deeper than a decoder here would follow.

One such document must not hide the others of its list or end a watch, and an admission that asks about it must be
answered all the same. What lies too deep is read as null; a spec that deep is refused by its own rule (`MAX_DEPTH`).
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

from tapio_shared.codec import decode_as
from tapio_shared.errors import Undecodable

KEPT_LEVELS: Final = 200
"""Levels of nesting that are read: twice what a spec may have, so that a cut one is still judged too deep."""

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
T = TypeVar("T")


def decode_cut(kind: type[T], data: bytes) -> T:
    """The value of type `kind` in JSON `data`, without what is nested too deep; `Undecodable` when it does not fit."""
    try:
        return decode_as(kind, data)
    except Undecodable:
        cut = shallow(data)
        if cut == data:
            raise
        return decode_as(kind, cut)


def shallow(body: bytes) -> bytes:
    """JSON with null in place of every object and list that lies deeper than `KEPT_LEVELS`."""
    kept: list[bytes] = []
    depth = copied = 0
    for token in _TOKEN.finditer(body):
        match token[0]:
            case b"{" | b"[":
                depth += 1
                if depth == KEPT_LEVELS + 1:
                    kept += [body[copied : token.start()], b"null"]
                    copied = len(body)  # nothing more, unless it ends
            case b"}" | b"]":
                if depth == KEPT_LEVELS + 1:
                    copied = token.end()
                depth -= 1
            case _:
                pass
    return b"".join([*kept, body[copied:]])
