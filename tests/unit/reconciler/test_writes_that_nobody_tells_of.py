"""While no watcher runs, what was written last is repeated: ever more rarely, so that the log keeps its past."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from tapio_shared.facts import Record
from tapio_shared.json import object_at
from tests.support.planned_world import START, World, example
from tests.support.volume_world import VolumeWorld

HOUR = 3_600_000
CALM_SINCE = 5
"""The rules from which on what nobody tells of is repeated ever more rarely."""


class Unheard(VolumeWorld):
    """A world whose watcher can end."""

    is_heard = True

    def _tell(self, subject: str, record: Record) -> None:
        if self.is_heard:
            super()._tell(subject, record)


def _deleted(world: World) -> None:
    document = copy.deepcopy(world.cluster)
    object_at(document, "metadata")["deletionTimestamp"] = "2026-11-30T10:00:00Z"
    world.observe(document)


def _upgraded(world: World) -> None:
    world.edit(version="1.3.0")


def _grown(world: World) -> None:
    world.edit(nats={"storage": "5Gi"})


def _written(world: World, lasts: int) -> dict[str, list[int]]:
    """Seconds at which each object, and the status, is written within `lasts` milliseconds, by the timers alone."""
    began, written = world.now, dict[str, list[int]]()
    while world.now < began + lasts:
        decision = world.step().decision
        names = [f"{one.kind} {one.name}" for one in decision.apply]
        names += [f"{one.kind} {one.name}" for one in decision.delete]
        for name in (*names, *(["status"] if decision.status is not None else [])):
            written.setdefault(name, []).append((world.now - began) // 1000)
        if not names and decision.status is None:
            world.now = min(timer.due_at for timer in decision.timers)
    return written


def _world(happens: Callable[[World], None], logic: int) -> Unheard:
    world = Unheard.of(example("development"))
    world.logic = logic
    world.settle()
    world.now = START + HOUR
    happens(world)
    world.is_heard = False
    return world


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(_deleted, id="deleted"),
        pytest.param(_upgraded, id="another version"),
        pytest.param(_grown, id="a claim grows"),
    ],
)
def test_what_nobody_tells_of_is_repeated_ever_more_rarely(happens: Callable[[World], None]) -> None:
    def most(logic: int, lasts: int) -> int:
        return max(len(instants) for instants in _written(_world(happens, logic), lasts).values())

    assert most(CALM_SINCE - 1, HOUR // 12) >= 30, "every five to ten seconds"
    assert most(CALM_SINCE, HOUR) <= 20


def test_it_waits_twice_as_long_each_time_and_no_longer_than_five_minutes() -> None:
    written = _written(_world(_upgraded, CALM_SINCE), HOUR // 2)
    assert written["Deployment dev-gateway"] == [0, 5, 15, 35, 75, 155, 315, 615, 915, 1215, 1515]


def test_once_somebody_tells_of_it_the_next_write_waits_no_longer_than_the_first() -> None:
    world = _world(_upgraded, CALM_SINCE)
    _written(world, HOUR)
    world.is_heard = True
    world.now += HOUR
    world.settle()
    world.edit(version="1.3.1")
    world.is_heard = False
    assert _written(world, 20_000)["Deployment dev-gateway"] == [0, 5, 15]
