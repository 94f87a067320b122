"""What the commands ask a history for: one story, those of many, or what files would do to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from tapio_cli.history.admitted import admissions_of
from tapio_cli.history.exporting import Connect, opened
from tapio_cli.history.instants import position
from tapio_cli.history.looking_back import answered, latest
from tapio_cli.history.options import Where
from tapio_cli.history.story import Story, read_present, read_story, recorded_keys
from tapio_shared.admissions import Admission
from tapio_shared.json import JsonObject
from tapio_shared.keys import OrderingKey

if TYPE_CHECKING:
    from tapio_cli.history.ahead import Ahead

T = TypeVar("T")
TOLD_WHOLE = 10
"""TapioClusters whose whole history `status` reads to tell what changed last; of more it tells how they stand."""


async def told_of(connect: Connect, key: OrderingKey, where: Where) -> tuple[Story, list[Admission]]:
    """The story of one TapioCluster, and what the webhook answered about it."""
    async with opened(connect, where) as sources:
        return await read_story(sources.log, key), await admissions_of(sources.admitted, key)


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
    until = [position(one, now=now) for one in instants]
    async with opened(connect, where) as sources:
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
            story = await read_story(sources.log, key, may_be_new=True)
            found.append(ahead(story.state(story.ends), by_key[key], partitions=story.partitions, now=now))
        return found


async def all_told(connect: Connect, where: Where, namespace: str) -> list[tuple[Story, list[Admission]]] | None:
    """The stories of all TapioClusters of a namespace, or of all; None where those are too many to read each whole."""
    async with opened(connect, where) as sources:
        keys = await recorded_keys(sources.log, where.target, namespace)
        if len(keys) > TOLD_WHOLE:
            return None
        return [(await read_story(sources.log, key), await admissions_of(sources.admitted, key)) for key in keys]


async def present(connect: Connect, where: Where, namespace: str) -> list[Story]:
    async with opened(connect, where) as sources:
        return await read_present(sources.log, where.target, namespace)
