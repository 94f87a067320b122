"""`doctor` finds each thing that it checks when that is broken, says how it knows and what to do, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from tapio_cli.doctor.cluster import CHECKS, examine
from tapio_cli.doctor.findings import Finding, Verdict
from tapio_cli.history.story import read_story
from tapio_shared.codec import decode_as, encode
from tapio_shared.json import JsonObject, JsonValue, objects_at, str_at
from tapio_shared.kubernetes import check, object_path
from tapio_simulator.faults import Fault
from tests.support.incidents import KEY, NAME, Incident, incident
from tests.support.operator_in_process import RECONCILER
from tests.support.virtual_time import run_virtually

BOB = "bob@example.org"
Plant = Callable[[Incident], Awaitable[None]]
_WHOLE: dict[str, JsonValue] = {
    "profile": "development",
    "collectors": {"ebpf": True, "kubernetes": True},
    "networkPolicy": {"enabled": True},
}
"""Of everything that is checked there is something."""


def paused_and(break_it: Plant) -> Plant:
    """Nothing is put back while the cluster is paused."""

    async def plant(one: Incident) -> None:
        await one.edit(BOB, {"metadata": {"annotations": {"tapio.io/paused": "true"}}})
        await one.until_condition("Paused", "True")
        await break_it(one)
        await one.until_condition("Paused", "True")

    return plant


def deleted(group: str, plural: str, name: str, namespace: str = "default") -> Plant:
    async def plant(one: Incident) -> None:
        await one.delete(group, plural, name, namespace=namespace)

    return paused_and(plant)


def changed(group: str, plural: str, name: str, patch: JsonObject, namespace: str = "default") -> Plant:
    async def plant(one: Incident) -> None:
        await one.edit_object(group, plural, name, patch, manager="kubectl-edit", namespace=namespace)

    return paused_and(plant)


def asked_for(patch: JsonObject, which: str, reason: str) -> Plant:
    async def plant(one: Incident) -> None:
        await one.edit(BOB, {"spec": patch})
        await one.until_condition(which, "False", reason)

    return plant


def graph(**fields: JsonValue) -> JsonObject:
    return {"intelligence": {"neo4j": fields}}


def behaves(behaviour: str) -> JsonObject:
    return graph(podAnnotations={"simulator.tapio.io/behaviour": behaviour})


async def no_node(one: Incident) -> None:
    await one.edit(BOB, {"spec": {"collectors": {"ebpf": {"nodeSelector": {"disk": "none-such"}}}}})
    await one.until(lambda found: objects_at(found, "status", "skipped") != [])


async def refused_by_pod_security(one: Incident) -> None:
    labels: JsonObject = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    await one.operator.patch("/api/v1/namespaces/tapio-nodes", labels)
    await one.edit(BOB, {"spec": {"collectors": {"ebpf": {"podAnnotations": {"new": "pods"}}}}})
    await one.until_condition("CollectorsReady", "False", "PodSecurityRefused")


async def lost_password(one: Incident) -> None:
    await one.delete("v1", "secrets", f"{NAME}-neo4j-auth")
    await one.until_condition("Stalled", "True", "CredentialsInvalid")


@pytest.mark.parametrize(
    ("plant", "check", "evidence"),
    [
        pytest.param(
            deleted("v1", "serviceaccounts", f"{NAME}-kubernetes"),
            "RBAC permissions",
            f"ServiceAccount default/{NAME}-kubernetes does not exist.",
            id="a ServiceAccount is gone",
        ),
        pytest.param(
            deleted("rbac.authorization.k8s.io/v1", "clusterrolebindings", f"tapio:default:{NAME}:kubernetes", ""),
            "RBAC permissions",
            f"ClusterRoleBinding.rbac.authorization.k8s.io tapio:default:{NAME}:kubernetes does not exist.",
            id="a binding is gone",
        ),
        pytest.param(
            changed(
                "rbac.authorization.k8s.io/v1", "clusterroles", f"tapio:default:{NAME}:kubernetes", {"rules": []}, ""
            ),
            "RBAC permissions",
            f"tapio:default:{NAME}:kubernetes differs from what is wanted: rules.",
            id="a role was emptied",
        ),
        pytest.param(
            no_node,
            "node selectors",
            "with the labels disk=none-such, and no node on which it can work has them",
            id="a nodeSelector matches no node",
        ),
        pytest.param(
            refused_by_pod_security, "security contexts", 'violates PodSecurity "baseline', id="Pod Security refuses"
        ),
        pytest.param(asked_for(behaves("oom"), "Ready", "OutOfMemory"), "memory limits", "memory limit", id="memory"),
        pytest.param(
            asked_for(behaves("init-crash"), "Ready", ""),
            "init containers",
            "InitFailed (container conf ends with code 1",
            id="an init container fails",
        ),
        pytest.param(
            changed("networking.k8s.io/v1", "networkpolicies", f"{NAME}-nats-flows", {"spec": {"ingress": []}}),
            "network policies",
            f"{NAME}-nats-flows differs from what is wanted: spec.ingress",
            id="a NetworkPolicy is closed",
        ),
        pytest.param(
            deleted("networking.k8s.io/v1", "networkpolicies", f"{NAME}-nats-flows"),
            "network policies",
            f"NetworkPolicy.networking.k8s.io default/{NAME}-nats-flows does not exist.",
            id="a NetworkPolicy is gone",
        ),
        pytest.param(
            deleted("v1", "services", f"{NAME}-nats"),
            "service discovery",
            f"Service default/{NAME}-nats does not exist.",
            id="a Service is gone",
        ),
        pytest.param(
            changed("v1", "services", f"{NAME}-nats", {"spec": {"selector": {"app.kubernetes.io/name": "else"}}}),
            "service discovery",
            f"Service default/{NAME}-nats differs from what is wanted: spec.selector.app.kubernetes.io/name.",
            id="a Service selects nothing",
        ),
        pytest.param(
            deleted("v1", "secrets", f"{NAME}-nats-auth"),
            "credentials",
            f"Secret default/{NAME}-nats-auth of nats does not exist.",
            id="the credentials are gone",
        ),
        pytest.param(
            changed("v1", "secrets", f"{NAME}-nats-auth", {"data": {"correlation": None}}),
            "credentials",
            f"Secret default/{NAME}-nats-auth lacks correlation.",
            id="a password is gone",
        ),
        pytest.param(
            asked_for({"gateway": {"image": "registry.example/no-such:1"}}, "GatewayReady", "ImagePullFailed"),
            "components",
            "gateway is Failed since ",
            id="an image that does not exist",
        ),
        pytest.param(
            deleted("apps/v1", "statefulsets", f"{NAME}-nats"),
            "components",
            f"StatefulSet.apps default/{NAME}-nats does not exist, and is not made while the TapioCluster is paused.",
            id="a workload is gone while nothing is written",
        ),
        pytest.param(
            changed("apps/v1", "deployments", f"{NAME}-gateway", {"spec": {"replicas": 0}}),
            "components",
            f"Deployment.apps default/{NAME}-gateway is scaled to 0, and no HorizontalPodAutoscaler scales from there.",
            id="a workload is scaled to nothing",
        ),
        pytest.param(
            lost_password,
            "credentials",
            f"neo4j: Secret default/{NAME}-neo4j-auth does not exist any more",
            id="a password that no other can take the place of",
        ),
    ],
)
def test_what_is_broken_is_found_and_nothing_else(plant: Plant, check: str, evidence: str) -> None:
    found = run_virtually(_examined(plant))
    problems = {one.check: one for one in found if one.verdict is Verdict.PROBLEM}
    assert list(problems) == [check], found
    assert evidence in problems[check].evidence
    assert problems[check].next_step


async def cordoned(one: Incident) -> None:
    answer = await one.operator.admin.request("GET", "/api/v1/nodes")
    nodes = objects_at(cast("JsonObject", decode_as(dict, check(answer))), "items")
    for node in nodes:
        path = f"/api/v1/nodes/{str_at(node, 'metadata', 'name')}"
        await one.operator.patch(path, {"spec": {"unschedulable": True}})
    await one.delete("v1", "pods", f"{NAME}-nats-0")
    await one.until_condition("MessagingReady", "False", "Unschedulable")


def test_nodes_that_are_cordoned_are_to_be_uncordoned() -> None:
    found = {one.check: one for one in run_virtually(_examined(cordoned))}
    assert found["service discovery"].next_step.startswith(
        "Nodes are cordoned: kubectl get nodes says which (SchedulingDisabled), and kubectl uncordon NODE lets pods "
        "onto one again."
    )


async def pull_secret_elsewhere(one: Incident) -> None:
    check(
        await one.operator.admin.request("POST", "/api/v1/namespaces", body=encode({"metadata": {"name": "registry"}}))
    )
    secret: JsonObject = {"metadata": {"name": "pull", "namespace": "registry"}, "data": {}}
    path = object_path("", "v1", "secrets", "registry")
    check(await one.operator.admin.request("POST", path, body=encode(secret)))
    image = "registry.example/no-such:1"
    spec: JsonObject = {"image": {"pullSecrets": [{"name": "pull"}]}, "gateway": {"image": image}}
    await one.edit(BOB, {"spec": spec})
    await one.until_condition("GatewayReady", "False", "ImagePullFailed")


def test_a_pull_secret_of_another_namespace_is_missing() -> None:
    found = {one.check: one for one in run_virtually(_examined(pull_secret_elsewhere))}
    assert found["components"].next_step.startswith(
        "Secret default/pull, which spec.image.pullSecrets names, does not exist: pods pull with Secrets of their own "
        "namespace alone. Where there is one: kubectl get secrets -A --field-selector metadata.name=pull Name an image"
    )


def created_with(fields: JsonObject, which: str) -> Plant:
    """A TapioCluster that never becomes Ready, since a volume of its own is not provisioned."""

    async def plant(one: Incident) -> None:
        document: JsonObject = {
            "apiVersion": "tapio.io/v1alpha1",
            "kind": "TapioCluster",
            "metadata": {"name": NAME},
            "spec": {**_WHOLE, **fields},
        }
        await one.create(BOB, document)
        await one.until_condition(which, "False", "VolumePending")

    return plant


def test_a_volume_that_is_not_provisioned() -> None:
    plant = created_with(graph(storageClassName="none-such"), "GraphStoreReady")
    found = {one.check: one for one in run_virtually(_examined(plant, ready=False))}
    assert found["PVC provisioning"].verdict is Verdict.PROBLEM
    assert "(StorageClass none-such)" in found["PVC provisioning"].evidence


def test_what_keeps_services_from_having_pods_is_to_be_mended_and_not_the_services() -> None:
    plant = created_with({"nats": {"storageClassName": "none-such"}}, "MessagingReady")
    found = {one.check: one for one in run_virtually(_examined(plant, ready=False))}
    assert found["service discovery"].verdict is Verdict.PROBLEM
    assert "it waits for a volume of StorageClass none-such" in found["service discovery"].evidence
    assert found["service discovery"].next_step == (
        "There is no StorageClass none-such; there is standard. Create it, or create the TapioCluster anew with "
        "another one. A claim that was kept goes on naming it: kubectl delete pvc -n default "
        f"data-{NAME}-nats-0, and the pods that wait for it; it holds nothing. "
        f"tapioctl explain default/{NAME} nats says what led to it."
    )


async def no_provisioner(one: Incident) -> None:
    slow: JsonObject = {
        "metadata": {"name": "slow"},
        "provisioner": "example.org/none",
        "volumeBindingMode": "Immediate",
    }
    path = object_path("storage.k8s.io", "v1", "storageclasses", "")
    check(await one.operator.admin.request("POST", path, body=encode(slow)))
    await created_with({"nats": {"storageClassName": "slow"}}, "MessagingReady")(one)


def test_a_class_that_there_is_may_be_slow() -> None:
    found = {one.check: one for one in run_virtually(_examined(no_provisioner, ready=False))}
    assert found["service discovery"].next_step == (
        "kubectl describe pvc -n default says what provisioning waits for, and kubectl get storageclass which classes "
        f"there are. tapioctl explain default/{NAME} nats says what led to it."
    )


async def claim_deleted(one: Incident) -> None:
    await one.delete("v1", "persistentvolumeclaims", f"data-{NAME}-nats-0")
    await one.delete("v1", "pods", f"{NAME}-nats-0")
    await one.until_condition("MessagingReady", "False", "Unschedulable")


def test_a_pod_whose_claim_is_gone_needs_no_smaller_request() -> None:
    found = {one.check: one for one in run_virtually(_examined(claim_deleted))}
    assert f'persistentvolumeclaim "data-{NAME}-nats-0"' in found["service discovery"].evidence
    assert found["service discovery"].next_step == (
        "kubectl delete pod -n default POD: its StatefulSet makes pod and claim again, with an empty volume. "
        f"tapioctl explain default/{NAME} nats says what led to it."
    )


async def rights_lost(one: Incident) -> None:
    verbs, users = frozenset({"apply", "patch"}), frozenset({RECONCILER.name})
    one.operator.cluster.faults.add(Fault(action="refuse", verbs=verbs, status=403, users=users))
    await one.edit(BOB, {"spec": {"nats": {"podAnnotations": {"note": "x"}}}})
    await asyncio.sleep(5)  # virtual seconds, for whatever is tried


def test_writes_that_are_refused_are_found_though_the_status_can_not_say_so() -> None:
    found = run_virtually(_examined(rights_lost))
    problems = [one for one in found if one.verdict is Verdict.PROBLEM]
    assert [one.check for one in problems] == ["components"]
    assert problems[0].evidence.startswith(f"The status of TapioCluster default/{NAME} can't be written, so what it ")
    assert f"The apply of StatefulSet.apps default/{NAME}-nats failed once, last at " in problems[0].evidence
    assert problems[0].next_step == (
        "kubectl apply -k deploy/base (before Kubernetes 1.25 deploy/legacy, in a target deploy/target) gives the "
        "operator its rights again."
    )


async def three_members_without_a_licence(one: Incident) -> None:
    await one.edit(BOB, {"spec": graph(replicas=3)})
    await one.until_condition("Degraded", "True", "LicenseNotAccepted")


def test_what_is_less_than_was_asked_for_is_told_and_no_problem() -> None:
    components = run_virtually(_examined(three_members_without_a_licence))[-1]
    assert components.verdict is Verdict.OK
    assert "components are ready. Degraded: LicenseNotAccepted: " in components.evidence


async def nothing(_: Incident) -> None:
    """Break nothing."""


def test_a_healthy_cluster_is_well() -> None:
    found = run_virtually(_examined(nothing))
    assert [(one.area, one.check) for one in found] == list(CHECKS)
    assert [one for one in found if one.verdict is not Verdict.OK] == []


async def gone(one: Incident) -> None:
    await one.delete("tapio.io/v1alpha1", "tapioclusters", NAME)
    await one.until(lambda found: not found)


def test_of_a_cluster_that_is_gone_that_is_said_once() -> None:
    (found,) = run_virtually(_examined(gone))
    assert (found.check, found.verdict) == ("components", Verdict.UNKNOWN)
    assert found.evidence == f"TapioCluster default/{NAME} does not exist."
    assert found.next_step == f"tapioctl explain default/{NAME} says what became of it."


async def refused(one: Incident) -> None:
    await one.edit(BOB, {"spec": {"nats": {"podTemplate": {"spec": {"hostNetwork": True}}}}}, webhook=False)
    await one.until_condition("Stalled", "True")


def test_of_a_stalled_cluster_nothing_is_known() -> None:
    found = run_virtually(_examined(refused))
    assert {one.check for one in found if one.verdict is not Verdict.UNKNOWN} == {"components"}
    assert (found[-1].check, found[-1].verdict) == ("components", Verdict.PROBLEM)
    assert all("hostNetwork" in one.evidence for one in found)


async def _examined(plant: Plant, *, ready: bool = True) -> list[Finding]:
    async with incident(ready=ready, spec=_WHOLE) as one:
        await plant(one)
        story = await read_story(one.operator.log, KEY)
        return examine(story, one.operator.clock.now())
