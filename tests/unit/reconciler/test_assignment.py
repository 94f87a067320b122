"""Rendezvous hashing: everybody agrees, and only what must move moves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tapio_reconciler.core.assignment import owner_of, partitions_of

names = st.lists(st.text("abcdef0123456789-", min_size=1, max_size=8), min_size=1, max_size=9, unique=True)


@given(names, st.integers(1, 49))
def test_every_partition_has_exactly_one_owner(members: list[str], partitions: int) -> None:
    shares = [partitions_of(member, members, partitions) for member in members]
    assert sum(len(share) for share in shares) == partitions
    assert frozenset().union(*shares) == frozenset(range(partitions))


@given(names, st.integers(1, 49))
def test_only_the_partitions_of_a_member_that_leaves_move(members: list[str], partitions: int) -> None:
    leaving, staying = members[0], members[1:]
    for number in range(partitions):
        before, after = owner_of(number, members), owner_of(number, staying)
        assert after == before or before == leaving


@given(names)
def test_the_order_of_members_does_not_matter(members: list[str]) -> None:
    assert owner_of(3, members) == owner_of(3, sorted(members, reverse=True))


def test_nobody_owns_anything_without_members() -> None:
    assert owner_of(0, []) is None
