"""Subjects of the log: whatever Kubernetes names hold, they go into tokens and come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio_shared.keys import (
    ObjectRef,
    OrderingKey,
    decision_subject,
    escape_token,
    object_subject,
    outcome_subject,
    parked_subject,
    parse_subject,
    partition_of,
    shared_subject,
    timer_subject,
    unescape_token,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(texts)
def test_any_text_survives_as_one_token(text: str) -> None:
    token = escape_token(text)
    assert unescape_token(token) == text
    assert token
    assert not set(token) & set(".*> \t\r\n")


@given(texts, texts)
def test_different_texts_are_different_tokens(one: str, other: str) -> None:
    assert (escape_token(one) == escape_token(other)) is (one == other)


@given(texts, texts, texts, texts, texts)
def test_an_object_subject_is_read_back(target: str, namespace: str, name: str, kind: str, other: str) -> None:
    key, ref = OrderingKey(target, namespace, name), ObjectRef(other, kind, namespace, name)
    address = parse_subject(object_subject(key, ref, 32))
    assert (address.key, address.ref, address.what) == (key, ref, "object")
    assert address.partition == partition_of(key, 32)


def test_the_other_subjects_are_read_back() -> None:
    key = OrderingKey("local", "ns", "a.b")
    assert parse_subject(decision_subject(key, 8)).what == "decision"
    assert parse_subject(outcome_subject(key, 8)).what == "outcome"
    assert parse_subject(parked_subject(key, 8)).what == "parked"
    assert parse_subject(shared_subject(3, "", "parked")).what == "parked"
    assert parse_subject(timer_subject(key, "retry", 8)).timer == "retry"
    shared = parse_subject(shared_subject(3, "local", "fleet"))
    assert (shared.partition, shared.target, shared.key, shared.what) == (3, "local", None, "fleet")


def test_a_target_named_like_the_shared_facts_does_not_meet_them() -> None:
    key = OrderingKey("_shared", "local", "x")
    assert parse_subject(decision_subject(key, 8)).key == key


@pytest.mark.parametrize("subject", ["", "tapio.epoch.3", "tapio.log.1.a.b.c.nonsense", "tapio.log.1.a.b.c.object.x"])
def test_anything_else_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match="is not a subject of the log"):
        parse_subject(subject)


def test_partitions_are_the_same_for_ever() -> None:
    keys = [OrderingKey("local", "default", name) for name in ("a", "b", "production")]
    assert [partition_of(key, 32) for key in keys] == [PINNED[key.name] for key in keys]


PINNED = {"a": 6, "b": 23, "production": 2}
"""Recorded once: a change would move every cluster to another partition of an existing log."""
