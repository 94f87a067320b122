"""What the commands ask a history for: one story, those of many, or what files would do to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from tapio_cli.history.admitted import admissions_of
from tapio_cli.history.exporting import Connect, opened
from tapio_cli.history.instants import Span, position, span
from tapio_cli.history.known import check_target, named_keys
from tapio_cli.history.looking_back import STEPS, Steps, answered, beginning, latest
from tapio_cli.history.options import Where
from tapio_cli.history.signs_of_life import silence
from tapio_cli.history.source import Sources
from tapio_cli.history.story import Story, read_present, read_state, read_story
from tapio_cli.history.timeline import Event, stretch
from tapio_shared.admissions import Admission
from tapio_shared.json import JsonObject
from tapio_shared.keys import OrderingKey

if TYPE_CHECKING:
    from tapio_cli.history.ahead import Ahead

T = TypeVar("T")
TOLD_WHOLE = 10
"""TapioClusters whose whole history `status` reads to tell what changed last; of more it tells how they stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """What happened between two instants."""

    events: Sequence[Event]
    span: Span
    story: Story
    """What was read for that; its newest records are there in any case."""
    admissions: Sequence[Admission]


async def told_between(
    connect: Connect, key: OrderingKey, where: Where, since: str, until: str, about: str, *, now: int
) -> Between:
    """What happened to one TapioCluster between two instants, of what is `about` that."""
    async with opened(connect, where) as sources:
        is_live = where.archive is None
        return await events_between(sources, key, since, until, about=about, now=now, is_live=is_live)


async def events_between(
    sources: Sources,
    key: OrderingKey,
    since: str = "",
    until: str = "",
    *,
    about: str = "",
    now: int,
    is_live: bool = True,
    steps: Steps = STEPS,
) -> Between:
    """The same of `sources`. Of a live log what was before `since` is read only as far as a line compares with it."""
    instants, asked = [position(until, now=now)] if until else [], admissions_of(sources.admitted, key)
    is_part = is_live and bool(since)
    reading = latest(sources.log, key, instants, steps=steps) if is_part else read_story(sources.log, key)
    story, admissions = await asyncio.gather(reading, asked)
    first = await beginning(sources.log, story, position(since, now=now)) if since else 1

    def happened(story: Story) -> Between:
        story.between(first - 1, story.ends, lambda _: False, with_shared=True)  # That all of it was read.
        shown = span(story, since, until, now=now)

        def is_wanted(event: Event) -> bool:
            return shown.holds(event) and about.lower() in event.about.lower()

        events = stretch(story, first, admissions, is_wanted=is_wanted)
        return Between(events=events, span=shown, story=story, admissions=admissions)

    return await answered(sources.log, story, happened, steps=steps)


async def told(
    connect: Connect,
    key: OrderingKey,
    where: Where,
    ask: Callable[[Story, Sequence[Admission]], T],
    *instants: str,
    now: int,
) -> T:
    """What `ask` answers about one TapioCluster as of `instants`, from what the webhook answered and as much of the
    story as that takes. An archive is read whole."""
    async with opened(connect, where) as sources:
        return await _told(sources, key, where, ask, *instants, now=now)


async def _told(
    sources: Sources,
    key: OrderingKey,
    where: Where,
    ask: Callable[[Story, Sequence[Admission]], T],
    *instants: str,
    now: int,
) -> T:
    until = [position(one, now=now) for one in instants]
    if where.archive is not None:
        return ask(await read_story(sources.log, key), await admissions_of(sources.admitted, key))
    story, admissions = await asyncio.gather(latest(sources.log, key, until), admissions_of(sources.admitted, key))
    return await answered(sources.log, story, lambda story: ask(story, admissions))


async def planned(connect: Connect, documents: list[JsonObject], where: Where, now: int) -> list[Ahead]:
    """What the documents would do, by TapioCluster."""
    from tapio_cli.history.ahead import ahead, key_of_document

    by_key: dict[OrderingKey, list[JsonObject]] = {}
    for document in documents:
        by_key.setdefault(key_of_document(document, where.target), []).append(document)
    async with opened(connect, where) as sources:
        found: list[Ahead] = []
        for key in sorted(by_key):
            state, partitions = await read_state(sources.log, key)
            if not state.shared:
                await check_target(sources.log, key.target)
            found.append(ahead(state, by_key[key], partitions=partitions, now=now))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How TapioClusters stand."""

    statuses: list[JsonObject]
    silence: str
    """That nobody may be watching any more, as a sentence; empty where that is not so."""


async def standing(connect: Connect, where: Where, cluster: str, *, now: int) -> Standing:
    """How `cluster` stands; a namespace and a slash mean all in it, nothing means all.

    Of more than TOLD_WHOLE it is not told what changed last: nobody waits until the whole story of each is read.
    """
    from tapio_cli.history.standing import status_of

    namespace = where.keys_in(cluster)
    present = now if where.archive is None else 0
    async with opened(connect, where) as sources:
        silent = await silence(sources.log, where.target, now=now) if where.archive is None else ""
        if namespace is None:
            found = [await _told(sources, where.key(cluster), where, partial(status_of, now=present), now=now)]
            return Standing(statuses=found, silence=silent)
        keys = await named_keys(sources.log, where.target, namespace)
        if len(keys) > TOLD_WHOLE:
            stories = await read_present(sources.log, where.target, namespace)
            return Standing(
                statuses=[status_of(one, (), is_whole=False, now=present) for one in stories], silence=silent
            )
        statuses = [
            status_of(await read_story(sources.log, key), await admissions_of(sources.admitted, key), now=present)
            for key in keys
        ]
        return Standing(statuses=statuses, silence=silent)
