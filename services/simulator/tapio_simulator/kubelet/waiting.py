"""Pods that can't be scheduled, by what they wait for, so that each change wakes those alone whom it may help."""

from __future__ import annotations

import asyncio

from tapio_simulator.machinery.objects import Key
from tapio_simulator.machinery.queue import WorkQueue

_GATHER, _GATHER_PER_POD = 0.05, 0.001
"""Seconds that changes are gathered before every pod that waits for room is tried again; longer when many wait."""


class Waiting:
    """Puts pods back into `queue` when it is worth another try."""

    def __init__(self, queue: WorkQueue[Key]) -> None:
        self._queue = queue
        self._room: dict[Key, None] = {}
        self._claims: dict[str, dict[Key, None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def for_room(self, key: Key) -> None:
        """The pod waits for a node that can take it."""
        self.done(key)
        self._room[key] = None

    def for_claims(self, key: Key) -> None:
        """The pod waits for claims of its namespace."""
        self.done(key)
        self._claims.setdefault(key[0], {})[key] = None

    def done(self, key: Key) -> None:
        """The pod waits no longer, or for something else."""
        self._room.pop(key, None)
        if self._claims:
            there = self._claims.get(key[0])
            if there is not None:
                there.pop(key, None)
                if not there:
                    del self._claims[key[0]]

    def room_made(self) -> None:
        """A node changed or a pod is gone."""
        if self._room and self._timer is None:
            seconds = max(_GATHER, _GATHER_PER_POD * len(self._room))
            self._timer = asyncio.get_running_loop().call_later(seconds, self._try_all)

    def claims_changed(self, namespace: str = "") -> None:
        """A claim of `namespace` changed; without one, a storage class did."""
        for space in [namespace] if namespace else list(self._claims):
            for key in list(self._claims.get(space, ())):
                self._queue.add(key)

    def _try_all(self) -> None:
        self._timer = None
        for key in list(self._room):
            self._queue.add(key)
