"""What can go wrong with workloads: Ready stays False with the documented reason, and comes back when it is mended."""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject, objects_at, str_at
from tests.support.e2e_objects import small_cluster
from tests.support.operator_run import OperatorRun

pytestmark = pytest.mark.asyncio(loop_scope="session")
POD_SECURITY_SINCE = 23


def behaves(behaviour: str) -> JsonObject:
    """A component whose simulated containers behave so; the annotation is the simulator's."""
    return {"podAnnotations": {"simulator.tapio.io/behaviour": behaviour}}


@pytest.mark.parametrize(
    ("component", "broken", "state", "reason"),
    [
        pytest.param(
            "nats", {"image": "docker.io/library/nats:does-not-exist"}, "Failed", "ImagePullFailed", id="unknown image"
        ),
        pytest.param("nats", behaves("crash"), "Failed", "CrashLooping", id="crash"),
        pytest.param("nats", behaves("oom"), "Failed", "OutOfMemory", id="out of memory"),
        pytest.param("gateway", behaves("init-crash"), "Failed", "CrashLooping", id="crash at the start"),
        pytest.param(
            "gateway", {"resources": {"requests": {"cpu": "1000"}}}, "Failed", "Unschedulable", id="fits no node"
        ),
        pytest.param(
            "nats",
            {"priorityClassName": "none-such"},
            "Failed",
            "DependencyNotReady",
            id="pods that the API server refuses",
        ),
        pytest.param(
            "nats", {"storageClassName": "none-such"}, "Progressing", "VolumePending", id="no such storage class"
        ),
    ],
)
async def test_a_broken_component_says_why_and_heals(
    operator: OperatorRun, namespace: str, component: str, broken: JsonObject, state: str, reason: str
) -> None:
    kubernetes = operator.kubernetes
    base: JsonObject = {"enabled": True}
    await kubernetes.apply(small_cluster("one", **{component: base | broken}), namespace)

    async def says_why() -> bool:
        """Of this component: for a moment, another one may wait for its volume for the same reason."""
        status, found, message = await kubernetes.condition("one", "Ready", namespace)
        return (status, found) == ("False", reason) and component in message

    await kubernetes.until(says_why)
    document = await kubernetes.get("tapiocluster", "one", namespace)
    states = {
        str_at(one, "name"): (str_at(one, "state"), str_at(one, "reason"))
        for one in objects_at(document, "status", "components")
    }
    assert states[component] == (state, reason)
    if "storageClassName" in broken:
        return  # immutable: mended by a new TapioCluster alone
    await kubernetes.apply(small_cluster("one", **{component: base}), namespace)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace)


async def test_node_agents_that_their_namespace_does_not_allow(operator: OperatorRun, namespace: str) -> None:
    """Of a DaemonSet's refused pods there is an Event alone; the reason and the API server's words come from it."""
    kubernetes = operator.kubernetes
    minor = str_at(await kubernetes.kubectl.document("version"), "serverVersion", "minor")
    if int("".join(char for char in minor if char.isdigit())) < POD_SECURITY_SINCE:
        pytest.skip("This API server knows no Pod Security.")
    await allow(operator, "baseline")
    try:
        await kubernetes.apply(small_cluster("one", collectors={"ebpf": True}), namespace)

        message = await kubernetes.until_condition(
            "one", "CollectorsReady", "False", reason="PodSecurityRefused", namespace=namespace
        )

        assert 'the API server refuses its pods: violates PodSecurity "baseline:latest": ' in message
        assert message.endswith("Allow such pods in its namespace (label pod-security.kubernetes.io/enforce).")
    finally:
        await allow(operator, "privileged")
    # Not every controller hears of the label: a new template is tried at once, the same one when its back-off is over.
    ebpf: JsonObject = {"podAnnotations": {"tried": "again"}}
    await kubernetes.apply(small_cluster("one", collectors={"ebpf": ebpf}), namespace)
    await kubernetes.until_condition("one", "CollectorsReady", "True", namespace=namespace)


async def allow(operator: OperatorRun, level: str) -> None:
    """Set the Pod Security level of the node agents' namespace."""
    label = f"pod-security.kubernetes.io/enforce={level}"
    await operator.kubernetes.kubectl.run("label", "namespace", "tapio-nodes", label, "--overwrite")


async def test_a_quota_that_leaves_no_room(operator: OperatorRun, namespace: str) -> None:
    kubernetes = operator.kubernetes
    if not kubernetes.is_real:
        pytest.skip("The simulator enforces no ResourceQuota.")
    await kubernetes.kubectl.run("create", "quota", "none", "--hard=pods=0", "-n", namespace)
    await kubernetes.apply(small_cluster("one"), namespace)

    message = await kubernetes.until_condition(
        "one", "MessagingReady", "False", reason="QuotaExceeded", namespace=namespace
    )

    assert message.startswith(
        "StatefulSet one-nats: the API server refuses its pods: exceeded quota: none, requested: pods=1, "
        "limited: pods=0. Raise the quota of its namespace, or ask for less in the spec."
    )
    await kubernetes.kubectl.run("delete", "quota", "none", "-n", namespace)
    await kubernetes.until_condition("one", "Ready", "True", namespace=namespace, seconds=150)
