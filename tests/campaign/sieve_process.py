"""One process of the struck operator, and what a case does to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tests.campaign.sieve_past import Past

Moment = Literal["before", "after", "decision", "event"]
Role = Literal["watcher", "worker", "webhook"]


@dataclass(slots=True)
class Process:
    """One process. Its task ends when it dies; whatever it asked for then is never answered."""

    role: Role
    name: str
    is_alive: bool = True
    past: Past | None = None
    """What its reads are answered from, for a while."""
    deaf_to: str = ""
    """Object of which its watches tell it nothing until they list anew; `*` stands for the one event alone."""
    relist_at: float = 0.0
    tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    is_ready: Callable[[], bool] = lambda: False

    async def check(self) -> None:
        """Go on, unless the process is dead."""
        if not self.is_alive:
            await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class Strike:
    """What a case does where it strikes."""

    kind: Literal["crash", "past", "cache", "lag", "event", "object"]
    version: int = 0
    """past, cache: the version of the API server that the successors are shown."""
    lag: int = 0
    """lag: how many messages the log's replica is behind."""
    seconds: float = 30.0
    """How long the successors are shown the past."""


Choose = Callable[[Moment, str], Strike | None]


def nowhere(_moment: Moment, _name: str) -> Strike | None:
    return None
