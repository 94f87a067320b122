"""`tapioctl history --follow`: the time line of a live log, and then what comes, until it is ended with Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from rich.console import Console

from tapio_cli.history.admitted import admissions_of
from tapio_cli.history.asking import events_between
from tapio_cli.history.exporting import Connect, opened
from tapio_cli.history.looking_back import STEPS, Steps
from tapio_cli.history.options import Where
from tapio_cli.history.printing import Format, print_events, print_line
from tapio_cli.history.source import Sources
from tapio_cli.history.story import read_on
from tapio_cli.history.timeline import Event, event_of, event_of_admission, happened
from tapio_cli.interrupting import until_interrupted
from tapio_shared.codec import to_document
from tapio_shared.errors import InvalidSettings, LogRewound, RetryableError
from tapio_shared.keys import OrderingKey

LOOK_EVERY = 0.5
"""Seconds between two looks at the log: a person reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events are shown."""

    since: str = ""
    until: str = ""
    about: str = ""


def follow_history(
    connect: Connect, where: Where, key: OrderingKey, wanted: Wanted, output: Format, *, now: int
) -> None:
    """Print events as they come, until Ctrl-C. InvalidSettings for what does not go together with that."""
    if where.archive is not None:
        raise InvalidSettings("An archive does not grow, so it can't be followed; leave --follow out.")
    if wanted.until:
        raise InvalidSettings("--follow goes on for ever and --until ends; leave one of them out.")
    asyncio.run(until_interrupted(_print_on(connect, where, key, wanted, output, now), None))


async def _print_on(connect: Connect, where: Where, key: OrderingKey, wanted: Wanted, output: Format, now: int) -> None:
    console = Console(highlight=False, soft_wrap=True)
    async with opened(connect, where) as sources:
        async for events in follow(sources, key, wanted.since, now=now):
            shown = [one for one in events if wanted.about.lower() in one.about.lower()]
            if output is Format.PEOPLE:
                print_events(shown, console)
                continue
            for one in shown:
                print_line(to_document(one), output)


async def follow(
    sources: Sources, key: OrderingKey, since: str = "", *, now: int = 0, steps: Steps = STEPS
) -> AsyncGenerator[list[Event]]:
    """The events of `key` so far, or from the instant `since` on, then those of each look that has any, in the order
    of time.

    A log that is away for a while is looked at again; one that was made anew raises LogRewound, since what was shown is
    not its beginning.
    """
    begun = await events_between(sources, key, since, now=now, steps=steps)
    if begun.events:
        yield [*begun.events]
    story, span = begun.story, begun.span
    asked = {one.request for one in begun.admissions}
    known = sorted((*story.own, *story.shared), key=lambda one: one.sequence)
    last = {one.message.subject: one.entry.record for one in known}
    while True:
        shown = story.ends
        longer = story
        while longer is story:
            await asyncio.sleep(LOOK_EVERY)
            try:
                longer = await read_on(sources.log, story)
            except LogRewound:
                raise
            except RetryableError:
                continue
        story = longer
        together = (one for one in (*story.own, *story.shared) if one.sequence > shown)
        news = sorted(together, key=lambda one: one.sequence)
        admissions = [one for one in await admissions_of(sources.admitted, key) if one.request not in asked]
        asked |= {one.request for one in admissions}
        events = [*map(event_of, happened(news, last)), *map(event_of_admission, admissions)]
        if held := [one for one in events if span.holds(one)]:
            yield sorted(held, key=lambda one: (one.at, one.sequence))
