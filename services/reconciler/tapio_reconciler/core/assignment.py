"""Which worker owns which partition: rendezvous hashing over the living members, none with more than its even share.

Every worker computes the same answer from the same names. Without the bound the fullest of four workers owns 11 of 32
partitions on average, and four do the work of three; see docs/adr/0018-even-shares.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence


def owners_of(members: Sequence[str], partitions: int) -> Mapping[int, str]:
    """Partition -> its owner; empty without members.

    The highest weights choose first, and whoever has its share, `partitions` divided by the members and rounded up,
    is chosen no more. When a member leaves, its partitions move, and some few more so that shares are even again.
    """
    if not members:
        return {}
    room = dict.fromkeys(members, -(-partitions // len(members)))
    owners: dict[int, str] = {}
    choices = ((_weight(number, member), member, number) for number in range(partitions) for member in members)
    for _, member, number in sorted(choices, reverse=True):
        if number not in owners and room[member]:
            owners[number] = member
            room[member] -= 1
    return owners


def partitions_of(member: str, members: Sequence[str], partitions: int) -> frozenset[int]:
    """All partitions that `member` owns among `members`."""
    return frozenset(number for number, owner in owners_of(members, partitions).items() if owner == member)


def _weight(partition: int, member: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{partition}\x00{member}".encode(), digest_size=8).digest(), "big")
