"""Nodes are drained as an administrator does it, and neither is the drain held up for ever nor a quorum taken.

On a real control plane alone: evictions are outside what the simulator answers. Its pods take a second to end, as they
do: the disruption controller of Kubernetes holds a StatefulSet's pod that is made anew within milliseconds for the one
that was evicted, by its name, and waits two minutes for its end.
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from tapio_cli.kubectl import find_kubectl
from tapio_shared.adapters.kube_http import HttpKube
from tapio_shared.codec import decode_as
from tapio_shared.json import JsonObject, at, object_at, objects_at, str_at
from tests.support.e2e_kubernetes import Kubernetes, real_kubernetes
from tests.support.eventually import eventually
from tests.support.operator_run import start_operator

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.real, pytest.mark.timeout(280)]

NAMESPACE = "some"
_GRAPH: JsonObject = {"neo4j": {"replicas": 3, "acceptLicenseAgreement": "eval"}}
_PROFILES: dict[str, JsonObject] = {"development": {}, "production": {"intelligence": _GRAPH}, "edge": {}}
"""Profile -> what its TapioCluster, of the same name, asks for besides."""
_RUN = {"nats": 3, "neo4j": 3, "correlation": 2, "gateway": 2}
"""Component of the production profile -> its pods."""
_MUST_RUN = {"nats": 2, "neo4j": 2, "correlation": 1, "gateway": 1}
"""The same -> the least of them that must be there at every moment: a quorum, or somebody who answers."""


async def until_ready(kubernetes: Kubernetes) -> None:
    for profile in _PROFILES:
        await kubernetes.until_condition(profile, "Ready", "True", namespace=NAMESPACE, seconds=120)


class Drain:
    """`kubectl drain` of one node. Made by `drain`, which see."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._said: list[str] = []

    async def is_held_up(self) -> bool:
        """Wait until a budget refuses an eviction; False when the drain ends without that."""
        while line := await self._line():
            if "Cannot evict pod as it would violate the pod's disruption budget" in line:
                return True
        return False

    async def ended(self) -> None:
        """Wait for its end; the test's failure when not everything is gone from the node within two minutes."""
        while await self._line():
            pass
        assert await self._process.wait() == 0, "".join(self._said)

    async def _line(self) -> str:
        assert self._process.stderr is not None
        line = (await self._process.stderr.readline()).decode(errors="replace")
        self._said.append(line)
        return line


async def drain(kubernetes: Kubernetes, node: str) -> Drain:
    """Begin to drain a node."""
    process = await asyncio.create_subprocess_exec(
        *(find_kubectl(), f"--kubeconfig={kubernetes.kubeconfig}", "drain", node),
        *("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    return Drain(process)


async def of_cluster(kubernetes: Kubernetes, name: str, node: str) -> list[JsonObject]:
    """The pods of a TapioCluster that are on `node`."""
    selected = ("-n", NAMESPACE, "-l", f"tapio.io/cluster={name}", f"--field-selector=spec.nodeName={node}")
    return objects_at(await kubernetes.kubectl.document("get", "pods", *selected), "items")


@asynccontextmanager
async def watched(kubernetes: Kubernetes) -> AsyncGenerator[dict[str, int]]:
    """Component of the production profile -> the fewest of its pods that were ever there meanwhile, as a watch tells
    it: those that are Ready and were not told to go."""
    there: dict[str, str] = {}
    least: dict[str, int] = {}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    query = {"labelSelector": "tapio.io/cluster=production", "resourceVersion": "0", "timeoutSeconds": "600"}

    def tell(kind: str, pod: JsonObject) -> None:
        name, component = (
            str_at(pod, "metadata", "name"),
            str_at(pod, "metadata", "labels", "app.kubernetes.io/component"),
        )
        conditions = {str_at(one, "type"): str_at(one, "status") for one in objects_at(pod, "status", "conditions")}
        goes = kind == "DELETED" or at(pod, "metadata", "deletionTimestamp") is not None
        if component in _RUN and not goes and conditions.get("Ready") == "True":
            there[name] = component
        else:
            there.pop(name, None)
        counts = Counter(there.values())
        if least or counts == _RUN:
            least.update({one: min(least.get(one, counts[one]), counts[one]) for one in _RUN})

    async def collect() -> None:
        async with (
            await HttpKube.connect(kubeconfig=str(kubernetes.kubeconfig)) as kube,
            kube.watch(path, query=query, silence=600) as lines,
        ):
            async for line in lines:
                event = cast("JsonObject", decode_as(dict, line))
                tell(str_at(event, "type"), object_at(event, "object"))
        raise AssertionError("The watch ended, so that nobody knows what there was afterwards.")

    async def has_all() -> bool:
        return bool(least)

    async with asyncio.TaskGroup() as group:
        collecting = group.create_task(collect())
        await eventually(has_all, seconds=60)
        yield least
        collecting.cancel()


@asynccontextmanager
async def on_nodes(directory: Path, nodes: int) -> AsyncGenerator[Kubernetes]:
    """A fleet of so many nodes, and an operator."""
    async with (
        real_kubernetes(directory, nodes=nodes, shutdown=1.0) as kubernetes,
        start_operator(kubernetes, directory),
    ):
        await kubernetes.kubectl.run("create", "namespace", NAMESPACE)
        yield kubernetes


async def apply(kubernetes: Kubernetes, name: str, spec: JsonObject) -> None:
    """A TapioCluster of this name."""
    head: JsonObject = {"apiVersion": "tapio.io/v1alpha1", "kind": "TapioCluster", "metadata": {"name": name}}
    await kubernetes.apply({**head, "spec": spec}, NAMESPACE)


@asynccontextmanager
async def rolled_out(directory: Path, nodes: int) -> AsyncGenerator[Kubernetes]:
    """All profiles on a fleet of so many nodes, and Ready."""
    async with on_nodes(directory, nodes) as kubernetes:
        for profile, more in _PROFILES.items():
            await apply(kubernetes, profile, {"profile": profile, **more})
        await until_ready(kubernetes)
        yield kubernetes


async def test_three_nodes_are_drained_one_after_the_other_and_no_quorum_is_taken(tmp_path: Path) -> None:
    """The next drain begins while the former node takes no pods yet: budgets hold it up for as long as they must."""
    async with rolled_out(tmp_path, nodes=3) as kubernetes:
        drained: set[str] = set()
        async with watched(kubernetes) as least:
            former = ""
            for node in ("node-1", "node-2", "node-3"):
                drained |= {
                    str_at(pod, "metadata", "labels", "app.kubernetes.io/component")
                    for pod in await of_cluster(kubernetes, "production", node)
                }
                going_on = await drain(kubernetes, node)
                if former:
                    await going_on.is_held_up()
                    await kubernetes.kubectl.run("uncordon", former)
                await going_on.ended()
                former = node
            await kubernetes.kubectl.run("uncordon", former)
            await until_ready(kubernetes)
        assert drained >= _RUN.keys()
        assert {one: min(least[one], wanted) for one, wanted in _MUST_RUN.items()} == _MUST_RUN


async def test_the_only_node_is_drained_whatever_it_runs(tmp_path: Path) -> None:
    async with rolled_out(tmp_path, nodes=1) as kubernetes:
        for profile in _PROFILES:
            assert await of_cluster(kubernetes, profile, "node-1"), profile

        await (await drain(kubernetes, "node-1")).ended()

        for profile in _PROFILES:
            assert await of_cluster(kubernetes, profile, "node-1") == [], profile
        await kubernetes.kubectl.run("uncordon", "node-1")
        await until_ready(kubernetes)


_PINNED: JsonObject = {
    "nodeSelectorTerms": [{"matchExpressions": [{"key": "tapio.io/pool", "operator": "In", "values": ["small"]}]}]
}
_TOGETHER: JsonObject = {
    "topologyKey": "kubernetes.io/hostname",
    "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "gateway"}},
}
_HELD: dict[str, JsonObject] = {
    "nats": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": _PINNED}}},
    "gateway": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [_TOGETHER]}}},
    "intelligence": {"correlation": {"podTemplate": {"spec": {"nodeSelector": {"tapio.io/pool": "small"}}}}},
}
"""Part of a spec -> what keeps all its pods on one node: an affinity to nodes, one to pods, and a patch."""


async def test_what_is_held_to_one_node_is_drained_from_it(tmp_path: Path) -> None:
    """Another node of that pool brings the budgets of who may go there."""

    async def budgets() -> set[str]:
        found = objects_at(await kubernetes.kubectl.document("get", "pdb", "-n", NAMESPACE), "items")
        return {str_at(one, "metadata", "name") for one in found}

    async def has_budgets() -> bool:
        return await budgets() == {"held-nats", "held-correlation"}

    async with on_nodes(tmp_path, nodes=2) as kubernetes:
        await kubernetes.kubectl.run("label", "node", "node-1", "tapio.io/pool=small")
        await apply(kubernetes, "held", {"profile": "production", **_HELD})
        await kubernetes.until_condition("held", "Ready", "True", namespace=NAMESPACE, seconds=120)
        assert await budgets() == set()

        for node in ("node-1", "node-2"):
            await (await drain(kubernetes, node)).ended()
            assert await of_cluster(kubernetes, "held", node) == [], node

        await kubernetes.kubectl.run("label", "node", "node-2", "tapio.io/pool=small")
        await kubernetes.kubectl.run("uncordon", "node-1")
        await eventually(has_budgets, seconds=60)
