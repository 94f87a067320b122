"""`KubeLease`: one leader at a time, quick hand-over, take-over after expiry, stepping down when cut off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import pytest
import pytest_asyncio

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.kube_lease import KubeLease, LeaseTimes
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.codec import decode_as
from tapio_shared.errors import ApiUnavailable
from tapio_shared.json import JsonObject
from tapio_shared.ports import Kube, KubeResponse
from tapio_simulator.cluster import SimulatedCluster
from tests.support.eventually import eventually

TIMES = LeaseTimes(duration=1, deadline=0.6, renew=0.1, retry=0.05)
PATH = "/apis/coordination.k8s.io/v1/namespaces/default/leases/tapio-watcher"


class _Lease(msgspec.Struct):
    spec: JsonObject


class Breakable:
    """A client whose connection a test can cut."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.cut = False
        self.writes = 0
        self.watch = kube.watch

    def has_written_since(self, before: int) -> Callable[[], Awaitable[bool]]:
        async def written() -> bool:
            return self.writes > before

        return written

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float = 30.0,
    ) -> KubeResponse:
        if self.cut:
            raise ApiUnavailable("The API server did not answer: the test cut the connection.")
        self.writes += method != "GET"
        return await self._kube.request(
            method, path, query=query, body=body, content_type=content_type, accept=accept, timeout=timeout
        )


@pytest_asyncio.fixture
async def kube() -> Kube:
    cluster = SimulatedCluster(SystemClock(), SeededRandom(1))
    await cluster.prepare()
    return cluster.kube()


def lease(kube: Kube, holder: str) -> KubeLease:
    return KubeLease(kube, SystemClock(), namespace="default", name="tapio-watcher", holder=holder, times=TIMES)


async def spec(kube: Kube) -> JsonObject:
    return decode_as(_Lease, (await kube.request("GET", PATH)).body).spec


async def test_the_first_takes_the_lease_and_says_so(kube: Kube) -> None:
    async with asyncio.timeout(5):
        await lease(kube, "a").acquire()
    found = await spec(kube)
    assert (found["holderIdentity"], found["leaseDurationSeconds"], found["leaseTransitions"]) == ("a", 1, 0)
    assert found["acquireTime"] == found["renewTime"]


async def test_only_one_of_many_leads(kube: Kube) -> None:
    tasks = [asyncio.create_task(lease(kube, f"worker-{number}").acquire()) for number in range(5)]
    async with asyncio.timeout(5):
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0.3)
    assert sum(task.done() for task in tasks) == 1
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_leader_that_renews_keeps_the_lease(kube: Kube) -> None:
    leader, other = lease(kube, "a"), lease(kube, "b")
    await leader.acquire()
    leading, waiting = asyncio.create_task(leader.lost()), asyncio.create_task(other.acquire())
    await asyncio.sleep(TIMES.duration * 2)
    assert (leading.done(), waiting.done()) == (False, False)
    for task in (leading, waiting):
        task.cancel()
    await asyncio.gather(leading, waiting, return_exceptions=True)


async def test_a_released_lease_is_taken_at_once(kube: Kube) -> None:
    leader, other = lease(kube, "a"), lease(kube, "b")
    await leader.acquire()
    waiting = asyncio.create_task(other.acquire())
    await leader.release()
    async with asyncio.timeout(TIMES.duration / 2):
        await waiting
    assert ((await spec(kube))["holderIdentity"], (await spec(kube))["leaseTransitions"]) == ("b", 1)


async def test_a_leader_that_is_cut_off_steps_down_before_another_takes_over(kube: Kube) -> None:
    breakable = Breakable(kube)
    leader, other = lease(breakable, "a"), lease(kube, "b")
    await leader.acquire()
    leading, waiting = asyncio.create_task(leader.lost()), asyncio.create_task(other.acquire())
    await asyncio.sleep(0.2)
    breakable.cut, began = True, time.monotonic()
    async with asyncio.timeout(10):
        await leading
        stepped_down = time.monotonic() - began
        assert not waiting.done()
        await waiting
        taken_over = time.monotonic() - began
    assert stepped_down <= TIMES.deadline + 0.1
    assert taken_over >= TIMES.duration - TIMES.renew - 0.1
    assert (await spec(kube))["leaseTransitions"] == 1


async def test_a_leader_whose_lease_was_taken_is_told(kube: Kube) -> None:
    leader = lease(kube, "a")
    await leader.acquire()
    leading = asyncio.create_task(leader.lost())
    await kube.request(
        "PATCH",
        PATH,
        body=b'{"spec":{"holderIdentity":"thief","leaseDurationSeconds":60}}',
        content_type="application/merge-patch+json",
    )
    async with asyncio.timeout(2):
        await leading


async def test_a_hiccup_shorter_than_the_deadline_costs_nothing(kube: Kube) -> None:
    breakable = Breakable(kube)
    leader = lease(breakable, "a")
    await leader.acquire()
    leading = asyncio.create_task(leader.lost())
    breakable.cut = True
    await asyncio.sleep(TIMES.deadline / 2)
    breakable.cut, before = False, breakable.writes
    await eventually(breakable.has_written_since(before), seconds=2)
    assert not leading.done()
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)


async def test_release_leaves_a_lease_of_somebody_else_alone(kube: Kube) -> None:
    await lease(kube, "a").acquire()
    await lease(kube, "b").release()
    assert (await spec(kube))["holderIdentity"] == "a"


@pytest.mark.parametrize("times", [LeaseTimes()])
def test_the_usual_times_leave_room_between_stepping_down_and_taking_over(times: LeaseTimes) -> None:
    slowest_step_down = times.deadline + times.deadline / 2
    assert times.renew + times.retry < times.deadline < times.duration
    assert slowest_step_down <= times.duration
