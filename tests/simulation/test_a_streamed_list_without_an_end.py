"""An API server that streams a list and never says that it is complete."""

from __future__ import annotations

import asyncio
from collections.abc import Container

from prometheus_client import CollectorRegistry

from tapio_shared.adapters.random import SeededRandom
from tapio_shared.facts import ServedResource
from tapio_shared.json import JsonObject, str_at
from tapio_simulator.cluster import SimulatedCluster
from tapio_watcher.following import Api, KindWatch, Streams
from tapio_watcher.metrics import Metrics
from tapio_watcher.versions import Name
from tests.support.kube_without_streams import Endless
from tests.support.virtual_time import VirtualClock, run_virtually

SILENT = 10.0
"""Seconds that a watch waits for the next line of a streamed list."""
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


def test_one_list_that_does_not_end_has_all_read_in_pages() -> None:
    async def run() -> None:
        clock = VirtualClock()
        cluster = SimulatedCluster(clock, SeededRandom(1))
        await cluster.prepare()
        api = Api(
            kube=Endless(cluster.kube(user_agent="test")),
            random=SeededRandom(1),
            metrics=Metrics(CollectorRegistry()),
            room=no_limit,
            lists=asyncio.Semaphore(1),
            streams=Streams(offered=True),
        )
        told = {kind: Told() for kind in SERVED}
        watches = [KindWatch(api, served, told[kind]) for kind, served in SERVED.items()]
        began = clock.monotonic()
        tasks = [asyncio.create_task(watch.run(), name=watch.resource.kind) for watch in watches]
        for watch in watches:
            await watch.is_listed.wait()
        assert SILENT <= clock.monotonic() - began < 1.1 * SILENT  # the second waits for the first, and not once more
        assert not api.streams.offered
        assert {kind: one.lists for kind, one in told.items()} == {"Namespace": 1, "ConfigMap": 1}
        assert "kube-system" in told["Namespace"].names
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run_virtually(run())
