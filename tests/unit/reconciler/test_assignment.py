"""Rendezvous hashing with even shares: everybody agrees, nobody has too much, and little more than must move moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio_reconciler.core.assignment import owners_of, partitions_of

names = st.lists(st.text("abcdef0123456789-", min_size=1, max_size=8), min_size=1, max_size=9, unique=True)
_WORKERS = [f"tapio-reconciler-{number}" for number in range(8)]


@given(names, st.integers(1, 49))
def test_every_partition_has_exactly_one_owner(members: list[str], partitions: int) -> None:
    shares = [partitions_of(member, members, partitions) for member in members]
    assert sum(len(share) for share in shares) == partitions
    assert frozenset().union(*shares) == frozenset(range(partitions))


@given(names, st.integers(1, 49))
def test_nobody_owns_more_than_an_even_share(members: list[str], partitions: int) -> None:
    assert max(len(partitions_of(one, members, partitions)) for one in members) <= -(-partitions // len(members))


def test_four_workers_own_eight_of_32_partitions_each() -> None:
    assert [len(partitions_of(one, _WORKERS[:4], 32)) for one in _WORKERS[:4]] == [8, 8, 8, 8]


@pytest.mark.parametrize(
    ("before", "after", "must", "more"),
    [
        pytest.param(1, 2, 16, 0, id="a second worker takes half"),
        pytest.param(1, 8, 28, 0, id="from one to eight"),
        pytest.param(3, 4, 8, 32, id="a fourth worker"),
        pytest.param(4, 3, 8, 32, id="one of four leaves"),
        pytest.param(8, 3, 20, 20, id="from eight to three"),
        pytest.param(8, 7, 4, 57, id="one of eight leaves"),
    ],
)
def test_little_more_than_must_moves(before: int, after: int, must: int, more: int) -> None:
    """Partitions of 32 that who joins takes or who leaves leaves, and others, in 20 sets of names together."""
    others = taken = 0
    for fleet in range(20):
        workers = [f"tapio-reconciler-{fleet}-{number}" for number in range(8)]
        old, new = owners_of(workers[:before], 32), owners_of(workers[:after], 32)
        stay = set(workers[: min(before, after)])
        changed = [number for number in old if old[number] != new[number]]
        both = [number for number in changed if old[number] in stay and new[number] in stay]
        others, taken = others + len(both), taken + len(changed) - len(both)
    assert (taken, others) == (20 * must, more)


@given(names)
def test_the_order_of_members_does_not_matter(members: list[str]) -> None:
    assert owners_of(members, 32) == owners_of(sorted(members, reverse=True), 32)


def test_nobody_owns_anything_without_members() -> None:
    assert owners_of([], 32) == {}
