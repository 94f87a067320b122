"""Facts are encoded once, exactly as the log's own codec does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio_shared.codec import decode_record, encode
from tapio_shared.errors import Undecodable
from tapio_shared.facts import ObjectGone, ObjectObserved, Synced
from tapio_shared.json import JsonObject, JsonValue
from tapio_watcher.encoding import GONE, digest_of_stored, gone_fact, observed_fact
from tests.support.api_documents import ANY_JSON


def _is_text(value: JsonValue) -> bool:
    """Half a surrogate pair is no text: no JSON document that was received holds one."""
    try:
        encode(value)
    except UnicodeEncodeError:
        return False
    return True


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
DOCUMENTS = st.dictionaries(TEXTS, ANY_JSON.filter(_is_text), max_size=4)


@given(DOCUMENTS, TEXTS, TEXTS)
def test_bytes_are_those_of_the_codec(document: JsonObject, uid: str, version: str) -> None:
    fact = observed_fact(document, uid=uid, resource_version=version, now=7)
    assert fact.data == encode(ObjectObserved(uid=uid, resource_version=version, object=document, observed_at=7))
    assert digest_of_stored(fact.data) == (fact.digest, uid, version)


def test_a_tombstone() -> None:
    fact = gone_fact(uid="u-1", resource_version="9", now=7)
    assert decode_record(fact.data) == ObjectGone(uid="u-1", resource_version="9", gone_at=7)
    assert digest_of_stored(fact.data) == (GONE, "u-1", "9")


def test_equal_means_the_same_object_and_document_whenever_it_was_told() -> None:
    first = observed_fact({"a": 1, "b": 2}, uid="u-1", resource_version="9", now=7)
    again = observed_fact({"b": 2, "a": 1}, uid="u-1", resource_version="10", now=8)
    other = observed_fact({"a": 1, "b": 2}, uid="u-2", resource_version="9", now=7)
    assert first.digest == again.digest
    assert first.digest != other.digest


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="half"),
        pytest.param(b'{"type":"FromTheFuture"}', id="unknown tag"),
        pytest.param(
            b'{"type":"ObjectObserved","uid":"","resource_version":"","object":1,"observed_at":1}', id="no object"
        ),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(encode(Synced(generation="1", kinds=[], synced_at=1)), id="another fact"),
    ],
)
def test_what_is_no_object_fact_is_undecodable(data: bytes) -> None:
    with pytest.raises(Undecodable):
        digest_of_stored(data)
