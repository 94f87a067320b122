"""One watcher leads. With `leaderElection: false` there may be no second one, whenever that was said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from tapio_shared.adapters.kube_lease import KubeLease
from tapio_shared.api.operator_config import CONFIG_KEY, CONFIG_MAP
from tapio_shared.codec import encode
from tapio_shared.errors import TerminalError
from tapio_shared.json import JsonObject
from tapio_shared.kubernetes import check, object_path
from tapio_watcher.metrics import Metrics
from tapio_watcher.watcher import REFUSE_AFTER, Identity, Watcher
from tests.support.eventually import eventually
from tests.support.operator_in_process import PARTITIONS, WATCHER, Operator
from tests.support.virtual_time import run_virtually

REFUSED = "Another watcher of local is running and leaderElection is false. Run exactly one replica"
_NAMESPACE = "tapio-system"


class Watchers:
    """Watchers of one simulated cluster, each with a Lease of its own to contend for."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self.watchers: dict[str, Watcher] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str) -> None:
        one = self._operator
        kube = one.cluster.kube(WATCHER, user_agent=name)
        watcher = Watcher(
            kube,
            one.log,
            KubeLease(kube, one.clock, namespace=_NAMESPACE, name="tapio-watcher-local", holder=name),
            Identity(target="local", namespace=_NAMESPACE, partitions=PARTITIONS),
            provision=self._nothing,
            clock=one.clock,
            random=one.random,
            metrics=Metrics(CollectorRegistry()),
        )
        self.watchers[name] = watcher
        self.tasks[name] = asyncio.create_task(watcher.run(), name=name)

    async def until_synced(self, name: str) -> None:
        async def is_synced() -> bool:
            return self.watchers[name].is_synced

        await eventually(is_synced, seconds=60)

    async def kill(self, name: str) -> None:
        self.tasks[name].cancel()
        await asyncio.wait([self.tasks[name]])

    async def configure(self, *, leader_election: bool) -> None:
        """Write the operator's ConfigMap."""
        document: JsonObject = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": CONFIG_MAP, "namespace": _NAMESPACE},
            "data": {CONFIG_KEY: f"leaderElection: {str(leader_election).lower()}\n"},
        }
        path = object_path("", "v1", "configmaps", _NAMESPACE, CONFIG_MAP)
        query = {"fieldManager": "test", "force": "true"}
        kind = "application/apply-patch+yaml"
        check(await self._operator.admin.request("PATCH", path, query=query, body=encode(document), content_type=kind))

    async def _nothing(self) -> None:
        """The memory log is there from the start."""


@asynccontextmanager
async def watchers() -> AsyncGenerator[Watchers]:
    operator = Operator(seed=1)
    await operator.prepare()
    found = Watchers(operator)
    try:
        yield found
    finally:
        for task in (*found.tasks.values(), *operator.tasks.values()):
            task.cancel()
            await asyncio.wait([task])


def test_a_standby_leads_when_the_leader_is_dead() -> None:
    async def run() -> None:
        async with watchers() as found:
            found.start("first")
            await found.until_synced("first")
            found.start("second")
            await asyncio.sleep(10 * REFUSE_AFTER)
            assert not found.tasks["second"].done()
            assert not found.watchers["second"].is_synced
            await found.kill("first")
            await found.until_synced("second")

    run_virtually(run())


@pytest.mark.parametrize("is_said_before", [pytest.param(True, id="from-the-start"), pytest.param(False, id="later")])
def test_without_leader_election_a_second_watcher_is_refused(is_said_before: bool) -> None:
    async def run() -> None:
        async with watchers() as found:
            if is_said_before:
                await found.configure(leader_election=False)
            found.start("first")
            await found.until_synced("first")
            found.start("second")
            if not is_said_before:
                await asyncio.sleep(5 * REFUSE_AFTER)
                assert not found.tasks["second"].done()
                await found.configure(leader_election=False)
            with pytest.raises(TerminalError, match=REFUSED):
                await asyncio.wait_for(found.tasks["second"], 3 * REFUSE_AFTER)
            assert found.watchers["first"].is_synced
            assert not found.tasks["first"].done()

    run_virtually(run())


def test_without_leader_election_the_successor_of_a_dead_watcher_leads() -> None:
    async def run() -> None:
        async with watchers() as found:
            await found.configure(leader_election=False)
            found.start("first")
            await found.until_synced("first")
            await found.kill("first")
            found.start("second")
            await found.until_synced("second")

    run_virtually(run())


def _lease(operator: Operator, target: str, holder: str, held: set[str]) -> KubeLease:
    kube = operator.cluster.kube(WATCHER, user_agent=holder)
    name = f"tapio-watcher-{target}"
    return KubeLease(kube, operator.clock, namespace=_NAMESPACE, name=name, holder=holder, held=held)


async def _led_until_frozen(lease: KubeLease, frozen: asyncio.Event) -> None:
    """Hold a Lease as a process does that stops in its tracks: it neither renews nor releases."""
    await lease.acquire()
    losing = asyncio.create_task(lease.lost())
    await frozen.wait()
    losing.cancel()
    await asyncio.wait([losing])


@pytest.mark.parametrize("moment", [pytest.param(number / 4, id=f"after {number / 4:g} s") for number in range(40, 49)])
@pytest.mark.parametrize(
    "leads", [pytest.param(False, id="by one that leads nothing"), pytest.param(True, id="by one that leads")]
)
def test_a_frozen_leader_is_superseded_within_ten_seconds(moment: float, leads: bool) -> None:
    """Whenever it freezes between two renewals."""

    async def run() -> float:
        operator = Operator(seed=1)
        await operator.prepare()
        frozen = asyncio.Event()
        leading = asyncio.create_task(_led_until_frozen(_lease(operator, "east", "first", set()), frozen))
        await asyncio.sleep(0.1)
        standby = _lease(operator, "east", "second", {"tapio-watcher-west"} if leads else set())
        taking = asyncio.create_task(standby.acquire())
        await asyncio.sleep(moment)
        assert not taking.done()
        began = operator.clock.monotonic()
        frozen.set()
        await leading
        await taking
        return operator.clock.monotonic() - began

    assert 3.0 < run_virtually(run()) < 10.0


def test_what_comes_free_goes_to_the_replica_that_leads_nothing_yet() -> None:
    async def run() -> str:
        operator = Operator(seed=1)
        await operator.prepare()
        winner: list[str] = []

        async def contend(holder: str, held: set[str]) -> None:
            await _lease(operator, "east", holder, held).acquire()
            winner.append(holder)

        busy = asyncio.create_task(contend("busy", {"tapio-watcher-west"}))
        await asyncio.sleep(0.3)
        idle = asyncio.create_task(contend("idle", set()))
        await asyncio.sleep(5)
        for task in (busy, idle):
            task.cancel()
            await asyncio.wait([task])
        return " ".join(winner)

    assert run_virtually(run()) == "idle"


def test_a_replica_that_leads_takes_what_nobody_else_wants() -> None:
    async def run() -> float:
        operator = Operator(seed=1)
        await operator.prepare()
        held = {"tapio-watcher-west"}
        began = operator.clock.monotonic()
        await _lease(operator, "east", "busy", held).acquire()
        assert held == {"tapio-watcher-west", "tapio-watcher-east"}
        return operator.clock.monotonic() - began

    assert run_virtually(run()) == pytest.approx(1.0)
