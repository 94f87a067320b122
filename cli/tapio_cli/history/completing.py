"""What a shell completes: names of TapioClusters, and of one's objects, as the history has them.

Whatever goes wrong, nothing is offered and nothing is said: a word is being typed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import cast

import typer

from tapio_cli.history.exporting import Connect, opened
from tapio_cli.history.known import recorded_keys
from tapio_cli.history.options import Where
from tapio_cli.history.source import Sources
from tapio_shared.errors import TapioError
from tapio_shared.keys import address_of, key_prefix

_PATIENCE = 3.0
"""Seconds after which nothing is offered."""


def clusters(context: typer.Context, incomplete: str) -> list[str]:
    """Every TapioCluster whose `namespace/name` begins so."""

    async def found(sources: Sources, where: Where) -> list[str]:
        return [f"{one.namespace}/{one.name}" for one in await recorded_keys(sources.log, where.target)]

    return _offered(context, incomplete, found)


def objects(context: typer.Context, incomplete: str) -> list[str]:
    """Every `Kind/name` of the TapioCluster that was named before."""

    async def found(sources: Sources, where: Where) -> list[str]:
        key = where.key(str(context.params.get("cluster") or ""))
        partitions = max((await sources.log.info()).partitions, 1)
        view = await sources.log.last_per_subject(f"{key_prefix(key, partitions)}.object.>")
        refs = (address_of(one.subject).ref for one in view.messages)
        return sorted(f"{ref.kind}/{ref.name}" for ref in refs if ref is not None)

    return _offered(context, incomplete, found)


def _offered(
    context: typer.Context, incomplete: str, found: Callable[[Sources, Where], Awaitable[list[str]]]
) -> list[str]:
    async def read() -> list[str]:
        make = cast("Callable[..., Where]", Where)
        given = {one.name: context.params[one.name] for one in fields(Where) if context.params.get(one.name)}
        where = make(**given)
        async with asyncio.timeout(_PATIENCE), opened(cast("Connect", context.obj), where) as sources:
            return await found(sources, where)

    try:
        return [one for one in asyncio.run(read()) if one.startswith(incomplete)]
    except (TapioError, OSError):  # TimeoutError is one.
        return []
