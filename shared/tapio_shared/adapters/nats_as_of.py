"""What stood last of each subject at a sequence, without having the server look through the log for it.

A server knows by an index where the last messages of now stand; for those of then it unpacks all that lies between. But
who wrote a fact expected the one before it, and the server compared that: so each message leads to the one before.
Where that are many, nothing is told: one of them then stands close to the sequence, and is found soon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence, Set

from tapio_shared.adapters.nats_reader import MOST_SUBJECTS, Reader
from tapio_shared.ports import AsOf, Message

_LINKS = 12
"""Messages of one subject that are gone back: each may lie in a block of its own, which has to be unpacked."""
_AROUND = 500
"""Sequences before and behind a message in which others of its key are looked for that the same sweep told."""


async def as_of(
    reader: Reader,
    few: Callable[[str, int, int], Awaitable[Sequence[Message] | None]],
    filter_subject: str,
    sequence: int,
    but: Set[str],
    slice_size: int,
) -> AsOf | None:
    """See `ports.BrowsableLog.as_of`; None where the subjects are too many. `few` reads what matches between two
    sequences, or answers None where that is much."""
    counts, revision = await reader.subjects([filter_subject])
    wanted = sorted(counts.keys() - but, key=lambda one: (counts[one], one))
    if len(wanted) > MOST_SUBJECTS:
        return None
    starts: dict[str, Message] = {}
    # What is seldom told of is told by sweeps, and so is everything else of the key, in the same place.
    for last in await reader.last_of_each(wanted[:1], slice_size, at_least=revision):
        after = next((one for one in reversed(await _trail(reader, last, sequence)) if one.sequence > sequence), last)
        if after.sequence > sequence:
            lower = max(after.sequence - _AROUND, sequence + 1)
            near = await few(filter_subject, lower, after.sequence + _AROUND) or ()
            starts |= {one.subject: one for one in reversed(near) if one.subject not in but}
        starts.setdefault(last.subject, last)
    others = [one for one in wanted if one not in starts and counts[one] <= _LINKS]
    starts |= {one.subject: one for one in await reader.last_of_each(others, slice_size, at_least=revision)}
    trails = await asyncio.gather(*(_trail(reader, one, sequence) for one in starts.values()))
    then = {one.subject: trail[-1] for one, trail in zip(starts.values(), trails, strict=True)}
    messages = [one for one in then.values() if one.sequence <= sequence]
    nothing = frozenset(name for name, one in then.items() if one.sequence > sequence and one.previous == 0)
    return AsOf(
        messages=tuple(sorted(messages, key=lambda one: one.sequence)),
        nothing=nothing,
        untold=frozenset(wanted) - nothing - {one.subject for one in messages},
    )


async def _trail(reader: Reader, message: Message, sequence: int) -> list[Message]:
    """`message` and those of its subject before it, up to the first that does not stand behind `sequence`; fewer where
    none is before, or nobody knows which one."""
    found = [message]
    while found[-1].sequence > sequence and found[-1].previous and len(found) <= _LINKS:
        before = await reader.at_any(found[-1].previous)
        if before is None:
            break
        found.append(before)
    return found
