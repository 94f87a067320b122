"""A reading of one object that is answered while a list of its kind is read: of before that list, or of after it."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from tapio_shared.adapters.random import SeededRandom
from tapio_shared.errors import ApiUnavailable
from tapio_shared.facts import ServedResource
from tapio_shared.json import JsonObject, str_at
from tapio_shared.ports import Kube, KubeResponse
from tapio_simulator.cluster import SimulatedCluster
from tapio_watcher.api import Api
from tapio_watcher.following import KindWatch
from tapio_watcher.metrics import Metrics
from tapio_watcher.versions import Name
from tests.support.kube_between import KubeBetween, Request
from tests.support.kube_calls import Calls, config_map
from tests.support.virtual_time import VirtualClock, run_virtually

CONFIG_MAPS = ServedResource(group="", version="v1", kind="ConfigMap", plural="configmaps", namespaced=True)
NAME = ("default", "settings")


class Held(KubeBetween):
    """Lists are asked for, or their answers arrive, when the test lets them."""

    def __init__(self, kube: Kube) -> None:
        super().__init__(kube)
        self.ask, self.hear = asyncio.Event(), asyncio.Event()
        self.refused = 0
        """Readings of one object that are still refused."""

    async def answer(self, request: Request) -> KubeResponse:
        is_list = request.path.endswith("/configmaps")
        if is_list:
            await self.ask.wait()
        elif self.refused:
            self.refused -= 1
            raise ApiUnavailable("refused, say")
        answer = await request.send(self.kube)
        if is_list:
            await self.hear.wait()
        return answer


@dataclass
class Told:
    """A sink that keeps what it is told of one object, and when a list was complete."""

    words: list[str] = field(default_factory=list[str])

    def observed(self, document: JsonObject) -> None:
        if str_at(document, "metadata", "name") == NAME[1]:
            self.words.append("exists")

    def gone(self, name: Name, *, uid: str = "", resource_version: str = "") -> None:
        assert name == NAME
        self.words.append("gone")

    def complete(self, names: Container[Name]) -> None:
        self.words.append("listed" if NAME in names else "not listed")


@dataclass
class World:
    calls: Calls
    kube: Held
    watch: KindWatch
    told: Told

    @property
    def path(self) -> str:
        return self.calls.path("v1", "configmaps", NAME[1])


async def world() -> World:
    """A watch that is about to ask for its first list."""

    async def no_limit() -> None:
        pass

    cluster = SimulatedCluster(VirtualClock(), SeededRandom(1))
    await cluster.prepare()
    kube, told = Held(cluster.kube()), Told()
    metrics, lists = Metrics(CollectorRegistry()), asyncio.Semaphore(1)
    api = Api(kube=kube, random=SeededRandom(1), metrics=metrics, room=no_limit, lists=lists)
    return World(Calls(cluster.kube(), "default"), kube, KindWatch(api, CONFIG_MAPS, told), told)


def test_what_ended_after_it_was_read_and_before_the_list_is_told_to_be_gone() -> None:
    async def run() -> None:
        one = await world()
        task = asyncio.create_task(one.watch.run())
        await asyncio.sleep(1)
        await one.calls.create(one.calls.path("v1", "configmaps"), config_map(NAME[1]))
        await one.watch.fetch(NAME)
        await one.calls.delete(one.path)
        one.kube.ask.set()
        one.kube.hear.set()
        await one.watch.is_listed.wait()
        assert one.told.words == ["exists", "listed", "gone"]
        task.cancel()

    run_virtually(run())


def test_what_was_made_after_the_list_and_read_before_it_is_heard_is_not_told_to_be_gone() -> None:
    async def run() -> None:
        one = await world()
        task = asyncio.create_task(one.watch.run())
        one.kube.ask.set()
        await asyncio.sleep(1)
        await one.calls.create(one.calls.path("v1", "configmaps"), config_map(NAME[1]))
        await one.watch.fetch(NAME)
        one.kube.hear.set()
        await one.watch.is_listed.wait()
        await asyncio.sleep(1)
        assert set(one.told.words) == {"exists", "listed"}
        task.cancel()

    run_virtually(run())


def test_a_list_is_complete_once_what_was_read_meanwhile_has_been_read_again() -> None:
    """Reading it is refused at first."""

    async def run() -> None:
        one = await world()
        task = asyncio.create_task(one.watch.run())
        await asyncio.sleep(1)
        await one.calls.create(one.calls.path("v1", "configmaps"), config_map(NAME[1]))
        await one.watch.fetch(NAME)
        await one.calls.delete(one.path)
        one.kube.refused = 2
        one.kube.ask.set()
        one.kube.hear.set()
        await one.watch.is_listed.wait()
        assert one.kube.refused == 0
        assert one.told.words == ["exists", "listed", "gone"]
        task.cancel()

    run_virtually(run())
