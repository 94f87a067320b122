"""Healthy workloads reach what was asked for, with the statuses that clients read."""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject, at, int_at, object_at, objects_at, str_at, strings_at
from tests.support.workloads import (
    Cluster,
    claim_template,
    condition,
    is_ready,
    names,
    status,
    template,
    workload,
)


async def test_a_deployment_becomes_available(cluster: Cluster) -> None:
    await cluster.create("apps/v1", "deployments", workload("Deployment", "web", template("web"), replicas=3))

    found = await cluster.until(
        cluster.calls.path("apps/v1", "deployments", "web"),
        lambda one: (
            status(one).get("availableReplicas") == 3
            and condition(one, "Progressing").get("reason") == "NewReplicaSetAvailable"
        ),
    )

    numbers = ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    assert {name: status(found)[name] for name in numbers} == dict(zip(numbers, (1, 3, 3, 3, 3), strict=True))
    assert "unavailableReplicas" not in status(found)
    assert condition(found, "Available")["reason"] == "MinimumReplicasAvailable"
    assert strings_at(found, "metadata", "annotations")["deployment.kubernetes.io/revision"] == "1"
    pods = await cluster.pods()
    sets = objects_at((await cluster.calls.get(cluster.calls.path("apps/v1", "replicasets"))).document, "items")
    assert len(sets) == 1
    mark = strings_at(sets[0], "metadata", "labels")["pod-template-hash"]
    assert str_at(sets[0], "metadata", "name") == f"web-{mark}"
    assert {strings_at(pod, "metadata", "labels")["pod-template-hash"] for pod in pods} == {mark}
    assert {str_at(pod, "spec", "nodeName") for pod in pods} <= {"node-1", "node-2", "node-3"}


async def test_a_running_pod_has_the_status_of_a_kubelet(cluster: Cluster) -> None:
    await cluster.create("apps/v1", "deployments", workload("Deployment", "web", template("web")))

    pod = (await cluster.until_pods(lambda pods: len(pods) == 1 and is_ready(pods[0])))[0]

    assert status(pod)["phase"] == "Running"
    assert {str(one["type"]): one["status"] for one in objects_at(pod, "status", "conditions")} == {
        "PodScheduled": "True",
        "Initialized": "True",
        "ContainersReady": "True",
        "Ready": "True",
    }
    assert str_at(pod, "status", "podIP").startswith("10.")
    container = objects_at(pod, "status", "containerStatuses")[0]
    assert (container["ready"], container["started"], container["restartCount"]) == (True, True, 0)
    assert list(object_at(container, "state")) == ["running"]
    assert str_at(container, "imageID").startswith("docker.io/library/nats@sha256:")


@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
async def test_a_stateful_set_becomes_ready_with_its_claims(cluster: Cluster, policy: str) -> None:
    document = workload(
        "StatefulSet",
        "db",
        template("db"),
        replicas=3,
        podManagementPolicy=policy,
        volumeClaimTemplates=[claim_template()],
    )
    await cluster.create("apps/v1", "statefulsets", document)

    found = await cluster.until(
        cluster.calls.path("apps/v1", "statefulsets", "db"),
        lambda one: (
            status(one).get("readyReplicas") == 3
            and status(one).get("currentRevision") == status(one).get("updateRevision")
        ),
    )

    assert (status(found)["replicas"], status(found)["currentReplicas"], status(found)["updatedReplicas"]) == (3, 3, 3)
    assert status(found)["observedGeneration"] == 1
    pods = await cluster.pods()
    assert names(pods) == ["db-0", "db-1", "db-2"]
    assert {strings_at(pod, "metadata", "labels")["controller-revision-hash"] for pod in pods} == {
        str_at(found, "status", "updateRevision")
    }
    claims = objects_at((await cluster.calls.get(cluster.calls.path("v1", "persistentvolumeclaims"))).document, "items")
    assert names(claims) == ["data-db-0", "data-db-1", "data-db-2"]
    assert {str_at(one, "status", "phase") for one in claims} == {"Bound"}
    assert {str_at(one, "spec", "storageClassName") for one in claims} == {"standard"}
    assert strings_at(claims[0], "metadata", "labels") == {"app": "db", "kept": "yes"}


async def test_ordered_pods_start_one_after_another(cluster: Cluster) -> None:
    cluster.breakages.break_image("*nats*")
    document = workload("StatefulSet", "db", template("db"), replicas=2)
    await cluster.create("apps/v1", "statefulsets", document)

    await cluster.until_event("Failed", "Failed to pull image")
    assert names(await cluster.pods()) == ["db-0"]
    cluster.breakages.heal_all()
    await cluster.until_pods(lambda pods: names(pods) == ["db-0", "db-1"] and all(map(is_ready, pods)))


async def test_a_daemon_set_runs_on_every_node_that_suits(cluster: Cluster) -> None:
    selector: JsonObject = {"nodeSelector": {"topology.kubernetes.io/zone": "zone-b"}}
    await cluster.create("apps/v1", "daemonsets", workload("DaemonSet", "everywhere", template("everywhere")))
    await cluster.create("apps/v1", "daemonsets", workload("DaemonSet", "one", template("one", selector)))

    everywhere = await cluster.until(
        cluster.calls.path("apps/v1", "daemonsets", "everywhere"), lambda one: status(one).get("numberAvailable") == 3
    )
    one = await cluster.until(
        cluster.calls.path("apps/v1", "daemonsets", "one"), lambda one: status(one).get("numberAvailable") == 1
    )

    expected = {"numberMisscheduled": 0, "observedGeneration": 1}
    assert {name: value for name, value in status(everywhere).items() if isinstance(value, int)} == {
        **expected,
        **dict.fromkeys(
            (
                "currentNumberScheduled",
                "desiredNumberScheduled",
                "numberReady",
                "updatedNumberScheduled",
                "numberAvailable",
            ),
            3,
        ),
    }
    assert int_at(one, "status", "desiredNumberScheduled") == 1
    on = {
        str_at(pod, "spec", "nodeName")
        for pod in await cluster.pods()
        if str_at(pod, "metadata", "labels", "app") == "one"
    }
    assert on == {"node-2"}


async def test_a_job_completes(cluster: Cluster) -> None:
    pod = template("dump", {"restartPolicy": "Never"})
    job: JsonObject = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "dump"},
        "spec": {"template": pod, "completions": 2, "parallelism": 1},
    }
    await cluster.create("batch/v1", "jobs", job)

    found = await cluster.until(
        cluster.calls.path("batch/v1", "jobs", "dump"), lambda one: condition(one, "Complete").get("status") == "True"
    )

    assert int_at(found, "status", "succeeded") == 2
    assert at(found, "status", "completionTime") is not None
    assert {str_at(pod, "status", "phase") for pod in await cluster.pods()} == {"Succeeded"}
