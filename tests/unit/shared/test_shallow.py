"""What an API server stores may be nested deeper than a decoder follows; nothing else may be hidden by that."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest

from tapio_shared.codec import decode_as
from tapio_shared.errors import Undecodable
from tapio_shared.json import JsonObject, JsonValue, at, list_at
from tapio_shared.shallow import KEPT_LEVELS, decode_cut


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


class Page(msgspec.Struct):
    items: list[JsonObject] = []


@pytest.mark.parametrize("levels", [pytest.param(2_000, id="too deep to decode"), pytest.param(100_000, id="endless")])
def test_one_deep_document_hides_no_other(levels: int) -> None:
    page = b'{"items":[{"name":"one"},' + nested(levels) + b',{"name":"two"}]}'
    with pytest.raises(Undecodable):
        decode_as(Page, page)
    items = decode_cut(Page, page).items
    assert [item.get("name") for item in items] == ["one", None, "two"]


def test_what_can_be_decoded_is_read_whole() -> None:
    levels = KEPT_LEVELS + 50
    document: JsonValue = cast("JsonObject", decode_cut(dict, nested(levels)))
    for _ in range(levels - 1):
        document = at(document, "a")
    assert document == {"a": 1}


@pytest.mark.parametrize("text", [b"", b"{", b'{"items": 1}', b'{"items":[' + b"[" * 5_000])
def test_what_is_no_such_json_is_undecodable(text: bytes) -> None:
    with pytest.raises(Undecodable):
        decode_cut(Page, text)


def test_brackets_in_texts_are_no_nesting() -> None:
    page = b'{"items":[{"name":"' + b"[{" * 1_000 + b'"},' + nested(3_000) + b"]}"
    assert list_at({"items": list(decode_cut(Page, page).items)}, "items")[0] == {"name": "[{" * 1_000}
