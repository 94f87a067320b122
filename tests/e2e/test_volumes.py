"""Volumes that grow while their pods go on running, and credentials that stay with the data that they open."""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject, at, objects_at, str_at
from tests.support.e2e_kubernetes import Kubernetes
from tests.support.e2e_objects import selector_of, small_cluster
from tests.support.operator_run import OperatorRun

pytestmark = pytest.mark.asyncio(loop_scope="session")

_STORAGE = ("spec", "resources", "requests", "storage")


async def pods(kubernetes: Kubernetes, namespace: str) -> dict[str, str]:
    """UID of every pod of the cluster's StatefulSets, by its name."""
    found = await kubernetes.kubectl.document("get", "pods", "-n", namespace, "-l", selector_of("one", namespace))
    return {
        str_at(pod, "metadata", "name"): str_at(pod, "metadata", "uid")
        for pod in objects_at(found, "items")
        if str_at(pod, "metadata", "labels", "statefulset.kubernetes.io/pod-name")
    }


async def template_size(kubernetes: Kubernetes, workload: str, namespace: str) -> str:
    document = await kubernetes.get("statefulset", workload, namespace)
    templates = objects_at(document, "spec", "volumeClaimTemplates")
    return str_at(templates[0], *_STORAGE) if templates else ""


async def test_a_graph_grows_and_its_pod_is_not_touched(operator: OperatorRun, namespace: str) -> None:
    kubernetes = operator.kubernetes
    await kubernetes.apply(small_cluster("one", profile="development"), namespace)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    before = await pods(kubernetes, namespace)
    former = str_at(await kubernetes.get("statefulset", "one-neo4j-0", namespace), "metadata", "uid")
    assert "one-neo4j-0-0" in before

    larger: JsonObject = {"neo4j": {"storage": "30Gi"}}
    await kubernetes.apply(small_cluster("one", profile="development", intelligence=larger), namespace)

    async def has_grown() -> bool:
        capacity = await kubernetes.field("pvc", "data-one-neo4j-0-0", ("status", "capacity", "storage"), namespace)
        return capacity == "30Gi" and await template_size(kubernetes, "one-neo4j-0", namespace) == "30Gi"

    await kubernetes.until(has_grown)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    anew = await kubernetes.get("statefulset", "one-neo4j-0", namespace)
    assert str_at(anew, "metadata", "uid") not in ("", former)
    assert (await pods(kubernetes, namespace))["one-neo4j-0-0"] == before["one-neo4j-0-0"]

    async def is_taken_over() -> bool:
        pod = await kubernetes.get("pod", "one-neo4j-0-0", namespace)
        owners = objects_at(pod, "metadata", "ownerReferences")
        return [str_at(one, "uid") for one in owners] == [str_at(anew, "metadata", "uid")]

    await kubernetes.until(is_taken_over)


async def test_members_beyond_what_is_asked_for_grow_too_until_somebody_ends_one(
    operator: OperatorRun, namespace: str
) -> None:
    kubernetes = operator.kubernetes
    members = [f"one-neo4j-{number}" for number in range(3)]

    async def ask(replicas: int, storage: str) -> None:
        graph: JsonObject = {"replicas": replicas, "storage": storage, "acceptLicenseAgreement": "eval"}
        spec = small_cluster("one", profile="development", intelligence={"neo4j": graph})
        await kubernetes.apply(spec, namespace)

    await ask(3, "10Gi")
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    before = await pods(kubernetes, namespace)
    await ask(2, "30Gi")

    async def have_grown() -> bool:
        return [await template_size(kubernetes, one, namespace) for one in members] == ["30Gi"] * 3

    await kubernetes.until(have_grown)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    await kubernetes.until_condition("one", "Degraded", "True", reason="MembersNotRemoved", namespace=namespace)
    after = await pods(kubernetes, namespace)
    assert {f"{one}-0": after[f"{one}-0"] for one in members} == {f"{one}-0": before[f"{one}-0"] for one in members}

    await kubernetes.kubectl.run("delete", "statefulset", members[-1], "-n", namespace)
    await kubernetes.until_condition("one", "Degraded", "False", namespace=namespace)
    await operator.settled()
    assert await kubernetes.get("statefulset", members[-1], namespace) is None
    assert await kubernetes.get("pvc", "data-one-neo4j-2-0", namespace) is not None


async def test_a_lost_password_is_not_replaced_by_one_that_opens_nothing(operator: OperatorRun, namespace: str) -> None:
    kubernetes = operator.kubernetes
    document = small_cluster("one", profile="development")
    await kubernetes.apply(document, namespace)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    secret = await kubernetes.get("secret", "one-neo4j-auth", namespace)
    assert secret is not None

    await kubernetes.kubectl.run("delete", "secret", "one-neo4j-auth", "-n", namespace)

    await kubernetes.until_condition("one", "Stalled", "True", reason="CredentialsInvalid", namespace=namespace)
    assert await kubernetes.get("secret", "one-neo4j-auth", namespace) is None

    metadata: JsonObject = {"name": "one-neo4j-auth", "labels": at(secret, "metadata", "labels")}
    restored: JsonObject = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": at(secret, "data")}
    await kubernetes.apply(restored, namespace)

    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    assert await kubernetes.field("secret", "one-neo4j-auth", ("data",), namespace) == at(secret, "data")
