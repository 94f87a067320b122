"""Targets are watched in one process, and what is the matter with one of them is its own."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import pytest
import yaml
from prometheus_client import CollectorRegistry

from tapio_shared.adapters.kube_lease import KubeLease
from tapio_shared.api.labels import TARGET, managed_labels
from tapio_shared.codec import encode
from tapio_shared.errors import LogUnavailable, TapioError
from tapio_shared.json import JsonObject
from tapio_shared.kubernetes import MERGE_PATCH, check
from tapio_shared.ports import Kube, KubeResponse, Lease
from tapio_simulator.cluster import SimulatedCluster
from tapio_watcher.metrics import Metrics
from tapio_watcher.targets import Given, Targets
from tapio_watcher.watcher import Identity, Watcher
from tests.support.eventually import eventually
from tests.support.kube_between import KubeBetween, Request
from tests.support.operator_in_process import PARTITIONS, WATCHER, Operator
from tests.support.virtual_time import run_virtually

_NAMESPACE = "tapio-system"
_SECRETS = f"/api/v1/namespaces/{_NAMESPACE}/secrets"


class _Between(KubeBetween):
    """The way to an API server on which, while it is `down`, everything is answered by `instead`."""

    def __init__(self, kube: Kube, instead: Callable[[], KubeResponse]) -> None:
        super().__init__(kube)
        self.down, self._instead = True, instead

    async def answer(self, request: Request) -> KubeResponse:
        return self._instead() if self.down else await request.send(self.kube)


def _page() -> KubeResponse:
    return KubeResponse(200, b"<html>We are back soon.</html>", {})


def _fault() -> KubeResponse:
    raise KeyError("a fault of our own making")


class _Counted(Watcher):
    """A watcher of a target, and how many there are at once."""

    running = most = 0
    all: list[Watcher]

    async def run(self) -> None:
        _Counted.running += 1
        _Counted.most = max(_Counted.most, _Counted.running)
        _Counted.all.append(self)
        try:
            await super().run()
        finally:
            _Counted.running -= 1


def _secret(name: str, token: str) -> JsonObject:
    kubeconfig = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"https://{name}.example"}}],
        "users": [{"name": "u", "user": {"token": token}}],
    }
    data = {"kubeconfig": base64.b64encode(yaml.safe_dump(kubeconfig).encode()).decode()}
    metadata: JsonObject = {"name": name, "namespace": _NAMESPACE, "labels": {TARGET: "true"}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {**data}}


async def _is_there() -> None:
    """The memory log is, from the start."""


@asynccontextmanager
async def _targets(operator: Operator, reach: Callable[[str], Kube]) -> AsyncGenerator[asyncio.Task[None]]:
    home, metrics = operator.cluster.kube(WATCHER, user_agent="watcher"), Metrics(CollectorRegistry(), "local")
    _Counted.running, _Counted.most, _Counted.all = 0, 0, []

    async def connect(target: str) -> AbstractAsyncContextManager[Kube]:
        return nullcontext(reach(target))

    def watch(kube: Kube, lease: Lease, identity: Identity) -> Watcher:
        return _Counted(
            kube,
            operator.log,
            lease,
            identity,
            provision=_is_there,
            clock=operator.clock,
            random=operator.random,
            metrics=metrics.of(identity.target),
            home=home,
        )

    given = Given(
        home=home,
        event_log=operator.log,
        clock=operator.clock,
        random=operator.random,
        metrics=metrics,
        identity=Identity(target="local", namespace=_NAMESPACE, partitions=PARTITIONS),
        lease=lambda name: KubeLease(home, operator.clock, namespace=_NAMESPACE, name=f"watcher-{name}", holder="w"),
        connect=connect,
        watch=watch,
    )
    task = asyncio.create_task(Targets(given).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _prepared() -> Operator:
    operator = Operator(1)
    await operator.prepare()
    return operator


async def _far(operator: Operator) -> Kube:
    far = SimulatedCluster(operator.clock, operator.random)
    await far.prepare()
    return far.kube(user_agent="watcher")


async def _are_synced(count: int) -> bool:
    return sum(1 for watcher in _Counted.all if watcher.is_synced) == count


async def _is_in_trouble() -> bool:
    return bool(_Counted.all[0].trouble)


@pytest.mark.parametrize(
    "instead", [pytest.param(_page, id="a proxy's page for people"), pytest.param(_fault, id="a fault of our own")]
)
def test_what_breaks_with_one_target_ends_no_other(instead: Callable[[], KubeResponse]) -> None:
    async def run() -> None:
        operator = await _prepared()
        near, down = await _far(operator), _Between(await _far(operator), instead)
        for name in ("down", "near"):
            check(await operator.admin.request("POST", _SECRETS, body=encode(_secret(name, "t"))))
        async with _targets(operator, lambda name: down if name == "down" else near) as task:
            await asyncio.wait([task], timeout=60)
            if task.done():
                task.result()
            assert await _are_synced(1)
            down.down = False
            await eventually(lambda: _are_synced(2), seconds=60)
        await operator.kill("controllers")

    run_virtually(run())


def test_an_api_server_that_answers_with_a_page_for_people_is_asked_again() -> None:
    async def run() -> None:
        operator = await _prepared()
        kube = _Between(operator.cluster.kube(WATCHER, user_agent="watcher"), _page)
        watcher = Watcher(
            kube,
            operator.log,
            None,
            Identity(target="local", namespace=_NAMESPACE, partitions=PARTITIONS),
            provision=_is_there,
            clock=operator.clock,
            random=operator.random,
            metrics=Metrics(CollectorRegistry()),
        )
        task = asyncio.create_task(watcher.run())
        await asyncio.wait([task], timeout=60)
        if task.done():
            task.result()
        assert not watcher.is_ready()
        kube.down = False
        while not watcher.is_synced:  # noqa: ASYNC110 - virtual
            await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        await operator.kill("controllers")

    run_virtually(run())


def test_a_target_is_not_watched_twice_when_its_secret_changes_twice() -> None:
    """The first watcher still tries to append what it was told, and would then give back the Lease of the third."""

    async def run() -> None:
        operator = await _prepared()
        far = await _far(operator)
        check(await operator.admin.request("POST", _SECRETS, body=encode(_secret("far", "0"))))
        async with _targets(operator, lambda _: far) as task:
            await eventually(lambda: _are_synced(1))

            def away(operation: str, _: str) -> TapioError | None:
                return LogUnavailable("The log is away.") if operation == "append" else None

            operator.log.fault = away
            labels = managed_labels(cluster="dev", namespace="default", uid="u", name="dev", component="test")
            document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "labels": labels}}
            check(await far.request("POST", "/api/v1/namespaces/default/configmaps", body=encode(document)))
            await eventually(_is_in_trouble)
            for token in ("1", "2"):
                body = encode({"data": _secret("far", token)["data"]})
                check(await operator.admin.request("PATCH", f"{_SECRETS}/far", body=body, content_type=MERGE_PATCH))
                await asyncio.sleep(1)
            operator.log.fault = lambda _operation, _subject: None
            await asyncio.sleep(30)
            assert not task.done()
            assert await _are_synced(1)
        await operator.kill("controllers")
        assert _Counted.most == 1

    run_virtually(run())
