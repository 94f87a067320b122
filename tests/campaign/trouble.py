"""The world, and how it is troubled at the moment."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tapio_simulator.faults import Fault
from tests.campaign.parts import this_loop
from tests.campaign.people import NAMES, Owner, People
from tests.campaign.world import World

Doing = Callable[["Trouble", random.Random], Awaitable[None]]
"""One thing that happens. It draws its details, and sees to it that it ends."""


@dataclass(slots=True)
class Trouble:
    """The world, and how it is troubled."""

    world: World
    people: People
    rules: list[tuple[str, Fault]] = field(default_factory=list[tuple[str, Fault]])
    believers: int = 0
    _lasting: list[asyncio.TimerHandle] = field(default_factory=list[asyncio.TimerHandle])

    def count(self, what: str, often: int = 1) -> None:
        self.world.fired[what] += often

    def until(self, seconds: float, end: Callable[[], object]) -> None:
        """Call `end` when `seconds` have passed."""
        self._lasting.append(this_loop().call_later(seconds, end))

    def add_rule(self, what: str, fault: Fault, target: str) -> None:
        self.world.clusters[target].faults.add(fault)
        self.rules.append((what, fault))

    def target(self, rng: random.Random) -> str:
        return rng.choice(sorted(self.world.clusters))

    def owner(self, rng: random.Random) -> Owner:
        return self.target(rng), rng.choice(NAMES)

    def part(self, rng: random.Random, prefix: str = "") -> str | None:
        """The name of a part that lives."""
        names = [name for name in sorted(self.world.parts) if name.startswith(prefix) and "believer" not in name]
        return rng.choice(names) if names else None

    async def end(self) -> None:
        """Everything is well again; every part runs."""
        world = self.world
        for handle in self._lasting:
            handle.cancel()
        world.weather.clear()
        world.server.mischief.clear()
        world.log.lag, world.log.refuse_when_full = 0, False
        for cluster in world.clusters.values():
            cluster.faults.clear()
        for what, fault in self.rules:
            self.count(what, fault.acted)
        for name, part in list(world.parts.items()):
            for link in part.links:
                link.mend()
            world.thaw(name)
            if name.startswith("believer"):
                world.kill(name)
        await self.people.unpause()
        world.start_all()
