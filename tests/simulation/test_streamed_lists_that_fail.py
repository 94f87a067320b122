"""API servers that take a streamed list and can't serve it: it never ends, or is refused, also after an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Container

import pytest
from prometheus_client import CollectorRegistry

from tapio_shared.adapters.random import SeededRandom
from tapio_shared.facts import ServedResource
from tapio_shared.json import JsonObject, str_at
from tapio_shared.ports import Kube
from tapio_simulator.cluster import SimulatedCluster
from tapio_simulator.faults import Fault
from tapio_watcher.api import Api, Streams
from tapio_watcher.following import KindWatch
from tapio_watcher.metrics import Metrics
from tapio_watcher.versions import Name
from tests.support.kube_without_streams import Endless, OldEtcd
from tests.support.virtual_time import VirtualClock, run_virtually

SILENT = 10.0
"""Seconds that a watch waits for the next line of a streamed list."""
AWAY = 120.0
"""Seconds: long enough for more failures than those after which a watch that goes on begins anew with a list."""
LONGEST_WAIT = 20.0
"""Seconds between two tries of a watch that failed often."""
SERVED = {
    "Namespace": ServedResource(group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False),
    "ConfigMap": ServedResource(group="", version="v1", kind="ConfigMap", plural="configmaps", namespaced=True),
}


class Told:
    """A sink that keeps the names that it is told of, and how often a list was complete."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.lists = 0

    def observed(self, document: JsonObject) -> None:
        self.names.add(str_at(document, "metadata", "name"))

    def gone(self, name: Name, *, uid: str = "", resource_version: str = "") -> None:
        self.names.discard(name[1])

    def complete(self, names: Container[Name]) -> None:
        self.lists += 1


async def no_limit() -> None:
    """Nothing waits to be published here."""


def following(kube: Kube, *kinds: str) -> tuple[Api, dict[str, Told], list[KindWatch]]:
    """A watch of each kind, and what it tells, at an API server that is said to stream lists."""
    api = Api(
        kube=kube,
        random=SeededRandom(1),
        metrics=Metrics(CollectorRegistry()),
        room=no_limit,
        lists=asyncio.Semaphore(1),
        streams=Streams(offered=True),
    )
    told = {kind: Told() for kind in kinds}
    return api, told, [KindWatch(api, SERVED[kind], told[kind]) for kind in kinds]


async def end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks, and wait until they are over."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_one_list_that_does_not_end_has_all_read_in_pages() -> None:
    async def run() -> None:
        clock = VirtualClock()
        cluster = SimulatedCluster(clock, SeededRandom(1))
        await cluster.prepare()
        api, told, watches = following(Endless(cluster.kube(user_agent="test")), *SERVED)
        began = clock.monotonic()
        tasks = [asyncio.create_task(watch.run(), name=watch.resource.kind) for watch in watches]
        for watch in watches:
            await watch.is_listed.wait()
        assert SILENT <= clock.monotonic() - began < 1.1 * SILENT  # the second waits for the first, and not once more
        assert not api.streams.offered
        assert {kind: one.lists for kind, one in told.items()} == {"Namespace": 1, "ConfigMap": 1}
        assert "kube-system" in told["Namespace"].names
        await end(tasks)

    run_virtually(run())


@pytest.mark.parametrize("was_listed", [False, True], ids=["at its beginning", "while it is watched"])
def test_a_server_that_was_away_is_listed_in_pages_again(was_listed: bool) -> None:
    """Being refused a stream is no failure like those before: who took it for one asked for a stream for ever."""

    async def run() -> None:
        clock = VirtualClock()
        cluster = SimulatedCluster(clock, SeededRandom(1))
        await cluster.prepare()
        _, told, (watch,) = following(OldEtcd(cluster.kube(user_agent="test")), "Namespace")
        cluster.faults.add(Fault("drop-watch", frozenset({"watch"}), after=(1.0, 1.0)))
        task = asyncio.create_task(watch.run())
        if was_listed:
            await watch.is_listed.wait()
            watch.is_listed.clear()
        cluster.faults.clear()
        cluster.faults.add(Fault("reset"))
        await asyncio.sleep(AWAY)
        assert not watch.is_listed.is_set()
        cluster.faults.clear()
        async with asyncio.timeout(LONGEST_WAIT):
            await watch.is_listed.wait()
        assert told["Namespace"].lists == 1 + was_listed
        assert "kube-system" in told["Namespace"].names
        await end([task])

    run_virtually(run())
