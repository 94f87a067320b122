"""Each thing that a pod needs, taken away and given back: what the status and the Events say meanwhile."""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject, int_at, objects_at, str_at
from tapio_simulator.kubelet import Behaviour, NodeFault
from tests.support.workloads import (
    Cluster,
    condition,
    container,
    is_ready,
    status,
    template,
    waiting_reason,
    workload,
)


async def _deploy(cluster: Cluster, spec: JsonObject | None = None, annotations: JsonObject | None = None) -> None:
    await cluster.create("apps/v1", "deployments", workload("Deployment", "web", template("web", spec, annotations)))


async def _becomes_ready(cluster: Cluster) -> None:
    await cluster.until(
        cluster.calls.path("apps/v1", "deployments", "web"), lambda one: status(one).get("availableReplicas") == 1
    )


async def _waits_for(cluster: Cluster, reason: str) -> JsonObject:
    return (await cluster.until_pods(lambda pods: len(pods) == 1 and waiting_reason(pods[0]) == reason))[0]


async def test_an_image_with_an_unknown_tag(cluster: Cluster) -> None:
    await _deploy(cluster, {"containers": [container(image="nats:does-not-exist")]})

    pod = await _waits_for(cluster, "ImagePullBackOff")
    await cluster.until_event("Failed", 'Failed to pull image "nats:does-not-exist"')

    assert str_at(pod, "status", "phase") == "Pending"
    assert not is_ready(pod)


async def test_an_image_that_a_registry_loses_and_finds_again(cluster: Cluster) -> None:
    cluster.breakages.break_image("*/library/nats")
    await _deploy(cluster)

    await _waits_for(cluster, "ImagePullBackOff")
    cluster.breakages.heal_image("*/library/nats")

    await _becomes_ready(cluster)


async def test_a_config_map_of_the_environment(cluster: Cluster) -> None:
    environment: JsonObject = {"envFrom": [{"configMapRef": {"name": "settings"}}]}
    await _deploy(cluster, {"containers": [container(extra=environment)]})

    pod = await _waits_for(cluster, "CreateContainerConfigError")
    state = objects_at(pod, "status", "containerStatuses")[0]
    assert str_at(state, "state", "waiting", "message") == 'configmap "settings" not found'
    await cluster.until_event("Failed", 'Error: configmap "settings" not found')
    await cluster.create("v1", "configmaps", {"metadata": {"name": "settings"}, "data": {"a": "b"}})

    await _becomes_ready(cluster)


async def test_a_key_of_a_secret(cluster: Cluster) -> None:
    reference: JsonObject = {"secretKeyRef": {"name": "login", "key": "password"}}
    await cluster.create("v1", "secrets", {"metadata": {"name": "login"}, "data": {"user": "YQ=="}})
    await _deploy(cluster, {"containers": [container(env=[{"name": "PASSWORD", "valueFrom": reference}])]})

    pod = await _waits_for(cluster, "CreateContainerConfigError")
    text = str_at(objects_at(pod, "status", "containerStatuses")[0], "state", "waiting", "message")
    assert text == f"couldn't find key password in Secret {cluster.calls.namespace}/login"
    await cluster.calls.merge(cluster.calls.path("v1", "secrets", "login"), {"data": {"password": "YQ=="}})

    await _becomes_ready(cluster)


async def test_a_secret_of_a_volume(cluster: Cluster) -> None:
    await _deploy(cluster, {"volumes": [{"name": "tls", "secret": {"secretName": "certificate"}}]})

    await _waits_for(cluster, "ContainerCreating")
    event = await cluster.until_event("FailedMount", 'secret "certificate" not found')
    assert event["type"] == "Warning"
    await cluster.create("v1", "secrets", {"metadata": {"name": "certificate"}})

    await _becomes_ready(cluster)


async def test_a_claim_without_a_known_storage_class(cluster: Cluster) -> None:
    claim: JsonObject = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "fast",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    await cluster.create("v1", "persistentvolumeclaims", claim)
    await _deploy(cluster, {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]})

    await cluster.until_event("ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found')
    pods = await cluster.until_pods(lambda pods: bool(pods) and bool(condition(pods[0], "PodScheduled")))

    assert condition(pods[0], "PodScheduled")["reason"] == "Unschedulable"
    assert "pod has unbound immediate PersistentVolumeClaims" in str_at(condition(pods[0], "PodScheduled"), "message")


async def test_a_claim_that_does_not_exist_yet(cluster: Cluster) -> None:
    await _deploy(cluster, {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "late"}}]})

    await cluster.until_event("FailedScheduling", 'persistentvolumeclaim "late" not found')
    spec: JsonObject = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await cluster.create("v1", "persistentvolumeclaims", {"metadata": {"name": "late"}, "spec": spec})

    await _becomes_ready(cluster)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param(
            {"containers": [container(resources={"requests": {"cpu": "1000"}})]},
            "0/3 nodes are available: 3 Insufficient cpu.",
            id="requests that fit no node",
        ),
        pytest.param(
            {"nodeSelector": {"disk": "ssd"}},
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
            id="a label that no node has",
        ),
    ],
)
async def test_a_pod_that_no_node_can_take(cluster: Cluster, spec: JsonObject, message: str) -> None:
    await _deploy(cluster, spec)

    pods = await cluster.until_pods(lambda pods: bool(pods) and bool(condition(pods[0], "PodScheduled")))
    scheduled = condition(pods[0], "PodScheduled")

    assert (scheduled["status"], scheduled["reason"], scheduled["message"]) == ("False", "Unschedulable", message)
    assert str_at(pods[0], "status", "phase") == "Pending"
    event = await cluster.until_event("FailedScheduling", message)
    assert str_at(event, "involvedObject", "kind") == "Pod"


async def test_a_service_account_that_does_not_exist(cluster: Cluster) -> None:
    await _deploy(cluster, {"serviceAccountName": "operator"})

    found = await cluster.until(
        cluster.calls.path("apps/v1", "deployments", "web"), lambda one: bool(condition(one, "ReplicaFailure"))
    )
    failure = condition(found, "ReplicaFailure")
    assert (failure["status"], failure["reason"]) == ("True", "FailedCreate")
    assert 'serviceaccount "operator" not found' in str_at(failure, "message")
    await cluster.until_event("FailedCreate", 'serviceaccount "operator" not found')
    await cluster.create("v1", "serviceaccounts", {"metadata": {"name": "operator"}})

    await _becomes_ready(cluster)


async def test_pod_security_of_the_namespace(cluster: Cluster) -> None:
    path = f"/api/v1/namespaces/{cluster.calls.namespace}"
    label = "pod-security.kubernetes.io/enforce"
    await cluster.calls.merge(path, {"metadata": {"labels": {label: "restricted"}}})
    await _deploy(cluster, {"hostPID": True})
    expected = 'violates PodSecurity "restricted:latest": host namespaces (hostPID=true)'

    if cluster.admits_by_pod_security:
        found = await cluster.until(
            cluster.calls.path("apps/v1", "deployments", "web"), lambda one: bool(condition(one, "ReplicaFailure"))
        )
        assert expected in str_at(condition(found, "ReplicaFailure"), "message")
        await cluster.until_event("FailedCreate", expected)
    else:
        await _waits_for(cluster, "CreateContainerConfigError")
        await cluster.until_event("Failed", expected)
    await cluster.calls.merge(path, {"metadata": {"labels": {label: "privileged"}}})
    if not cluster.admits_by_pod_security:
        await cluster.calls.delete(cluster.calls.path("v1", "pods"))

    await _becomes_ready(cluster)


@pytest.mark.parametrize(
    ("probe", "event"),
    [
        pytest.param(
            {"readinessProbe": {"httpGet": {"path": "/", "port": 8222}}},
            "Readiness probe failed: dial tcp: port 8222: connect: connection refused",
            id="number",
        ),
        pytest.param(
            {"readinessProbe": {"tcpSocket": {"port": "monitor"}}},
            "Readiness probe failed: dial tcp: port monitor: connect: connection refused",
            id="name",
        ),
    ],
)
async def test_a_readiness_probe_on_a_port_that_nobody_listens_on(
    cluster: Cluster, probe: JsonObject, event: str
) -> None:
    await _deploy(cluster, {"containers": [container(extra=probe)]})

    await cluster.until_event("Unhealthy", event)
    pods = await cluster.until_pods(lambda pods: bool(pods) and str_at(pods[0], "status", "phase") == "Running")

    assert not is_ready(pods[0])
    assert condition(pods[0], "Ready")["message"] == "containers with unready status: [main]"


async def test_a_startup_probe_that_fails_restarts_the_container(cluster: Cluster) -> None:
    await _deploy(cluster, {"containers": [container(startupProbe={"tcpSocket": {"port": 1}})]})

    pod = await _waits_for(cluster, "CrashLoopBackOff")

    await cluster.until_event("Unhealthy", "Startup probe failed")
    await cluster.until_event("Killing", "Container main failed startup probe, will be restarted")
    assert int_at(objects_at(pod, "status", "containerStatuses")[0], "restartCount") >= 1


async def test_a_service_to_a_port_that_no_container_has(cluster: Cluster) -> None:
    service: JsonObject = {
        "metadata": {"name": "front"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    }
    await cluster.create("v1", "services", service)
    await _deploy(cluster)

    await cluster.until_event("Unhealthy", "Service front sends port 80 to http")
    pods = await cluster.until_pods(lambda pods: bool(pods) and str_at(pods[0], "status", "phase") == "Running")
    assert not is_ready(pods[0])
    patch: JsonObject = {"spec": {"ports": [{"port": 80, "targetPort": "client"}]}}
    await cluster.calls.merge(cluster.calls.path("v1", "services", "front"), patch)

    await _becomes_ready(cluster)


@pytest.mark.parametrize(
    ("behaviour", "reason", "code"), [(Behaviour.CRASH, "Error", 1), (Behaviour.OOM, "OOMKilled", 137)]
)
async def test_a_container_that_ends_again_and_again(
    cluster: Cluster, behaviour: Behaviour, reason: str, code: int
) -> None:
    await _deploy(cluster, annotations={"simulator.tapio.io/behaviour": behaviour.value})

    def restarted(pods: list[JsonObject]) -> bool:
        return bool(pods) and any(
            int_at(one, "restartCount") >= 2 for one in objects_at(pods[0], "status", "containerStatuses")
        )

    pod = (await cluster.until_pods(restarted))[0]
    state = objects_at(pod, "status", "containerStatuses")[0]

    assert waiting_reason(pod) == "CrashLoopBackOff"
    assert str_at(state, "lastState", "terminated", "reason") == reason
    assert int_at(state, "lastState", "terminated", "exitCode") == code
    assert not is_ready(pod)
    await cluster.until_event("BackOff", "Back-off restarting failed container")


async def test_a_container_that_is_healed_runs_again(cluster: Cluster) -> None:
    pattern = f"{cluster.calls.namespace}/web-*"
    await _deploy(cluster)
    await _becomes_ready(cluster)

    cluster.breakages.break_pods(pattern, Behaviour.CRASH)
    await _waits_for(cluster, "CrashLoopBackOff")
    await cluster.until(
        cluster.calls.path("apps/v1", "deployments", "web"), lambda one: "availableReplicas" not in status(one)
    )
    cluster.breakages.heal_pods(pattern)

    await _becomes_ready(cluster)


async def test_an_init_container_that_fails(cluster: Cluster) -> None:
    init = container("prepare", ports=[])
    annotations: JsonObject = {"simulator.tapio.io/behaviour": "init-crash"}
    await _deploy(cluster, {"initContainers": [init]}, annotations)

    pods = await cluster.until_pods(
        lambda pods: bool(pods) and waiting_reason(pods[0], "initContainerStatuses") == "CrashLoopBackOff"
    )

    assert waiting_reason(pods[0]) == "PodInitializing"
    assert condition(pods[0], "Initialized")["message"] == "containers with incomplete status: [prepare]"
    assert str_at(pods[0], "status", "phase") == "Pending"


async def test_a_node_that_is_lost_and_comes_back(cluster: Cluster) -> None:
    await _deploy(cluster)
    await _becomes_ready(cluster)
    node = str_at((await cluster.pods())[0], "spec", "nodeName")

    cluster.breakages.break_node(node, NodeFault.LOST)
    try:
        lost = await cluster.until(
            f"/api/v1/nodes/{node}", lambda one: condition(one, "Ready").get("status") == "Unknown"
        )
        assert condition(lost, "Ready")["reason"] == "NodeStatusUnknown"
        await cluster.until_pods(lambda pods: len(pods) == 1 and not is_ready(pods[0]))
        tainted = await cluster.until(f"/api/v1/nodes/{node}", lambda one: bool(objects_at(one, "spec", "taints")))
        assert {str_at(one, "key") for one in objects_at(tainted, "spec", "taints")} == {
            "node.kubernetes.io/unreachable"
        }
    finally:
        cluster.breakages.heal_node(node)

    await _becomes_ready(cluster)
    await cluster.until(f"/api/v1/nodes/{node}", lambda one: not objects_at(one, "spec", "taints"))
