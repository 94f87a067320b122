"""What the partitions of one worker share: memory for states, and how much is done at once.

The limits are the worker's and not a partition's: what a worker takes must not depend on how many partitions it owns.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from tapio_reconciler.core.state import State
from tapio_shared.keys import OrderingKey

HOT_KEYS = 64
"""States kept per worker, some 200 KB each, and as much again for what was rendered from it."""

CONCURRENT_KEYS = 32
"""Keys of one target worked on at once; the API server's answers are what they wait for."""
CONCURRENT_READS = 2
"""Partitions read whole at once, when they are taken over: some 60 KB per TapioCluster."""


@dataclass(slots=True)
class HotStates:
    """The last used states. An owner sees its own alone: one that has ended leaves nothing for the next to trust."""

    limit: int = HOT_KEYS
    _states: OrderedDict[tuple[int, OrderingKey], State] = field(
        default_factory=OrderedDict[tuple[int, OrderingKey], State]
    )
    _owners: int = 0

    def owner(self) -> int:
        """A new owner's token, for the other calls."""
        self._owners += 1
        return self._owners

    def get(self, owner: int, key: OrderingKey) -> State | None:
        """The state of `key`, if it is kept; reading makes it no younger."""
        return self._states.get((owner, key))

    def keep(self, owner: int, key: OrderingKey, state: State) -> None:
        """Keep `state` as the last used one; the one that was not used for longest may go."""
        self._states[owner, key] = state
        self._states.move_to_end((owner, key))
        while len(self._states) > self.limit:
            self._states.popitem(last=False)

    def release(self, owner: int) -> None:
        """Drop everything of an owner that has ended."""
        for one in [one for one in self._states if one[0] == owner]:
            del self._states[one]


@dataclass(slots=True)
class Capacity:
    """One per worker, handed to each of its partitions."""

    hot: HotStates = field(default_factory=HotStates)
    reads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONCURRENT_READS))
    _keys: dict[str, asyncio.Semaphore] = field(default_factory=dict[str, asyncio.Semaphore])

    def keys_of(self, target: str) -> asyncio.Semaphore:
        """Slots for the keys of one target: those of a target that does not answer are all that wait for it."""
        return self._keys.setdefault(target, asyncio.Semaphore(CONCURRENT_KEYS))
