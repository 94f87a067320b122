"""What the commands ask a history for: one story, those of many, or what files would do to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tapio_cli.history.admitted import admissions_of
from tapio_cli.history.exporting import Connect, opened
from tapio_cli.history.options import Where
from tapio_cli.history.story import Story, read_present, read_standing, read_story, recorded_keys
from tapio_shared.admissions import Admission
from tapio_shared.json import JsonObject
from tapio_shared.keys import OrderingKey
from tapio_shared.ports import Message

if TYPE_CHECKING:
    from tapio_cli.history.ahead import Ahead

TOLD_WHOLE = 10
"""TapioClusters whose whole history `status` reads to tell what changed last; of more it tells how they stand."""


async def told_of(connect: Connect, key: OrderingKey, where: Where) -> tuple[Story, list[Admission]]:
    """The story of one TapioCluster, and what the webhook answered about it."""
    async with opened(connect, where) as sources:
        return await read_story(sources.log, key), await admissions_of(sources.admitted, key)


async def standing_of(
    connect: Connect, key: OrderingKey, where: Where, told: tuple[Callable[[Message], bool], int]
) -> Story:
    """How one TapioCluster stood when what was `told` had been told; see `read_standing`. An archive is read whole."""
    async with opened(connect, where) as sources:
        if where.archive is not None:
            return await read_story(sources.log, key)
        return await read_standing(sources.log, key, *told)


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
