"""Answering from a long log without reading all of it: what stood last, and backwards from there as far as needed.

One TapioCluster's records lie in every block of a log, so that a server unpacks all of them for a whole story. Here an
answer is tried on the part that was read; what it rests on besides is read, ever further back, and it is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import TypeVar

from tapio_cli.history.instants import Position
from tapio_cli.history.known import NotInWindow, unknown
from tapio_cli.history.source import Recorded
from tapio_cli.history.story import (
    OlderNeeded,
    Part,
    Record,
    Story,
    patterns_of,
    read_records,
    read_story,
    records_of,
)
from tapio_shared.keys import OrderingKey
from tapio_shared.ports import Message

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """How far is looked back."""

    read_whole: int = 5_000
    """Messages of a log of which a story is read whole: some two blocks."""
    first: float = 0.01
    """Share of a log that is read first, if what stood last does not tell. Each step reads half as much again."""


STEPS = Steps()
_FOLLOWED = 16
"""Messages of one subject that are gone back at a time, from one to the one before it."""


async def answered(recorded: Recorded, story: Story, ask: Callable[[Story], T], *, steps: Steps = STEPS) -> T:
    """What `ask` answers about a story that `latest` has begun; as much more of it is read as that takes."""
    while True:
        try:
            return ask(story)
        except OlderNeeded as needed:
            if story.part is None:
                raise
            story = await _older(recorded, story, story.part, needed, steps)


async def latest(
    recorded: Recorded, key: OrderingKey, until: Sequence[Position] = (), *, steps: Steps = STEPS
) -> Story:
    """What stood last of `key`: the last record of each of its subjects, and of the shared ones; of a short log all.

    Nothing after the last of `until` is told of, if any are given. NotInWindow when nothing at all is recorded.
    """
    info = await recorded.info()
    if info.last_sequence - info.first_sequence < steps.read_whole:
        return await read_story(recorded, key)
    partitions, begins = max(info.partitions, 1), max(info.first_sequence, 1)
    own, shared = patterns_of(key, partitions)
    first = await recorded.earliest(own, from_sequence=begins)
    if first is None:
        raise NotInWindow(await unknown(recorded, key))
    ends = info.last_sequence
    places = [await _place(recorded, own, one, ends) for one in until]
    read_to = max((sequence for sequence, _ in places), default=ends)
    records: tuple[Record, ...] = ()
    subjects: frozenset[str] | None = None
    if read_to >= ends:
        view = await recorded.last_per_subject(own, shared)
        records = records_of(view.messages)
        read_to = ends = max(ends, view.revision)
        subjects = frozenset(one.message.subject for one in records if one.is_own)
    story = Story(
        key=key,
        own=(),
        shared=(),
        begins=begins,
        ends=ends,
        partitions=partitions,
        part=Part(
            # Of what is now it is known that nothing came later; of what was, nothing is.
            read_from=max((one.sequence for one in records), default=read_to + 1),
            read_to=read_to,
            begins=first.sequence,
            last_at=max([*(one.at for one in records), *(later for _, later in places)], default=0),
            subjects=subjects,
        ),
    )
    return _with(story, records)


async def beginning(recorded: Recorded, story: Story, position: Position) -> int:
    """The first sequence from which on everything of `story` was told at `position` or later; just after its end, if
    nothing was."""
    if not position.milliseconds:
        return position.sequence
    if story.part is None:
        told = ((one.at, one.sequence) for one in (*story.own, *story.shared))
        return min((sequence for at, sequence in told if at >= position.milliseconds), default=story.ends + 1)
    patterns = patterns_of(story.key, story.partitions)
    found = await asyncio.gather(*(recorded.earliest(one, written_from=position.milliseconds) for one in patterns))
    return min((one.sequence for one in found if one is not None), default=story.ends + 1)


async def _place(recorded: Recorded, pattern: str, position: Position, ends: int) -> tuple[int, int]:
    """A sequence after which nothing that matches was told at `position`, and when something behind it was."""
    if not position.milliseconds:
        return min(position.sequence, ends), 0
    after = await recorded.earliest(pattern, written_from=position.milliseconds + 1)
    return (ends, 0) if after is None else (after.sequence - 1, after.written_at)


async def _older(recorded: Recorded, story: Story, part: Part, needed: OlderNeeded, steps: Steps) -> Story:
    """`story` with what is `needed` of it besides, or some of that."""
    own, shared = patterns_of(story.key, story.partitions)
    if needed.places:
        messages = await asyncio.gather(*(recorded.earliest(shared, from_sequence=one) for one in needed.places))
        there = records_of(one for one in messages if one is not None and one.sequence in needed.places)
        return replace(_with(story, there), part=replace(part, looked_at=part.looked_at | needed.places))
    if needed.standing:
        known = frozenset(one.message.subject for one in story.own)
        then = await recorded.as_of(own, part.read_to, but=known)
        found = records_of(then.messages)
        subjects = known | then.nothing | then.untold | {one.message.subject for one in found}
        firsts = {**part.firsts, **dict.fromkeys(then.nothing, part.read_to + 1)}
        return replace(_with(story, found), part=replace(part, subjects=subjects, firsts=firsts))
    followed = await _followed(recorded, story, needed.subjects)
    if followed:
        begun = {one.message.subject: one.sequence for one in followed if one.message.previous == 0}
        return replace(_with(story, followed), part=replace(part, firsts={**part.firsts, **begun}))
    asked = sorted(needed.subjects - part.firsts.keys())
    if asked:
        those = await asyncio.gather(*(recorded.earliest(one, from_sequence=story.begins) for one in asked))
        firsts = {name: 0 if one is None else one.sequence for name, one in zip(asked, those, strict=True)}
        return replace(story, part=replace(part, firsts={**part.firsts, **firsts}))
    length = story.ends - story.begins + 1
    step = max(int(length * steps.first), part.looked_through // 2, 1)
    back_to = max(part.read_from - step if needed.back_to is None else needed.back_to, story.begins)
    if back_to >= part.read_from or part.read_from - back_to > length // 2:
        return await read_story(recorded, story.key)
    ranges = [read_records(recorded, pattern, part.read_from - 1, back_to - 1) for pattern in (own, shared)]
    older = [one for records in await asyncio.gather(*ranges) for one in records]
    looked_through = part.looked_through + part.read_from - back_to
    is_whole = back_to <= story.begins and part.read_to >= story.ends
    longer = None if is_whole else replace(part, read_from=back_to, looked_through=looked_through)
    return replace(_with(story, older), part=longer)


async def _followed(recorded: Recorded, story: Story, subjects: Set[str]) -> tuple[Record, ...]:
    """What stands before the oldest known record of each of its own `subjects`, as far as messages name the one before
    them, and some way back."""
    oldest = {one.message.subject: one.message for one in reversed(story.own) if one.message.subject in subjects}

    async def follow(message: Message) -> list[Message]:
        found: list[Message] = []
        while message.previous and len(found) < _FOLLOWED:
            before = await recorded.earliest(message.subject, from_sequence=message.previous)
            if before is None or before.sequence != message.previous:
                break
            found.append(before)
            message = before
        return found

    return records_of(one for found in await asyncio.gather(*map(follow, oldest.values())) for one in found)


def _with(story: Story, records: Iterable[Record]) -> Story:
    """`story` with further records."""
    together = {one.sequence: one for one in (*story.own, *story.shared, *records)}
    ordered = [together[sequence] for sequence in sorted(together)]
    return replace(
        story,
        own=tuple(one for one in ordered if one.is_own),
        shared=tuple(one for one in ordered if not one.is_own),
    )
