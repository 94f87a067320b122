"""The moving parts of the simulator themselves: restarts write nothing, faults of the API hold nothing up for ever."""

from __future__ import annotations

from tapio_shared.json import JsonObject, JsonValue, int_at, objects_at
from tapio_simulator.faults import Fault
from tests.support.moving_cluster import CONTROLLERS, MovingCluster, moving_cluster
from tests.support.workloads import Cluster, claim_template, is_ready, status, template, workload

WRITES = frozenset({"create", "update", "patch", "delete"})


async def _create_one_of_each(cluster: Cluster) -> None:
    await cluster.create("apps/v1", "deployments", workload("Deployment", "web", template("web"), replicas=2))
    await cluster.create("apps/v1", "daemonsets", workload("DaemonSet", "agent", template("agent")))
    claims: list[JsonValue] = [claim_template()]
    await cluster.create(
        "apps/v1",
        "statefulsets",
        workload("StatefulSet", "db", template("db"), replicas=2, volumeClaimTemplates=claims),
    )
    service: JsonObject = {
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "client"}]},
    }
    await cluster.create("v1", "services", service)
    budget: JsonObject = {
        "metadata": {"name": "db"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "db"}}},
    }
    await cluster.create("policy/v1", "poddisruptionbudgets", budget)
    autoscaler: JsonObject = {
        "metadata": {"name": "web"},
        "spec": {
            "minReplicas": 2,
            "maxReplicas": 4,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        },
    }
    await cluster.create("autoscaling/v2", "horizontalpodautoscalers", autoscaler)


async def _is_ready(cluster: Cluster, *, seconds: float = 30.0) -> None:
    path = cluster.calls.path
    await cluster.until_pods(lambda pods: len(pods) == 7 and all(map(is_ready, pods)), seconds=seconds)
    await cluster.until(
        path("apps/v1", "deployments", "web"), lambda one: status(one).get("availableReplicas") == 2, seconds=seconds
    )
    await cluster.until(
        path("apps/v1", "statefulsets", "db"),
        lambda one: (
            status(one).get("readyReplicas") == 2
            and status(one).get("currentRevision") == status(one).get("updateRevision")
        ),
        seconds=seconds,
    )
    await cluster.until(
        path("apps/v1", "daemonsets", "agent"), lambda one: status(one).get("numberAvailable") == 3, seconds=seconds
    )
    await cluster.until(
        path("v1", "endpoints", "web"),
        lambda one: any(len(objects_at(subset, "addresses")) == 2 for subset in objects_at(one, "subsets")),
        seconds=seconds,
    )
    await cluster.until(
        path("policy/v1", "poddisruptionbudgets", "db"),
        # With one pod of two a disruption is allowed as well, since the pods there are count as the pods expected.
        lambda one: int_at(one, "status", "currentHealthy") == 2 and int_at(one, "status", "disruptionsAllowed") == 1,
        seconds=seconds,
    )
    await cluster.until(
        path("autoscaling/v2", "horizontalpodautoscalers", "web"),
        lambda one: int_at(one, "status", "currentReplicas") == 2,
        seconds=seconds,
    )


async def test_a_restart_of_a_converged_cluster_writes_nothing_but_leases() -> None:
    async with moving_cluster() as (made, cluster):
        await _create_one_of_each(cluster)
        await _is_ready(cluster)
    mark = made.simulated.writes.total

    async with made.moving():
        # A change that only the restarted controllers can carry out shows that they have caught up.
        other = await made.namespace()
        await other.create("apps/v1", "deployments", workload("Deployment", "late", template("late")))
        await other.until_pods(lambda pods: len(pods) == 1 and is_ready(pods[0]))

    written = [
        f"{one.verb} {one.resource} {one.name}"
        for one in made.simulated.writes.since(mark)
        if one.effective and one.namespace == cluster.calls.namespace
    ]
    assert written == []
    outside = {one.resource for one in made.simulated.writes.since(mark) if one.effective and not one.namespace}
    assert outside == {"namespaces"}


async def _converges_under(fault: Fault) -> None:
    """The faults are for the controllers alone: what is wanted is created, and looked at, without them."""
    fault.users = frozenset({CONTROLLERS.name})
    made = MovingCluster()
    await made.simulated.prepare()
    made.simulated.faults.add(fault)
    async with made.moving():
        cluster = await made.namespace()
        await _create_one_of_each(cluster)
        await _is_ready(cluster, seconds=60.0)
    assert fault.acted > 0


async def test_every_third_write_is_refused() -> None:
    await _converges_under(Fault("refuse", verbs=WRITES, probability=0.33, status=500))


async def test_every_third_write_conflicts() -> None:
    await _converges_under(Fault("refuse", verbs=WRITES, probability=0.33, status=409))


async def test_answers_of_writes_are_lost() -> None:
    await _converges_under(Fault("lost-answer", verbs=WRITES, probability=0.2))


async def test_watches_break_all_the_time() -> None:
    await _converges_under(Fault("drop-watch", verbs=frozenset({"watch"}), after=(0.05, 0.3)))
