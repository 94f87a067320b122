"""What people do while things go wrong."""

from __future__ import annotations

import asyncio
import random

from tests.campaign.people import first_spec
from tests.campaign.trouble import Trouble


async def spec_changes(trouble: Trouble, rng: random.Random) -> None:
    if await trouble.people.change(trouble.owner(rng), rng):
        trouble.count("people: specs changed")


async def cluster_is_deleted(trouble: Trouble, rng: random.Random) -> None:
    if await trouble.people.delete(trouble.owner(rng)):
        trouble.count("people: TapioClusters deleted")


async def cluster_is_made(trouble: Trouble, rng: random.Random) -> None:
    owner = trouble.owner(rng)
    if trouble.people.wanted.get(owner) is None and await trouble.people.create(owner, first_spec(rng)):
        trouble.count("people: TapioClusters made again")


async def cluster_is_replaced(trouble: Trouble, rng: random.Random) -> None:
    """Deleted, and made again as soon as that is possible."""
    owner = trouble.owner(rng)
    if not await trouble.people.delete(owner):
        return
    trouble.count("people: TapioClusters deleted")
    spec = first_spec(rng)
    for _ in range(60):
        if trouble.people.wanted.get(owner) is not None:
            return
        if await trouble.people.create(owner, spec):
            trouble.count("people: TapioClusters made again")
            return
        await asyncio.sleep(0.5)


async def children_are_deleted(trouble: Trouble, rng: random.Random) -> None:
    trouble.count("people: objects deleted", await trouble.people.touch(rng, is_deletion=True))


async def children_are_edited(trouble: Trouble, rng: random.Random) -> None:
    trouble.count("people: objects edited", await trouble.people.touch(rng, is_deletion=False))


async def cluster_is_paused(trouble: Trouble, rng: random.Random) -> None:
    if await trouble.people.pause(trouble.owner(rng)):
        trouble.count("people: paused")


async def pauses_end(trouble: Trouble, _rng: random.Random) -> None:
    await trouble.people.unpause()


async def force_is_asked_for(trouble: Trouble, rng: random.Random) -> None:
    if await trouble.people.force(trouble.owner(rng), rng):
        trouble.count("people: force-reconcile")
