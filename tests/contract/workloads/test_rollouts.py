"""From one pod template to the next, and stuck on the way."""

from __future__ import annotations

from tapio_shared.json import JsonObject, int_at, objects_at, str_at, strings_at
from tests.support.kube_calls import STRATEGIC
from tests.support.workloads import Cluster, condition, is_ready, names, status, template, waiting_reason, workload

RESTARTED = "kubectl.kubernetes.io/restartedAt"


async def _restart(cluster: Cluster, plural: str, name: str) -> None:
    """What `kubectl rollout restart` sends."""
    patch: JsonObject = {"spec": {"template": {"metadata": {"annotations": {RESTARTED: "2026-01-01T00:00:00Z"}}}}}
    reply = await cluster.calls.call("PATCH", cluster.calls.path("apps/v1", plural, name), patch, STRATEGIC)
    assert reply.status == 200, reply.message


def _restarted(pods: list[JsonObject], number: int) -> bool:
    return (
        len(pods) == number
        and all(map(is_ready, pods))
        and all(RESTARTED in strings_at(pod, "metadata", "annotations") for pod in pods)
    )


async def test_restarting_a_deployment_replaces_its_pods(cluster: Cluster) -> None:
    path = cluster.calls.path("apps/v1", "deployments", "web")
    await cluster.create("apps/v1", "deployments", workload("Deployment", "web", template("web"), replicas=3))
    await cluster.until(path, lambda one: status(one).get("availableReplicas") == 3)
    before = {str_at(pod, "metadata", "uid") for pod in await cluster.pods()}

    await _restart(cluster, "deployments", "web")
    pods = await cluster.until_pods(lambda pods: _restarted(pods, 3))

    assert not before & {str_at(pod, "metadata", "uid") for pod in pods}
    found = await cluster.until(
        path, lambda one: status(one).get("updatedReplicas") == 3 and status(one).get("replicas") == 3
    )
    assert strings_at(found, "metadata", "annotations")["deployment.kubernetes.io/revision"] == "2"
    assert int_at(found, "status", "observedGeneration") == int_at(found, "metadata", "generation") >= 2


async def test_a_rolling_update_never_goes_below_what_must_be_available(cluster: Cluster) -> None:
    path = cluster.calls.path("apps/v1", "deployments", "web")
    strategy: JsonObject = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    document = workload("Deployment", "web", template("web"), replicas=2, strategy=strategy, progressDeadlineSeconds=1)
    await cluster.create("apps/v1", "deployments", document)
    await cluster.until(path, lambda one: status(one).get("availableReplicas") == 2)

    patch: JsonObject = {
        "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "nats:does-not-exist"}]}}}
    }
    await cluster.calls.call("PATCH", path, patch, STRATEGIC)
    await cluster.until_pods(lambda pods: any(waiting_reason(pod) == "ImagePullBackOff" for pod in pods))
    stuck = await cluster.until(
        path, lambda one: condition(one, "Progressing").get("reason") == "ProgressDeadlineExceeded"
    )

    assert condition(stuck, "Progressing")["status"] == "False"
    assert "has timed out progressing." in str_at(condition(stuck, "Progressing"), "message")
    assert (status(stuck)["availableReplicas"], status(stuck)["updatedReplicas"], status(stuck)["replicas"]) == (
        2,
        1,
        3,
    )
    back: JsonObject = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "nats:2.12-alpine"}]}}}}
    await cluster.calls.call("PATCH", path, back, STRATEGIC)
    await cluster.until(
        path,
        lambda one: (
            condition(one, "Progressing").get("reason") == "NewReplicaSetAvailable"
            and status(one).get("replicas") == status(one).get("updatedReplicas") == 2
        ),
    )


async def test_recreate_ends_the_old_pods_first(cluster: Cluster) -> None:
    path = cluster.calls.path("apps/v1", "deployments", "web")
    document = workload("Deployment", "web", template("web"), replicas=2, strategy={"type": "Recreate"})
    await cluster.create("apps/v1", "deployments", document)
    await cluster.until(path, lambda one: status(one).get("availableReplicas") == 2)

    await _restart(cluster, "deployments", "web")

    await cluster.until_pods(lambda pods: _restarted(pods, 2))


async def test_scaling_down_deletes_pods(cluster: Cluster) -> None:
    path = cluster.calls.path("apps/v1", "deployments", "web")
    await cluster.create("apps/v1", "deployments", workload("Deployment", "web", template("web"), replicas=3))
    await cluster.until(path, lambda one: status(one).get("availableReplicas") == 3)

    reply = await cluster.calls.merge(f"{path}/scale", {"spec": {"replicas": 1}})

    assert reply.status == 200, reply.message
    await cluster.until_pods(lambda pods: len(pods) == 1)
    await cluster.until(path, lambda one: status(one).get("replicas") == 1)


async def test_restarting_a_stateful_set_goes_from_the_last_pod_to_the_first(cluster: Cluster) -> None:
    path = cluster.calls.path("apps/v1", "statefulsets", "db")
    await cluster.create("apps/v1", "statefulsets", workload("StatefulSet", "db", template("db"), replicas=3))
    await cluster.until(path, lambda one: status(one).get("readyReplicas") == 3)

    await _restart(cluster, "statefulsets", "db")
    pods = await cluster.until_pods(lambda pods: _restarted(pods, 3))
    created = [str_at(pod, "metadata", "resourceVersion") for pod in sorted(pods, key=lambda pod: names([pod]))]

    assert names(pods) == ["db-0", "db-1", "db-2"]
    assert created == sorted(created, key=int, reverse=True)
    await cluster.until(
        path,
        lambda one: (
            status(one).get("currentRevision") == status(one).get("updateRevision")
            and status(one).get("updatedReplicas") == 3
        ),
    )


async def test_a_partition_holds_pods_back(cluster: Cluster) -> None:
    path = cluster.calls.path("apps/v1", "statefulsets", "db")
    strategy: JsonObject = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    document = workload("StatefulSet", "db", template("db"), replicas=3, updateStrategy=strategy)
    await cluster.create("apps/v1", "statefulsets", document)
    await cluster.until(path, lambda one: status(one).get("readyReplicas") == 3)

    await _restart(cluster, "statefulsets", "db")
    found = await cluster.until(
        path, lambda one: status(one).get("updatedReplicas") == 1 and status(one).get("readyReplicas") == 3
    )

    assert status(found)["currentRevision"] != status(found)["updateRevision"]
    restarted = [pod for pod in await cluster.pods() if RESTARTED in strings_at(pod, "metadata", "annotations")]
    assert names(restarted) == ["db-2"]


async def test_on_delete_waits_for_somebody_to_delete(cluster: Cluster) -> None:
    path = cluster.calls.path("apps/v1", "statefulsets", "db")
    document = workload("StatefulSet", "db", template("db"), replicas=2, updateStrategy={"type": "OnDelete"})
    await cluster.create("apps/v1", "statefulsets", document)
    await cluster.until(path, lambda one: status(one).get("readyReplicas") == 2)

    await _restart(cluster, "statefulsets", "db")
    await cluster.until(path, lambda one: int_at(one, "status", "observedGeneration") == 2)
    assert not any(RESTARTED in strings_at(pod, "metadata", "annotations") for pod in await cluster.pods())
    await cluster.calls.delete(cluster.calls.path("v1", "pods"))

    await cluster.until_pods(lambda pods: len(pods) == 2 and all(map(is_ready, pods)))


async def test_restarting_a_daemon_set_replaces_every_pod(cluster: Cluster) -> None:
    path = cluster.calls.path("apps/v1", "daemonsets", "agent")
    await cluster.create("apps/v1", "daemonsets", workload("DaemonSet", "agent", template("agent")))
    await cluster.until(path, lambda one: status(one).get("numberAvailable") == 3)

    await _restart(cluster, "daemonsets", "agent")

    await cluster.until_pods(lambda pods: _restarted(pods, 3))
    await cluster.until(path, lambda one: status(one).get("updatedNumberScheduled") == 3)


async def test_an_old_replica_set_is_current_again_after_undo(cluster: Cluster) -> None:
    path = cluster.calls.path("apps/v1", "deployments", "web")
    await cluster.create("apps/v1", "deployments", workload("Deployment", "web", template("web")))
    await cluster.until(path, lambda one: status(one).get("availableReplicas") == 1)
    await _restart(cluster, "deployments", "web")
    await cluster.until_pods(lambda pods: _restarted(pods, 1))

    undo: JsonObject = {"spec": {"template": {"metadata": {"annotations": {RESTARTED: None}}}}}
    await cluster.calls.call("PATCH", path, undo, STRATEGIC)
    await cluster.until(
        path,
        lambda one: (
            strings_at(one, "metadata", "annotations")["deployment.kubernetes.io/revision"] == "3"
            and status(one).get("replicas") == status(one).get("updatedReplicas") == 1
        ),
    )

    sets = objects_at((await cluster.calls.get(cluster.calls.path("apps/v1", "replicasets"))).document, "items")
    revisions = {strings_at(one, "metadata", "annotations")["deployment.kubernetes.io/revision"] for one in sets}
    assert revisions == {"2", "3"}
