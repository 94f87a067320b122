"""How far a workload has come, by the rules of kstatus."""

from __future__ import annotations

import pytest

from tapio_reconciler.core.readiness import progress_of
from tapio_shared.json import JsonObject, object_at


def deployment(generation: int = 1, **status: object) -> JsonObject:
    return {
        "kind": "Deployment",
        "metadata": {"name": "d", "generation": generation},
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 1, **status},  # type: ignore[dict-item]
    }


SURGE: JsonObject = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 2}}


def daemon_set(desired: int, ready: int, updated: int, strategy: JsonObject | None = None) -> JsonObject:
    return {
        "kind": "DaemonSet",
        "metadata": {"name": "d", "generation": 1},
        "spec": {"updateStrategy": strategy or {"rollingUpdate": {"maxUnavailable": "10%"}}},
        "status": {
            "observedGeneration": 1,
            "desiredNumberScheduled": desired,
            "numberAvailable": ready,
            "updatedNumberScheduled": updated,
        },
    }


DONE = {"replicas": 2, "availableReplicas": 2, "updatedReplicas": 2}


@pytest.mark.parametrize(
    ("workload", "pods", "state", "reason"),
    [
        pytest.param(deployment(**DONE), None, "Ready", "", id="all replicas"),
        pytest.param(deployment(2, **DONE), None, "Progressing", "RollingOut", id="a generation nobody has seen"),
        pytest.param(deployment(replicas=3, availableReplicas=2, updatedReplicas=2), None, "Progressing", "RollingOut",
                     id="old pods are still there"),
        pytest.param(deployment(), {"reasons": [{"reason": "ImagePullBackOff", "pod": "p"}]}, "Failed",
                     "ImagePullFailed", id="image"),
        pytest.param(deployment(), {"reasons": [{"reason": "OOMKilled"}, {"reason": "CrashLoopBackOff"}]}, "Failed",
                     "OutOfMemory", id="memory tells more than the back-off"),
        pytest.param(deployment(), {"reasons": [{"reason": "Unschedulable"}]}, "Failed", "Unschedulable", id="no node"),
        pytest.param(
            deployment(conditions=[{"type": "ReplicaFailure", "status": "True",
                                    "message": 'pods "x" is forbidden: violates PodSecurity "restricted:latest"'}]),
            None, "Failed", "PodSecurityRefused", id="pod security"),
        pytest.param(
            deployment(conditions=[{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: q"}]),
            None, "Failed", "QuotaExceeded", id="quota"),
        pytest.param(daemon_set(500, 460, 500), None, "Ready", "NodesNotReady", id="a fleet within its tolerance"),
        pytest.param(daemon_set(500, 440, 500), None, "Progressing", "NodesNotReady",
                     id="a fleet beyond its tolerance"),
        pytest.param(daemon_set(500, 470, 470), None, "Ready", "NodesNotReady",
                     id="nodes that are down keep their old pods"),
        pytest.param(daemon_set(500, 470, 100), None, "Progressing", "RollingOut", id="a fleet in the midst of a roll"),
        pytest.param(daemon_set(500, 500, 100, {"type": "OnDelete"}), None, "Ready", "",
                     id="old pods that somebody replaces by hand"),
        pytest.param(daemon_set(500, 460, 100, {"type": "OnDelete"}), None, "Ready", "NodesNotReady",
                     id="by hand, within a tenth"),
        pytest.param(daemon_set(500, 498, 500, SURGE), None, "Ready", "NodesNotReady", id="a surge is a tolerance too"),
        pytest.param(daemon_set(500, 497, 500, SURGE), None, "Progressing", "NodesNotReady", id="beyond the surge"),
        pytest.param(daemon_set(0, 0, 0), None, "Ready", "", id="no node to run on"),
    ],
)  # fmt: skip
def test_progress(workload: JsonObject, pods: JsonObject | None, state: str, reason: str) -> None:
    progress = progress_of(workload, pods, ())
    assert (str(progress.state), str(progress.reason)) == (state, reason)


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        pytest.param({"spec": {"storageClassName": "fast"}}, "VolumePending", id="waiting for its class"),
        pytest.param({"spec": {}}, "NoDefaultStorageClass", id="no class at all"),
    ],
)
def test_an_unbound_claim_is_the_reason(claim: JsonObject, reason: str) -> None:
    document: JsonObject = {"metadata": {"name": "data-x-0"}, "status": {"phase": "Pending"}, **claim}
    progress = progress_of(deployment(), None, (document,))
    assert str(progress.reason) == reason
    assert "data-x-0" in progress.message


def stateful_set(replicas: int, ready: int) -> JsonObject:
    return {
        "kind": "StatefulSet",
        "metadata": {"name": "nats", "generation": 1},
        "spec": {"replicas": 3},
        "status": {"observedGeneration": 1, "replicas": replicas, "readyReplicas": ready},
    }


def lacking_nodes(scheduled: int) -> JsonObject:
    document = daemon_set(10, scheduled, scheduled)
    object_at(document, "status")["currentNumberScheduled"] = scheduled
    return document


REFUSED = "StatefulSet nats: the API server refuses its pods: "


@pytest.mark.parametrize(
    ("message", "reason", "said"),
    [
        pytest.param(
            'violates PodSecurity "restricted:latest": host namespaces (hostPID=true)',
            "PodSecurityRefused",
            f'{REFUSED}violates PodSecurity "restricted:latest": host namespaces (hostPID=true). '
            "Allow such pods in its namespace (label pod-security.kubernetes.io/enforce).",
            id="pod security",
        ),
        pytest.param(
            "exceeded quota: q, requested: pods=1, limited: pods=1",
            "QuotaExceeded",
            f"{REFUSED}exceeded quota: q, requested: pods=1, limited: pods=1. "
            "Raise the quota of its namespace, or ask for less in the spec.",
            id="quota",
        ),
        pytest.param(
            "insufficient quota to match these scopes: [{PriorityClass In [system-node-critical]}]",
            "QuotaExceeded",
            f"{REFUSED}insufficient quota to match these scopes: [{{PriorityClass In [system-node-critical]}}]. "
            "Raise the quota of its namespace, or ask for less in the spec.",
            id="a priority class that needs a quota",
        ),
        pytest.param(
            'error looking up service account team/nats: serviceaccount "nats" not found',
            "DependencyNotReady",
            f'{REFUSED}error looking up service account team/nats: serviceaccount "nats" not found. '
            "Its controller tries again once that exists.",
            id="service account",
        ),
        pytest.param(
            "maximum cpu usage per Container is 1, but limit is 2.",
            "Forbidden",
            f"{REFUSED}maximum cpu usage per Container is 1, but limit is 2. "
            "Change the policy that refuses them, or the spec.",
            id="a limit range",
        ),
    ],
)
def test_refused_pods_are_the_reason_while_pods_are_missing(message: str, reason: str, said: str) -> None:
    progress = progress_of(stateful_set(1, 1), None, (), {"message": message})
    assert (str(progress.state), str(progress.reason), progress.message) == ("Failed", reason, said)


@pytest.mark.parametrize(
    ("workload", "reason"),
    [
        pytest.param(stateful_set(3, 2), "RollingOut", id="all pods exist: it tells of the past"),
        pytest.param(stateful_set(2, 2), "QuotaExceeded", id="one is missing"),
        pytest.param(lacking_nodes(5), "QuotaExceeded", id="nodes without a pod"),
        pytest.param(stateful_set(3, 3) | {"spec": {"replicas": 0}}, "", id="nothing is wanted"),
        pytest.param(
            stateful_set(0, 0) | {"metadata": {"name": "nats", "generation": 2}},
            "QuotaExceeded",
            id="a controller that says nothing before its pods are accepted",
        ),
    ],
)
def test_an_old_refusal_is_no_reason(workload: JsonObject, reason: str) -> None:
    assert str(progress_of(workload, None, (), {"message": "exceeded quota: q"}).reason) == reason
