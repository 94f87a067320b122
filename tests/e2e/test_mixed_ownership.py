"""Objects, limits, nodes and autoscalers that are not the operator's: each is respected, and ends in its documented
reason. Quotas, conflicts and missing storage classes: test_breakages.py."""

from __future__ import annotations

import json

import pytest

from tapio_shared.json import JsonObject, JsonValue, int_at, objects_at, str_at
from tests.support.e2e_kubernetes import Kubernetes
from tests.support.e2e_objects import small_cluster
from tests.support.operator_run import OperatorRun

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def component(kubernetes: Kubernetes, name: str, part: str, namespace: str) -> JsonObject:
    found = objects_at(await kubernetes.get("tapiocluster", name, namespace), "status", "components")
    by_name = {str_at(one, "name"): one for one in found}
    return by_name.get(part, {})


async def until_reason(kubernetes: Kubernetes, part: str, reason: str, namespace: str) -> str:
    """Wait until a component has this reason; answers its message."""
    found: JsonObject = {}

    async def has_reason() -> bool:
        nonlocal found
        found = await component(kubernetes, "one", part, namespace)
        return str_at(found, "reason") == reason

    await kubernetes.until(has_reason)
    return str_at(found, "message")


async def until_replicas(kubernetes: Kubernetes, replicas: int, namespace: str) -> None:
    async def has_replicas() -> bool:
        return await kubernetes.field("deployment", "one-gateway", ("spec", "replicas"), namespace) == replicas

    await kubernetes.until(has_replicas)


def with_gateway(**gateway: JsonValue) -> JsonObject:
    return small_cluster("one", gateway={"enabled": True, **gateway})


async def autoscaler(kubernetes: Kubernetes, name: str, least: int) -> JsonObject:
    """Of the newest version that is served; without metrics, which is CPU by default."""
    served = (await kubernetes.kubectl.run("api-versions")).split()
    return {
        "apiVersion": "autoscaling/v2" if "autoscaling/v2" in served else "autoscaling/v2beta2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "one-gateway"},
            "minReplicas": least,
            "maxReplicas": 6,
        },
    }


async def test_an_autoscaler_of_somebody_else_is_left_in_charge_and_a_person_is_not(
    operator: OperatorRun, namespace: str
) -> None:
    kubernetes, kubectl = operator.kubernetes, operator.kubernetes.kubectl
    await kubernetes.apply(with_gateway(replicas=1), namespace)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)

    await kubectl.run("scale", "deployment", "one-gateway", "-n", namespace, "--replicas=4")
    await until_replicas(kubernetes, 1, namespace)

    await kubernetes.apply(await autoscaler(kubernetes, "theirs", 3), namespace)
    message = await until_reason(kubernetes, "gateway", "ScaledByAnother", namespace)
    assert message.startswith("The replicas of gateway are left to HorizontalPodAutoscaler theirs,")
    await until_replicas(kubernetes, 3, namespace)
    # Whatever else changes, its number stays.
    await kubernetes.apply(with_gateway(replicas=1, podLabels={"team": "a"}), namespace)

    async def is_rolled() -> bool:
        path = ("spec", "template", "metadata", "labels", "team")
        return await kubernetes.field("deployment", "one-gateway", path, namespace) == "a"

    await kubernetes.until(is_rolled)
    assert await kubernetes.field("deployment", "one-gateway", ("spec", "replicas"), namespace) == 3

    await kubectl.run("delete", "hpa", "theirs", "-n", namespace)
    await until_replicas(kubernetes, 1, namespace)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)


async def test_our_own_autoscaler_takes_over_without_a_gap(operator: OperatorRun, namespace: str) -> None:
    """An apply that stops naming replicas would reset them to one for a moment."""
    kubernetes = operator.kubernetes
    await kubernetes.apply(with_gateway(replicas=3), namespace)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    before = await kubernetes.get("deployment", "one-gateway", namespace)

    await kubernetes.apply(with_gateway(autoscaling={"min": 2, "max": 6}), namespace)

    async def is_scaled_by_ours() -> bool:
        found = await kubernetes.get("hpa", "one-gateway", namespace)
        return int_at(found, "status", "currentReplicas") == 3

    await kubernetes.until(is_scaled_by_ours)
    after = await kubernetes.get("deployment", "one-gateway", namespace)
    assert int_at(after, "spec", "replicas") == 3
    # Replicas that go to one and come back are two generations; annotations of a Deployment that change are one.
    assert int_at(after, "metadata", "generation") - int_at(before, "metadata", "generation") < 2


async def limit(kubernetes: Kubernetes, namespace: str, **of_container: JsonValue) -> None:
    """A LimitRange of a namespace, or another one in its place."""
    if not kubernetes.is_real:
        pytest.skip("The simulator enforces no LimitRange.")
    entry: JsonObject = {"type": "Container", **of_container}
    body: JsonObject = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "theirs"},
        "spec": {"limits": [entry]},
    }
    await kubernetes.kubectl.run("apply", "-n", namespace, "-f", "-", stdin=json.dumps(body).encode())


async def test_a_limit_range_that_leaves_too_little_is_told_in_its_own_words(
    operator: OperatorRun, namespace: str
) -> None:
    kubernetes = operator.kubernetes
    await limit(kubernetes, namespace, max={"memory": "16Mi"})
    await kubernetes.apply(small_cluster("one"), namespace)

    message = await kubernetes.until_condition(
        "one", "MessagingReady", "False", reason="Forbidden", namespace=namespace
    )

    assert message.startswith(
        "StatefulSet one-nats: the API server refuses its pods: maximum memory usage per Container is 16Mi, but limit "
        "is 512Mi. Change the policy that refuses them, or the spec."
    )
    await kubernetes.kubectl.run("delete", "limitrange", "theirs", "-n", namespace)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace, seconds=150)


async def test_what_a_limit_range_fills_in_is_no_drift(operator: OperatorRun, namespace: str) -> None:
    """It is filled into pods, which are nobody's templates; nothing is written again for it."""
    kubernetes = operator.kubernetes
    await limit(kubernetes, namespace, default={"cpu": "2", "ephemeral-storage": "1Gi"}, defaultRequest={"cpu": "10m"})
    await kubernetes.apply(small_cluster("one"), namespace)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)

    pod = await kubernetes.get("pod", "one-nats-0", namespace)
    filled = objects_at(pod, "spec", "containers")[0]
    assert str_at(filled, "resources", "limits", "ephemeral-storage") == "1Gi"
    await operator.settled()
    since = await kubernetes.witness.position()
    await kubernetes.kubectl.run("label", "tapiocluster", "one", "-n", namespace, "looked-at=again")
    await operator.settled()
    assert [one for one in await kubernetes.operator_writes(since) if one.subresource != "status"] == []


async def test_on_one_node_everything_runs_and_what_is_missing_is_said(operator: OperatorRun, namespace: str) -> None:
    kubernetes, kubectl = operator.kubernetes, operator.kubernetes.kubectl
    nodes = objects_at(await kubectl.document("get", "nodes"), "items")
    node = str_at(nodes[0], "metadata", "name")
    await kubectl.run("label", "node", node, "tapio-e2e=only")
    try:
        alone = small_cluster("one", highAvailability=True, scheduling={"nodeSelector": {"tapio-e2e": "only"}})
        await kubernetes.apply(alone, namespace)
        said = (
            "High availability would spread 3 replicas, and 1 host in 1 zone can take them; replicas are spread as "
            "well as it goes. Add nodes in other zones."
        )

        async def is_said() -> bool:
            """The label is told of once somebody asks for it; until then no host has it."""
            return await kubernetes.condition("one", "Degraded", namespace) == ("True", "TooFewZones", said)

        await kubernetes.until(is_said, seconds=90)
        await kubernetes.until_condition("one", "Ready", "True", namespace=namespace, seconds=150)
        pods = objects_at(await kubectl.document("get", "pods", "-n", namespace), "items")
        servers = [one for one in pods if str_at(one, "metadata", "name").startswith("one-nats-")]
        assert [str_at(one, "spec", "nodeName") for one in servers] == [node] * 3
    finally:
        await kubectl.run("label", "node", node, "tapio-e2e-")
