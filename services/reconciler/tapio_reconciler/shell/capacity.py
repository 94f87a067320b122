"""What the partitions of one worker share: memory for states, and how much is done at once.

The limits are the worker's and not a partition's: what a worker takes must not depend on how many partitions it owns.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field

import structlog

from tapio_reconciler.core.rules import NEWEST
from tapio_reconciler.core.shared_facts import configuration_in
from tapio_reconciler.core.state import Entry, State
from tapio_reconciler.shell.takeovers import Takeovers
from tapio_reconciler.shell.trust import Trust
from tapio_shared.api.operator_config import Limits
from tapio_shared.facts import ConfigurationObserved
from tapio_shared.keys import OrderingKey
from tapio_shared.pacing import Pacing, Slots

log = structlog.get_logger(__name__)

HOT_KEYS = 32
"""States kept per worker, some 230 KB each, and 150 KB more for what was rendered from it."""


@dataclass(slots=True)
class HotStates:
    """The last used states. An owner sees its own alone: one that has ended leaves nothing for the next to trust."""

    limit: int = HOT_KEYS
    _states: OrderedDict[tuple[int, OrderingKey], State] = field(
        default_factory=OrderedDict[tuple[int, OrderingKey], State]
    )
    _at_work: set[tuple[int, OrderingKey]] = field(default_factory=set[tuple[int, OrderingKey]])
    _owners: int = 0

    def owner(self) -> int:
        """A new owner's token, for the other calls."""
        self._owners += 1
        return self._owners

    def get(self, owner: int, key: OrderingKey) -> State | None:
        """The state of `key`, if it is kept; reading makes it no younger."""
        return self._states.get((owner, key))

    def keep(self, owner: int, key: OrderingKey, state: State) -> None:
        """Keep `state` as the last used one; of those not at work, the one unused for longest may go."""
        self._states[owner, key] = state
        self._states.move_to_end((owner, key))
        while len(self._states) > self.limit:
            idle = (one for one in self._states if one not in self._at_work)
            del self._states[next(idle, next(iter(self._states)))]

    @contextmanager
    def at_work(self, owner: int, key: OrderingKey) -> Generator[None]:
        """Within this the state of `key`, once it is kept, stays, unless all that are kept are at work."""
        self._at_work.add((owner, key))
        try:
            yield
        finally:
            self._at_work.discard((owner, key))

    def drop(self, owner: int, key: OrderingKey) -> None:
        """Keep the state of `key` no longer."""
        self._states.pop((owner, key), None)

    def release(self, owner: int) -> None:
        """Drop everything of an owner: it has ended, or must read anew."""
        for one in [one for one in self._states if one[0] == owner]:
            del self._states[one]


@dataclass(slots=True)
class Capacity:
    """One per worker, handed to each of its partitions."""

    trust: Trust = field(default_factory=Trust)

    hot: HotStates = field(default_factory=HotStates)
    takeovers: Takeovers = field(default_factory=Takeovers)
    _keys: dict[str, Slots] = field(default_factory=dict[str, Slots])
    _pacings: dict[str, Pacing] = field(default_factory=dict[str, Pacing])

    def keys_of(self, target: str) -> Slots:
        """Slots for the keys of one target: those of a target that does not answer are all that wait for it.

        The API server's answers are what they wait for.
        """
        return self._keys.setdefault(target, Slots(Limits().concurrent_clusters))

    def slot(self, target: str, *, begun: bool = False, after: int = 0) -> AbstractAsyncContextManager[None]:
        """One of those slots. A key that was `begun` goes first, to come to its end while its state is at hand.

        The others go by the sequence of their newest message (`after`): who was told of first, and after a takeover in
        the order in which their states lie in the log, which then is read from one end to the other.
        """
        slots = self.keys_of(target)
        return slots.first() if begun else slots.after(after)

    def pacing_of(self, target: str) -> Pacing:
        """The pace of requests to one target's API server."""
        return self._pacings.setdefault(target, Pacing())

    def heed(self, target: str, shared: Mapping[str, Mapping[str, Entry]]) -> None:
        """Go by what the operator's configuration, among the shared facts, says of `target`; in force at once."""
        entry = shared.get(target, {}).get("config")
        if entry is None or not isinstance(entry.record, ConfigurationObserved):
            return
        configuration = configuration_in(entry.record)
        limits = configuration.limits_of(target)
        self.keys_of(target).resize(limits.concurrent_clusters)
        self.pacing_of(target).limit(limits)
        if configuration.planner_logic > NEWEST:
            log.warning("rules not known", target=target, asked=configuration.planner_logic, newest=NEWEST)
