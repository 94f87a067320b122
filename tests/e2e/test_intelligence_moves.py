"""Graph store and correlation go from the TapioCluster into a resource of their own and back, and nothing restarts."""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject, JsonValue, at, int_at, objects_at, str_at
from tests.support.e2e_kubernetes import Kubernetes
from tests.support.e2e_objects import selector_of, small_cluster
from tests.support.operator_run import OperatorRun

pytestmark = pytest.mark.asyncio(loop_scope="session")

_ENGINES: JsonObject = {
    "patternDetection": {"config": {"window": "10m"}},
    "eventCorrelation": {"config": {"depth": 3}},
    "rootCause": {"enabled": False},
}
_CORRELATION: JsonObject = {
    "engines": _ENGINES,
    "podLabels": {"team": "observers"},
    "env": [{"name": "A", "value": "b"}],
}
_NEO4J: JsonObject = {"storage": "20Gi", "plugins": ["apoc"], "backup": {"enabled": True, "schedule": "0 2 * * *"}}


async def pods(kubernetes: Kubernetes, namespace: str) -> dict[str, tuple[str, str]]:
    """UID and hash of the template of every pod of the cluster's that is not of a Job, by its name."""
    found = await kubernetes.kubectl.document("get", "pods", "-n", namespace, "-l", selector_of("one", namespace))
    return {
        str_at(pod, "metadata", "name"): (
            str_at(pod, "metadata", "uid"),
            str_at(pod, "metadata", "labels", "pod-template-hash")
            or str_at(pod, "metadata", "labels", "controller-revision-hash"),
        )
        for pod in objects_at(found, "items")
        if str_at(objects_at(pod, "metadata", "ownerReferences")[0], "kind") != "Job"
    }


async def workloads(kubernetes: Kubernetes, namespace: str) -> dict[str, tuple[str, int, JsonValue]]:
    """UID, generation and pod template of every Deployment and StatefulSet."""
    selected = ("-n", namespace, "-l", selector_of("one", namespace))
    found = await kubernetes.kubectl.document("get", "deployments,statefulsets", *selected)
    return {
        f"{str_at(one, 'kind')}/{str_at(one, 'metadata', 'name')}": (
            str_at(one, "metadata", "uid"),
            int_at(one, "metadata", "generation"),
            at(one, "spec", "template"),
        )
        for one in objects_at(found, "items")
    }


async def until_told(kubernetes: Kubernetes, condition: str, namespace: str) -> None:
    """Wait until the status of the TapioIntelligence says so, and that of the TapioCluster is of its newest spec."""
    where = ("-n", namespace, "--timeout=60s")
    await kubernetes.kubectl.run("wait", f"--for=condition={condition}", "tapiointelligence/mind", *where)

    async def is_observed() -> bool:
        document = await kubernetes.get("tapiocluster", "one", namespace)
        return int_at(document, "status", "observedGeneration") == int_at(document, "metadata", "generation")

    await kubernetes.until(is_observed)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)


@pytest.mark.parametrize(
    ("profile", "mind", "of_graph"),
    [
        pytest.param("development", {"neo4j": _NEO4J, "correlation": _CORRELATION}, "one-neo4j-0-0", id="Neo4j"),
        pytest.param("edge", {"embedded": True, "correlation": _CORRELATION}, "one-correlation-0", id="embedded"),
    ],
)
async def test_moving_to_a_resource_of_its_own_and_back_restarts_nothing(
    operator: OperatorRun, namespace: str, profile: str, mind: JsonObject, of_graph: str
) -> None:
    kubernetes = operator.kubernetes
    inline = small_cluster("one", profile=profile, intelligence=mind)
    alone: JsonObject = {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioIntelligence",
        "metadata": {"name": "mind"},
        "spec": {"clusterRef": {"name": "one"}, **mind},
    }
    await kubernetes.apply(inline, namespace)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace, seconds=90)
    await operator.settled()
    ran, were = await pods(kubernetes, namespace), await workloads(kubernetes, namespace)
    assert of_graph in ran
    assert any(name.startswith("one-correlation-") for name in ran)
    assert all(uid and template for uid, template in ran.values())
    since = await kubernetes.witness.position()

    # Beside the TapioCluster's own it waits for its turn, and takes over once that is gone.
    await kubernetes.apply(alone, namespace)
    await until_told(kubernetes, "Stalled=True", namespace)
    await kubernetes.apply(small_cluster("one", profile=profile), namespace)
    await until_told(kubernetes, "Ready=True", namespace)
    await operator.settled()
    assert (await pods(kubernetes, namespace), await workloads(kubernetes, namespace)) == (ran, were)

    await kubernetes.apply(inline, namespace)
    await until_told(kubernetes, "Stalled=True", namespace)
    await kubernetes.kubectl.run("delete", "tapiointelligence", "mind", "-n", namespace, "--timeout=60s")
    await operator.settled()
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    assert (await pods(kubernetes, namespace), await workloads(kubernetes, namespace)) == (ran, were)
    # Not one object was written, but for what the resources' own status says.
    written = await kubernetes.operator_writes(since)
    assert [one for one in written if one.subresource != "status" and one.resource.partition(".")[0] != "events"] == []
