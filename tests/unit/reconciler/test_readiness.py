"""How far a workload has come, by the rules of kstatus."""

from __future__ import annotations

import pytest

from tapio_reconciler.core.readiness import progress_of
from tapio_shared.json import JsonObject


def deployment(generation: int = 1, **status: object) -> JsonObject:
    return {
        "kind": "Deployment",
        "metadata": {"name": "d", "generation": generation},
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 1, **status},  # type: ignore[dict-item]
    }


def daemon_set(desired: int, ready: int, updated: int) -> JsonObject:
    return {
        "kind": "DaemonSet",
        "metadata": {"name": "d", "generation": 1},
        "spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "10%"}}},
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
        pytest.param(daemon_set(500, 440, 500), None, "Progressing", "RollingOut", id="a fleet beyond its tolerance"),
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
