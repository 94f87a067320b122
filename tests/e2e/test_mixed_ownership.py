"""Objects, quotas and autoscalers that are not the operator's: each is respected, and ends in its documented reason."""

from __future__ import annotations

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
