"""Sweeps: what is still somebody's last fact is appended again before it ages out or is pushed out. Pure.

A sweep moves everything live out of the oldest quarter; the next is due when something live has come into the oldest
eighth, so that sweeps don't follow each other at every step.
"""

from __future__ import annotations

from collections.abc import Iterable

from tapio_shared.ports import LogInfo
from tapio_watcher.entries import Known

_FULL = 0.75
_SWEPT = 0.25
_DUE = 0.125
_LEAST = 8
"""Facts that a sweep appends at the least before it says how far it has come."""
CROWDED = 0.5
"""The share of the log from which on there may be too little room: a sweep then pushes out as much as it clears."""
OVERFULL = 0.9
"""The share from which on no sweep helps: with decisions and outcomes, what must stay does not fit."""


def sweep_below(info: LogInfo, live: Iterable[Known], now: int, *, complete_from: int = 0) -> int:
    """The sequence below which everything live is to be appended again; 0 when no sweep is due.

    `complete_from` is what the log is vouched for, 0 for nothing yet; it must stay ahead of the log's beginning, also
    where nothing live is near any more, since readers can't see that.
    """
    facts = list(live)
    if not facts:
        return 0
    return max(_by_bytes(info, facts), _by_age(info, facts, now), _by_word(info, complete_from))


def at_once(info: LogInfo, complete_from: int) -> int:
    """How many facts a sweep may append before it vouches for more than `complete_from`.

    In a full log each message that is appended takes the place of the oldest one. Half of those that stand before what
    is vouched for, and of those that still fit, leaves room for what others append meanwhile. But marks take room too,
    one in each partition: with few facts between them, a log that just holds what must stay would come to no rest.
    """
    each = info.bytes / max(info.messages, 1)
    fitting = int((info.max_bytes - info.bytes) / max(each, 1))
    room = complete_from - info.first_sequence + fitting if info.max_bytes > 0 else info.messages
    return max(room // 2, 2 * info.partitions, _LEAST)


def lost_below(info: LogInfo, live: Iterable[Known]) -> int:
    """How many live facts the log has dropped already: the state it holds is not whole."""
    return sum(1 for one in live if one.sequence < info.first_sequence)


def filling(info: LogInfo, live: int, each: float) -> float:
    """What share of the bytes that the log may take `live` facts of `each` bytes take; 0 for a log without a limit."""
    return live * each / info.max_bytes if info.max_bytes > 0 else 0.0


def _by_bytes(info: LogInfo, facts: list[Known]) -> int:
    if info.max_bytes <= 0 or info.bytes < _FULL * info.max_bytes:
        return 0
    length = info.last_sequence - info.first_sequence + 1
    oldest = min(one.sequence for one in facts)
    if oldest >= info.first_sequence + int(length * _DUE):
        return 0
    return info.first_sequence + int(length * _SWEPT)


def _by_word(info: LogInfo, complete_from: int) -> int:
    length = info.last_sequence - info.first_sequence + 1
    if complete_from == 0 or info.first_sequence <= 1 or complete_from >= info.first_sequence + int(length * _DUE):
        return 0
    return info.first_sequence + int(length * _SWEPT)


def _by_age(info: LogInfo, facts: list[Known], now: int) -> int:
    if info.max_age <= 0:
        return 0
    age = info.max_age * 1000
    if now - min(one.written_at for one in facts) < (1 - _DUE) * age:
        return 0
    return 1 + max(one.sequence for one in facts if now - one.written_at >= (1 - _SWEPT) * age)
