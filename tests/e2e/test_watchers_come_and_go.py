"""Watchers share the targets: one of them ends, or stops in its tracks, and another one goes on with what it led."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from tests.support.e2e_kubernetes import simulated_kubernetes
from tests.support.e2e_objects import small_cluster
from tests.support.e2e_targets import Targets, simulated_targets
from tests.support.eventually import eventually
from tests.support.facts_and_objects import differences
from tests.support.freezing import freeze
from tests.support.operator_run import WATCHER, OperatorRun, start_operator

_NAMESPACE = "default"
_STANDBY = "watcher-2"
_LEASES = {"tapio-watcher-local", "tapio-watcher-east"}


class _Line(msgspec.Struct):
    event: str = ""
    lease: str = ""
    target: str = ""


def _lines(run: OperatorRun, watcher: str, event: str) -> list[_Line]:
    """What a watcher's log says of `event`, in order."""
    text = run[watcher].log.read_text(errors="replace")
    lines = [msgspec.json.decode(line, type=_Line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in lines if line.event == event]


def _acquired(run: OperatorRun, watcher: str) -> list[str]:
    return sorted(line.lease for line in _lines(run, watcher, "lease acquired"))


@asynccontextmanager
async def operator(directory: Path) -> AsyncGenerator[tuple[OperatorRun, Targets]]:
    """Two watchers, of which the first one leads everything: the operator's own cluster and target east."""
    async with (
        simulated_kubernetes(directory) as kubernetes,
        start_operator(kubernetes, directory, workers=1, webhook=False) as run,
        simulated_targets(run, directory, "east") as targets,
    ):
        await targets.tell("east")
        await targets.until("east", "connected")
        await run.start_as(_STANDBY)
        await kubernetes.apply(small_cluster("one"), _NAMESPACE)
        await targets.clusters["east"].apply(small_cluster("one"), _NAMESPACE)
        await kubernetes.until_condition("one", "Ready", "True", namespace=_NAMESPACE)
        await targets.clusters["east"].until_condition("one", "Ready", "True", namespace=_NAMESPACE)
        assert set(_acquired(run, WATCHER)) == _LEASES
        assert _acquired(run, _STANDBY) == [], "what has a leader moved"
        yield run, targets


async def _goes_on(run: OperatorRun, targets: Targets, name: str) -> None:
    """A new TapioCluster in each of the two becomes Ready, and the log holds what there is."""
    for kubernetes in (run.kubernetes, targets.clusters["east"]):
        await kubernetes.apply(small_cluster(name), _NAMESPACE)
    for kubernetes in (run.kubernetes, targets.clusters["east"]):
        await kubernetes.until_condition(name, "Ready", "True", namespace=_NAMESPACE)


@pytest.mark.timeout(200)
async def test_a_frozen_watcher_is_superseded_and_leads_nothing_when_it_thaws(tmp_path: Path) -> None:
    async with operator(tmp_path) as (run, targets):
        frozen = run[WATCHER]
        await freeze(frozen)
        try:

            async def is_superseded() -> bool:
                return set(_acquired(run, _STANDBY)) == _LEASES

            await eventually(is_superseded, seconds=60)  # within 10 s: tests/simulation/test_leader_election.py
            await _goes_on(run, targets, "two")
        finally:
            frozen.send_signal(signal.SIGCONT)

        async def has_let_go() -> bool:
            lost = {line.lease for line in _lines(run, WATCHER, "lease lost") if line.lease}
            return lost == _LEASES and 'tapio_watcher_leading{target="local"} 0.0' in await frozen.metrics()

        await eventually(has_let_go, seconds=60)
        await _goes_on(run, targets, "three")
        await run.settled()
        assert await differences(run, _NAMESPACE) == []
        assert set(_acquired(run, _STANDBY)) == _LEASES
        assert len(_acquired(run, _STANDBY)) == len(_LEASES), "a Lease moved twice"


@pytest.mark.timeout(200)
async def test_what_a_watcher_led_that_ends_is_led_by_another_and_nothing_else_moves(tmp_path: Path) -> None:
    async with operator(tmp_path) as (run, targets):
        await run.start_as("watcher-3")
        await run[WATCHER].stop()

        async def is_led_again() -> bool:
            return sorted([*_acquired(run, _STANDBY), *_acquired(run, "watcher-3")]) == sorted(_LEASES)

        await eventually(is_led_again, seconds=60)
        await _goes_on(run, targets, "two")
        await run.settled()
        assert await differences(run, _NAMESPACE) == []
        assert await is_led_again(), "a Lease moved that had a leader"
        await run[WATCHER].start()
        await run[WATCHER].until_ready()
        await _goes_on(run, targets, "three")
        assert await is_led_again()
