"""Spread, faults of nodes, and what pods on a broken node come to."""

from __future__ import annotations

from collections import Counter

import pytest

from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at
from tapio_simulator.kubelet import NodeFault
from tests.support.workloads import Cluster, condition, is_ready, names, status, template, workload

SELF: JsonObject = {"matchLabels": {"app": "web"}}


def _spread(key: str) -> JsonObject:
    return {
        "topologySpreadConstraints": [
            {"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": SELF}
        ]
    }


async def test_pods_are_spread_over_zones(cluster: Cluster) -> None:
    document = workload("Deployment", "web", template("web", _spread("topology.kubernetes.io/zone")), replicas=6)
    await cluster.create("apps/v1", "deployments", document)

    pods = await cluster.until_pods(lambda pods: len(pods) == 6 and all(map(is_ready, pods)))

    assert Counter(str_at(pod, "spec", "nodeName") for pod in pods) == {"node-1": 2, "node-2": 2, "node-3": 2}


async def test_one_pod_too_many_for_the_hosts_waits_until_another_goes(cluster: Cluster) -> None:
    term: JsonObject = {"topologyKey": "kubernetes.io/hostname", "labelSelector": SELF}
    spec: JsonObject = {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}
    await cluster.create("apps/v1", "statefulsets", workload("StatefulSet", "web", template("web", spec), replicas=4))

    pods = await cluster.until_pods(
        lambda pods: any(condition(pod, "PodScheduled").get("status") == "False" for pod in pods)
    )
    stuck = next(pod for pod in pods if str_at(pod, "metadata", "name") == "web-3")
    message = "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."
    assert condition(stuck, "PodScheduled")["message"] == message
    await cluster.calls.merge(cluster.calls.path("apps/v1", "statefulsets", "web"), {"spec": {"replicas": 3}})

    await cluster.until_pods(lambda pods: names(pods) == ["web-0", "web-1", "web-2"] and all(map(is_ready, pods)))


async def test_a_node_under_disk_pressure_takes_no_new_pods(cluster: Cluster) -> None:
    cluster.breakages.break_node("node-2", NodeFault.DISK_PRESSURE)
    try:
        node = await cluster.until("/api/v1/nodes/node-2", lambda one: bool(objects_at(one, "spec", "taints")))
        assert condition(node, "DiskPressure")["reason"] == "KubeletHasDiskPressure"
        assert condition(node, "Ready")["status"] == "True"
        selector: JsonObject = {"nodeSelector": {"kubernetes.io/hostname": "node-2"}}
        await cluster.create("apps/v1", "deployments", workload("Deployment", "web", template("web", selector)))
        await cluster.until_event("FailedScheduling", "untolerated taint {node.kubernetes.io/disk-pressure: }")
    finally:
        cluster.breakages.heal_node("node-2")

    await cluster.until_pods(lambda pods: len(pods) == 1 and is_ready(pods[0]))


async def test_a_pod_is_evicted_from_a_lost_node_and_replaced_elsewhere(cluster: Cluster) -> None:
    patience: JsonObject = {
        "key": "node.kubernetes.io/unreachable",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 0,
    }
    document = workload("Deployment", "web", template("web", {"tolerations": [patience]}))
    await cluster.create("apps/v1", "deployments", document)
    first = (await cluster.until_pods(lambda pods: len(pods) == 1 and is_ready(pods[0])))[0]
    node, name = str_at(first, "spec", "nodeName"), str_at(first, "metadata", "name")

    cluster.breakages.break_node(node, NodeFault.LOST)
    try:
        pods = await cluster.until_pods(lambda pods: len(pods) == 2 and any(map(is_ready, pods)))
        left = next(pod for pod in pods if str_at(pod, "metadata", "name") == name)
        # Nobody on a lost node can say that the pod has ended.
        assert "deletionTimestamp" in object_at(left, "metadata")
        assert str_at(next(pod for pod in pods if pod is not left), "spec", "nodeName") != node
    finally:
        cluster.breakages.heal_node(node)

    await cluster.until_pods(lambda pods: len(pods) == 1 and str_at(pods[0], "metadata", "name") != name)


@pytest.mark.parametrize(
    ("tolerations", "numbers"),
    [
        pytest.param([], (2, 2, 1), id="its node is no longer wanted, though the pod stays"),
        pytest.param([{"operator": "Exists"}], (3, 3, 0), id="who tolerates everything keeps its node"),
    ],
)
async def test_a_daemon_set_on_a_node_that_is_not_ready(
    cluster: Cluster, tolerations: list[JsonValue], numbers: tuple[int, int, int]
) -> None:
    """The taint not-ready:NoSchedule is not among those that every DaemonSet pod tolerates."""
    path = cluster.calls.path("apps/v1", "daemonsets", "agent")
    document = workload("DaemonSet", "agent", template("agent", {"tolerations": tolerations}))
    await cluster.create("apps/v1", "daemonsets", document)
    await cluster.until(path, lambda one: status(one).get("numberAvailable") == 3)

    cluster.breakages.break_node("node-3", NodeFault.NOT_READY)
    try:
        found = await cluster.until(
            path,
            lambda one: status(one).get("numberAvailable") == 2 and status(one).get("numberMisscheduled") == numbers[2],
        )
        wanted, current = status(found)["desiredNumberScheduled"], status(found)["currentNumberScheduled"]
        assert (wanted, current) == numbers[:2]
        assert len(await cluster.pods()) == 3
    finally:
        cluster.breakages.heal_node("node-3")

    await cluster.until(path, lambda one: status(one).get("numberAvailable") == 3)


async def test_services_find_the_pods_that_are_ready(cluster: Cluster) -> None:
    service: JsonObject = {
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "nats", "port": 80, "targetPort": "client"}]},
    }
    await cluster.create("v1", "services", service)
    await cluster.create("apps/v1", "deployments", workload("Deployment", "web", template("web"), replicas=2))

    found = await cluster.until(
        cluster.calls.path("v1", "endpoints", "web"),
        lambda one: any(len(objects_at(subset, "addresses")) == 2 for subset in objects_at(one, "subsets")),
    )

    subset = objects_at(found, "subsets")[0]
    assert objects_at(subset, "ports") == [{"name": "nats", "port": 4222, "protocol": "TCP"}]
    addresses = {str_at(one, "ip") for one in objects_at(subset, "addresses")}
    assert addresses == {str_at(pod, "status", "podIP") for pod in await cluster.pods()}
