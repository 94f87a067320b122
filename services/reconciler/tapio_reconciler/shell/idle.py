"""Keys of which nothing is to be done, told to the next owner of their partition, who need not plan them (ADR 0031).

A key is idle when its last plan found nothing to do and nothing was told since that can change that. An epoch tells of
such keys up to which sequence that holds. It stands behind all that it rests on, so a log that loses its end, or comes
back from a backup, loses the word of it first.
"""

from __future__ import annotations

from collections.abc import Mapping

from tapio_reconciler.core.completeness import incompleteness
from tapio_reconciler.core.parked import SHARED_FACTS
from tapio_reconciler.core.state import State
from tapio_reconciler.shell.states import States
from tapio_reconciler.shell.timers import Timers
from tapio_shared.facts import IdleKey, IdleKeys, Timer
from tapio_shared.keys import OrderingKey, key_text
from tapio_shared.ports import Clock

MOST = 2_000
"""Keys that one epoch tells of, 80 bytes each and 400 at the most: a record is to fit the server's limit of 1 MiB."""
_WORTH_TELLING = 10
"""Told of anew once of so many known keys one is idle that was not told of as it is."""


class Idle:
    """The idle keys of one partition, as their owner knows them."""

    def __init__(self, states: States, timers: Timers, clock: Clock, made_by: str) -> None:
        """`made_by` names the code that plans: other code may find something to do."""
        self._states, self._timers, self._clock, self._made_by = states, timers, clock, made_by
        self._keys: set[OrderingKey] = set()
        self._told: Mapping[str, IdleKey] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def add(self, key: OrderingKey) -> None:
        """The plan of `key` that rests on all that was told of it found nothing to do."""
        self._keys.add(key)

    def discard(self, key: OrderingKey) -> None:
        """Something may be to be done."""
        self._keys.discard(key)

    def take_over(self, told: IdleKeys | None, log_begins: int) -> None:
        """Go by what a former owner told, for each key of which nothing else has been told since; arm their timers.

        The partition has been read, and the log began at `log_begins` after that. By a clock that is behind the former
        owner's nobody can say how long a timer has to go: a plan can, from what failed.
        """
        if told is None or told.made_by != self._made_by or self._clock.now() < told.told_at:
            return
        shared_is_same = {
            target: not _incomplete(self._states, target, log_begins)
            and told.shared.get(target) == _shared_sequences(self._states, target)
            for target in self._states.shared
        }
        for key, known in self._states.known.items():
            idle = told.keys.get(key_text(key))
            if idle is not None and idle.revision == known.revision and shared_is_same.get(key.target, False):
                self._keys.add(key)
                self._timers.replace(key, [Timer(name=name, due_at=due_at) for name, due_at in idle.timers])
        self._told = told.keys

    def tell(self) -> IdleKeys:
        """What an epoch that is advanced now tells of idle keys."""
        keys = {
            key_text(key): IdleKey(
                revision=self._states.known[key].revision,
                timers=tuple((one.name, one.due_at) for one in self._timers.of(key)),
            )
            for key in sorted(self._keys)[:MOST]
            if self._timers.go_by_the_wall(key)
        }
        self._told = keys
        targets = sorted({key.target for key in self._keys})
        return IdleKeys(
            made_by=self._made_by,
            shared={target: _shared_sequences(self._states, target) for target in targets},
            keys=keys,
            told_at=self._clock.now(),
        )

    def is_worth_telling(self) -> bool:
        """Whether the next owner would have to plan noticeably less if it were told now."""
        told = self._told
        news = sum(
            (one := told.get(key_text(key))) is None or one.revision != self._states.known[key].revision
            for key in sorted(self._keys)[:MOST]
        )
        return news * _WORTH_TELLING > len(self._states.known)


def _shared_sequences(states: States, target: str) -> dict[str, int]:
    """Where the shared facts stand that a plan rests on. A sweep's mark changes nothing but completeness."""
    facts = states.shared.get(target, {})
    return {name: facts[name].sequence for name in SHARED_FACTS if name in facts and name != "sweep"}


def _incomplete(states: States, target: str, log_begins: int) -> str:
    facts = State(OrderingKey(target, "", ""), shared=dict(states.shared.get(target, {})))
    return incompleteness(facts, log_begins)
