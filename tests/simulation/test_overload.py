"""A storm of 10,000 changes a second on one TapioCluster: another one waits no longer for it, and memory stays bounded.

Virtual time: how long something takes is what the operator waits for, whatever the machine does besides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tapio_shared.json import JsonObject
from tapio_shared.kubernetes import object_path
from tapio_watcher.publishing import MOST_WAITING
from tapio_watcher.rates import KEY_RATE, OBJECT_RATE
from tests.support.operator_in_process import Operator, operator_in_process
from tests.support.virtual_time import run_virtually

_A_SECOND = 10_000
_STEPS = 100
"""Into which a second of the storm is divided."""
_STORMED, _OTHER = "dev", "other"


def _service(cluster: str) -> str:
    return object_path("", "v1", "services", "default", f"{cluster}-nats")


def _cluster(name: str) -> str:
    return object_path("tapio.io", "v1alpha1", "tapioclusters", "default", name)


def _one_object(_: Operator) -> list[str]:
    return [_service(_STORMED)]


def _all_objects(operator: Operator) -> list[str]:
    paths = [path for path in operator.paths() if f"/{_STORMED}-" in path]
    assert len(paths) > 10
    return [_cluster(_STORMED), *paths]


async def _correction_of_another(operator: Operator) -> float:
    """Seconds until a Service of the other TapioCluster that somebody deletes is there again."""
    before = operator.clock.monotonic()
    await operator.admin.request("DELETE", _service(_OTHER))
    while (await operator.admin.request("GET", _service(_OTHER))).status != 200:  # noqa: ASYNC110 - virtual time
        await asyncio.sleep(0.01)
    return operator.clock.monotonic() - before


async def _storm(operator: Operator, paths: list[str], seconds: int, most: list[int]) -> None:
    for step in range(seconds * _STEPS):
        for number in range(_A_SECOND // _STEPS):
            value = str(step * _A_SECOND + number)
            patch: JsonObject = {"metadata": {"labels": {"storm": value}}}
            await operator.patch(paths[number % len(paths)], patch)
        most.append(int(operator.watcher_registry.get_sample_value("tapio_watcher_pending_facts", _LOCAL) or 0))
        await asyncio.sleep(1 / _STEPS)


_LOCAL = {"target": "local"}


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(1, id="a second"),
        # 100,000 changes of a simulated API server, a millisecond of CPU each on a quiet machine.
        pytest.param(10, id="ten", marks=[pytest.mark.campaign, pytest.mark.timeout(1800)]),
    ],
)
@pytest.mark.parametrize(
    "stormed", [pytest.param(_one_object, id="one object"), pytest.param(_all_objects, id="all objects of a cluster")]
)
def test_a_storm_on_one_cluster_delays_no_other(stormed: Callable[[Operator], list[str]], seconds: int) -> None:
    async def run() -> None:
        async with operator_in_process(1, workers=1) as operator:
            await operator.until_converged()
            calm = await _correction_of_another(operator)
            await operator.until_converged()
            paths, stored, most = stormed(operator), len(operator.log.stored), list[int]()

            storm = asyncio.create_task(_storm(operator, paths, seconds, most))
            await asyncio.sleep(seconds / 2)
            delayed = await _correction_of_another(operator)
            assert not storm.done() or delayed > seconds / 2
            await storm

            assert delayed < calm + 1.0
            assert max(most) <= min(len(paths) + 30, MOST_WAITING), "what waits is one fact for each object"
            told = [one for one in operator.log.stored[stored:] if f".{_STORMED}.object." in one.subject]
            allowed = len(paths) * (OBJECT_RATE.burst + 2 * seconds)
            assert len(told) <= min(allowed, KEY_RATE.burst + KEY_RATE.per_second * 2 * seconds) + len(paths)
            await operator.until_converged()
            assert operator.objects() == operator.wanted()

    run_virtually(run())
