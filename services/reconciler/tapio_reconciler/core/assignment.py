"""Which worker owns which partition: rendezvous hashing over the living members.

Every worker computes the same answer from the same names; when one leaves, only its partitions move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def owner_of(partition: int, members: Sequence[str]) -> str | None:
    """The member with the highest weight for `partition`, or None without members."""
    return max(members, key=lambda member: (_weight(partition, member), member), default=None)


def partitions_of(member: str, members: Sequence[str], partitions: int) -> frozenset[int]:
    """All partitions that `member` owns among `members`."""
    return frozenset(number for number in range(partitions) if owner_of(number, members) == member)


def _weight(partition: int, member: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{partition}\x00{member}".encode(), digest_size=8).digest(), "big")
