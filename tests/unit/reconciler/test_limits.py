"""How much a worker does at once for one target is what the operator's configuration, as the log has it, says."""

from __future__ import annotations

import asyncio

import pytest

from tapio_reconciler.core.state import Entry
from tapio_reconciler.shell.capacity import Capacity
from tapio_shared.facts import ConfigurationObserved
from tapio_shared.json import JsonObject
from tests.support.virtual_time import run_virtually

CONFIGURATION: JsonObject = {
    "limits": {"concurrentClusters": 8},
    "targetLimits": {"east": {"concurrentClusters": 2, "requestsPerSecond": 5}},
}


def _heeding(target: str) -> Capacity:
    capacity = Capacity()
    entry = Entry(1, ConfigurationObserved(configuration=CONFIGURATION, observed_at=1))
    capacity.heed(target, {target: {"config": entry}})
    return capacity


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param("west", 8, id="a target like all"),
        pytest.param("east", 2, id="a target with limits of its own"),
    ],
)
def test_clusters_of_one_target_at_once(target: str, expected: int) -> None:
    capacity, most = _heeding(target), 0

    async def one() -> None:
        nonlocal most
        async with capacity.keys_of(target):
            most = max(most, capacity.keys_of(target).taken)
            await asyncio.sleep(1)

    async def run() -> None:
        await asyncio.gather(*(one() for _ in range(20)))

    run_virtually(run())
    assert most == expected


def test_requests_of_one_target_in_a_second_hold_back_no_other() -> None:
    capacity = _heeding("east")

    async def seconds(target: str) -> float:
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(capacity.pacing_of(target).turn() for _ in range(30)))
        return asyncio.get_running_loop().time() - began

    assert run_virtually(seconds("east")) == pytest.approx(4.0)
    assert run_virtually(seconds("west")) == 0.0
