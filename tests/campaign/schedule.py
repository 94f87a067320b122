"""A schedule: what happens when, drawn from one seed. Each event draws from a seed of its own, so that leaving some
out changes nothing of the others: that is what makes a failing schedule small.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import msgspec

from tapio_reconciler.core.rules import NEWEST
from tests.campaign.kinds import KINDS
from tests.campaign.world import INTERVAL, ServerAge, Setup

_NAMES = tuple(KINDS)
_WEIGHTS = tuple(weight for weight, _ in KINDS.values())
_WORK = ("spec changes", "spec changes", "objects are deleted", "objects are edited", "cluster is replaced")
_WORKS = 0.4
"""How often an event is followed by work for the operator."""
_APART = (("lists", "lists break off", 0.1), ("late", "watcher is late", 0.1))
"""What is drawn apart, so that other seeds stay what they were when it was thought of: how often, once a schedule."""
_AGES = (0.7, 0.15, 0.15)


@dataclass(frozen=True, slots=True)
class Event:
    """After `pause` seconds and `turns` turns of the loop, `kind` happens, with the details that `seed` draws."""

    number: int
    pause: float
    turns: int
    kind: str
    seed: int


_FEW_BYTES = (250_000, 400_000)
"""Of a log, for each target, of which what must stay may take 110,000. A log that can't hold what must stay comes to no
rest, whatever the operator does (docs/event-log.md: add targets up)."""


@dataclass(frozen=True, slots=True)
class Schedule:
    setup: Setup
    events: tuple[Event, ...]

    def without(self, numbers: Collection[int]) -> Schedule:
        """The same, with the events of these numbers left out."""
        return Schedule(self.setup, tuple(event for event in self.events if event.number not in numbers))


def kept(path: Path) -> Schedule:
    """A schedule that was kept, since it once found something: it stays as it is when what is drawn changes."""
    return msgspec.json.decode(path.read_bytes(), type=Schedule)


def keep(schedule: Schedule, path: Path) -> None:
    """Keep `schedule` for good."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(schedule), indent=1) + b"\n")


def drawn(seed: int, *, is_dense: bool = False) -> Schedule:
    """The schedule of `seed`; a dense one has three times as many events, and more of the parts."""
    rng = random.Random(f"{'dense ' * is_dense}schedule {seed}")
    setup = Setup(
        seed=seed,
        partitions=rng.choice((1, 2, 3)),
        workers=rng.choice((2, 3, 4) if is_dense else (1, 2, 2, 3)),
        watchers=2 if rng.random() < (0.5 if is_dense else 0.15) else 1,
        is_far=rng.random() < (0.3 if is_dense else 0.12),
        max_bytes=rng.choice(_FEW_BYTES) if rng.random() < 0.1 else -1,
        interval=rng.choice((15, INTERVAL)),
        server=_server(seed),
        logic=NEWEST,
    )
    if setup.is_far and setup.max_bytes > 0:
        setup = replace(setup, max_bytes=2 * setup.max_bytes)
    events: list[Event] = []
    for _ in range(rng.randint(15, 40) if is_dense else rng.randint(4, 12)):
        events.append(_event(len(events), rng))
        if rng.random() < _WORKS:
            events.append(_work(len(events), rng))
    for word, kind, often in _APART:
        apart = random.Random(f"{word} {seed}")
        if apart.random() < often:
            pause, turns = apart.uniform(0.0, 20.0), apart.randrange(30)
            events.append(Event(len(events), pause, turns, kind, apart.randrange(1 << 40)))
    return Schedule(setup, tuple(events))


def _server(seed: int) -> ServerAge:
    """What the API servers can do; drawn apart as well."""
    ages: tuple[ServerAge, ...] = get_args(ServerAge)
    return random.Random(f"server {seed}").choices(ages, _AGES)[0]


def _event(number: int, rng: random.Random) -> Event:
    pause = rng.choice((0.0, 0.0, rng.uniform(0.0, 0.3), rng.uniform(0.0, 4.0), rng.uniform(0.0, 20.0)))
    turns = rng.choice((0, rng.randrange(30), rng.randrange(300)))
    kind = rng.choices(_NAMES, _WEIGHTS)[0]
    return Event(number, pause, turns, kind, rng.randrange(1 << 40))


def _work(number: int, rng: random.Random) -> Event:
    """Something to do for the operator, right after a fault: one that strikes while nothing is done harms nobody."""
    pause = rng.choice((0.0, rng.uniform(0.0, 0.3), rng.uniform(0.0, 2.0)))
    return Event(number, pause, rng.randrange(30), rng.choice(_WORK), rng.randrange(1 << 40))
