"""One operator, several Kubernetes clusters: they come, change, stop to answer and go while it runs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from tapio_shared.json import object_at, objects_at
from tests.support.e2e_objects import small_cluster
from tests.support.e2e_targets import Targets, simulated_targets
from tests.support.freezing import freeze
from tests.support.operator_run import OperatorRun

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def targets(operator: OperatorRun, tmp_path: Path) -> AsyncGenerator[Targets]:
    async with simulated_targets(operator, tmp_path, "east", "west") as made:
        yield made


async def test_clusters_of_one_name_in_three_kubernetes_are_three_clusters(
    operator: OperatorRun, targets: Targets, namespace: str
) -> None:
    """Also: a target that comes while the operator runs is served, and everything that it makes stays there."""
    home = operator.kubernetes
    await home.apply(small_cluster("one"), namespace)
    for name, cluster in targets.clusters.items():
        await targets.tell(name)
        await cluster.kubectl.run("create", "namespace", namespace)
        await cluster.apply({**small_cluster("one"), "metadata": {"name": "one", "labels": {"of": name}}}, namespace)
    for cluster in (home, *targets.clusters.values()):
        await cluster.until_condition("one", "Ready", "True", namespace=namespace)

    await targets.clusters["east"].kubectl.run("delete", "tapiocluster", "one", "-n", namespace, "--timeout=60s")
    for cluster in (home, targets.clusters["west"]):
        assert await cluster.get("statefulset", "one-nats", namespace) is not None
        assert (await cluster.condition("one", "Ready", namespace))[0] == "True"


async def test_a_target_that_does_not_answer_holds_nobody_up(
    operator: OperatorRun, targets: Targets, namespace: str
) -> None:
    east, west = targets.clusters["east"], targets.clusters["west"]
    for name, cluster in targets.clusters.items():
        await targets.tell(name)
        await cluster.kubectl.run("create", "namespace", namespace)
        for number in range(5):
            await cluster.apply(small_cluster(f"c{number}"), namespace)
    for cluster in (east, west):
        await asyncio.gather(
            *(cluster.until_condition(f"c{number}", "Ready", "True", namespace=namespace) for number in range(5))
        )
    for number in range(5):  # So that the workers have much to write when it stops answering.
        await west.kubectl.run("delete", "service,configmap", "-n", namespace, "-l", f"tapio.io/cluster=c{number}")
    await freeze(west.simulator)
    try:
        await east.apply(small_cluster("new"), namespace)
        await east.until_condition("new", "Ready", "True", namespace=namespace)
        await operator.kubernetes.apply(small_cluster("new"), namespace)
        await operator.kubernetes.until_condition("new", "Ready", "True", namespace=namespace)
    finally:
        west.simulator.send_signal(signal.SIGCONT)
    await west.apply(small_cluster("new"), namespace)
    await west.until_condition("new", "Ready", "True", namespace=namespace)


async def test_nothing_is_written_to_a_target_that_was_removed_until_it_is_there_again(
    operator: OperatorRun, targets: Targets, namespace: str
) -> None:
    east = targets.clusters["east"]
    await targets.tell("east")
    await east.kubectl.run("create", "namespace", namespace)
    await east.apply(small_cluster("one"), namespace)
    await east.until_condition("one", "Ready", "True", namespace=namespace)

    await targets.forget("east")
    await operator.settled()
    before = await east.witness.position()
    await east.kubectl.run("delete", "service", "one-nats", "-n", namespace)
    await operator.kubernetes.apply(small_cluster("beside"), namespace)
    await operator.kubernetes.until_condition("beside", "Ready", "True", namespace=namespace)
    await operator.settled()
    assert await east.operator_writes(before) == []

    await targets.tell("east")

    async def is_back() -> bool:
        return await east.get("service", "one-nats", namespace) is not None

    await east.until(is_back)


async def test_a_kubeconfig_that_would_run_a_program_is_refused_and_another_is_taken_at_once(
    operator: OperatorRun, targets: Targets, namespace: str
) -> None:
    east, good = targets.clusters["east"], await targets.kubeconfig("east")
    bad = await targets.kubeconfig("east")
    object_at(objects_at(bad, "users")[0], "user")["exec"] = {"command": "/bin/sh", "args": ["-c", "true"]}
    await east.kubectl.run("create", "namespace", namespace)
    await east.apply(small_cluster("one"), namespace)

    await targets.tell("east", bad)
    refused = await targets.until("east", "refused")
    assert "user tapio-target has exec, which would run a program in the operator's pod" in refused.message
    assert await east.operator_writes(0) == []

    await targets.tell("east", good)
    assert (await targets.until("east", "connected")).server.startswith("https://127.0.0.1:")
    await east.until_condition("one", "Ready", "True", namespace=namespace)
