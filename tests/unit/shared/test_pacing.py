"""How fast an API server is asked, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from tapio_shared.api.operator_config import Limits, OperatorConfig, parse_operator_config
from tapio_shared.pacing import LONGEST_HOLD, Pacing, Slots
from tests.support.virtual_time import run_virtually


def _turns(pacing: Pacing, count: int) -> list[float]:
    """When so many requests that are all made at once leave, in seconds since then."""

    async def run() -> list[float]:
        began, left = asyncio.get_running_loop().time(), list[float]()

        async def one() -> None:
            await pacing.turn()
            left.append(round(asyncio.get_running_loop().time() - began, 3))

        await asyncio.gather(*(one() for _ in range(count)))
        return sorted(left)

    return run_virtually(run())


def test_without_a_limit_nobody_waits() -> None:
    assert _turns(Pacing(), 1000) == [0.0] * 1000


def test_a_rate_lets_two_seconds_worth_go_at_once_and_then_its_own() -> None:
    left = _turns(Pacing(Limits(requests_per_second=10)), 40)
    assert left[:20] == [0.0] * 20
    assert left[20:] == [round(number / 10, 3) for number in range(1, 21)]


@pytest.mark.parametrize(
    ("status", "after", "wait"),
    [
        pytest.param(429, "5", 5.0, id="too many requests"),
        pytest.param(429, "", 0.0, id="without a time"),
        pytest.param(429, "Fri, 31 Dec 1999 23:59:59 GMT", 0.0, id="a date, which no API server sends"),
        pytest.param(429, "86400", LONGEST_HOLD, id="a day"),
        pytest.param(503, "5", 0.0, id="one aggregated API is down, the others are not"),
        pytest.param(200, "5", 0.0, id="no refusal"),
    ],
)
def test_after_a_refusal_nothing_leaves_before_the_time_it_names(status: int, after: str, wait: float) -> None:
    async def run() -> float:
        pacing, began = Pacing(), asyncio.get_running_loop().time()
        pacing.answered(status, {"Retry-After": after} if after else {})
        await asyncio.gather(pacing.turn(), pacing.turn())
        return asyncio.get_running_loop().time() - began

    assert run_virtually(run()) == pytest.approx(wait)


def test_a_refusal_while_one_waits_makes_him_wait_on() -> None:
    async def run() -> float:
        pacing, began = Pacing(), asyncio.get_running_loop().time()
        pacing.answered(429, {"Retry-After": "2"})
        waiting = asyncio.create_task(pacing.turn())
        await asyncio.sleep(1)
        pacing.answered(429, {"Retry-After": "4"})
        await waiting
        return asyncio.get_running_loop().time() - began

    assert run_virtually(run()) == pytest.approx(5.0)


def test_slots_that_are_made_fewer_let_in_as_many_as_leave_and_made_more_let_in_at_once() -> None:
    async def run() -> list[int]:
        slots, most = Slots(3), list[int]()

        async def one() -> None:
            async with slots:
                await asyncio.sleep(1)

        tasks = [asyncio.create_task(one()) for _ in range(40)]
        for limit in (3, 1, 5, 5):
            slots.resize(limit)
            await asyncio.sleep(1.0001)
            most.append(slots.taken)
        await asyncio.gather(*tasks)
        return [*most, slots.taken]

    assert run_virtually(run()) == [3, 1, 5, 5, 0]


def test_who_gives_up_waiting_takes_no_slot() -> None:
    async def run() -> int:
        slots = Slots(1)

        async def hold(seconds: float) -> None:
            async with slots:
                await asyncio.sleep(seconds)

        first, second, third = (asyncio.create_task(hold(1)) for _ in range(3))
        await asyncio.sleep(0.5)
        second.cancel()
        await asyncio.sleep(1)
        assert slots.taken == 1
        third.cancel()
        await asyncio.wait([first, second, third])
        return slots.taken

    assert run_virtually(run()) == 0


def test_a_target_has_the_limits_of_all_but_for_its_own() -> None:
    config = parse_operator_config(
        "limits: {concurrentClusters: 8, requestsPerSecond: 50}\ntargetLimits: {edge-7: {requestsPerSecond: 2.5}}\n"
    )
    assert config.limits_of("local") == Limits(concurrent_clusters=8, requests_per_second=50)
    assert config.limits_of("edge-7") == Limits(concurrent_clusters=8, requests_per_second=2.5)
    assert OperatorConfig.from_document(config.document()) == config
