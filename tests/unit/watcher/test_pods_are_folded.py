"""One summary per workload, the same whatever the order, and quiet while pods crash in turns."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio_shared.json import JsonObject, list_at, object_at, objects_at, str_at
from tapio_shared.keys import ObjectRef
from tapio_watcher.pods import PodState, state_of, summary_of, summary_ref, workload_of
from tests.unit.watcher.documents import documents


def pod(*statuses: dict[str, object], conditions: list[dict[str, str]] | None = None, **more: object) -> JsonObject:
    status: dict[str, object] = {
        "phase": "Pending",
        "conditions": conditions or [{"type": "Ready", "status": "False"}],
        "containerStatuses": list(statuses),
        **more,
    }
    return cast("JsonObject", {"metadata": {"name": "p-1", "namespace": "team"}, "status": status})


def owned(kind: str, name: str, labels: dict[str, str] | None = None) -> JsonObject:
    owner = {"kind": kind, "name": name, "controller": True}
    return cast("JsonObject", {"metadata": {"namespace": "team", "labels": labels or {}, "ownerReferences": [owner]}})


@given(documents())
def test_any_document_can_be_folded(document: JsonObject) -> None:
    state_of(document)
    workload_of(document)


@pytest.mark.parametrize(
    ("document", "workload"),
    [
        pytest.param(
            owned("ReplicaSet", "gateway-7d9f", {"pod-template-hash": "7d9f"}),
            ObjectRef("apps", "Deployment", "team", "gateway"),
            id="a ReplicaSet stands for its Deployment",
        ),
        pytest.param(
            owned("ReplicaSet", "gateway-7d9f"),
            ObjectRef("apps", "Deployment", "team", "gateway"),
            id="also when the label is missing",
        ),
        pytest.param(
            owned("StatefulSet", "nats"), ObjectRef("apps", "StatefulSet", "team", "nats"), id="a StatefulSet"
        ),
        pytest.param(owned("Job", "backup-1"), ObjectRef("batch", "Job", "team", "backup-1"), id="a Job"),
        pytest.param({"metadata": {"namespace": "team"}}, None, id="a pod of nobody"),
        pytest.param(
            {"metadata": {"namespace": "team", "labels": {"statefulset.kubernetes.io/pod-name": "nats-12"}}},
            ObjectRef("apps", "StatefulSet", "team", "nats"),
            id="a pod that its StatefulSet let go of",
        ),
    ],
)
def test_workload_of(document: JsonObject, workload: ObjectRef | None) -> None:
    assert workload_of(document) == workload


def test_where_a_summary_stands() -> None:
    workload = ObjectRef("apps", "Deployment", "team", "gateway")
    assert summary_ref(workload) == ObjectRef("tapio.io", "Pods", "team", "Deployment-gateway")


def test_a_summary_names_the_pods_that_lost_their_controller() -> None:
    kept = owned("StatefulSet", "nats")
    kept["metadata"] = {**object_at(kept, "metadata"), "name": "nats-0", "uid": "u0"}
    lost: JsonObject = {"metadata": {"name": "nats-1", "namespace": "team", "uid": "u1"}}
    assert "ownerless" not in summary_of([state_of(kept)])
    assert summary_of([state_of(kept), state_of(lost)])["ownerless"] == [{"name": "nats-1", "uid": "u1"}]


RUNNING: dict[str, object] = {"name": "main", "restartCount": 5, "state": {"running": {}}}
CRASHED: dict[str, object] = {"lastState": {"terminated": {"exitCode": 3}}}


@pytest.mark.parametrize(
    ("document", "reason", "message"),
    [
        pytest.param(
            pod({"name": "main", "image": "x:1", "state": {"waiting": {"reason": "ImagePullBackOff"}}}),
            "ImagePullBackOff",
            "image x:1 can't be pulled",
            id="an image that can't be pulled",
        ),
        pytest.param(
            pod({"name": "main", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}),
            "ImagePullBackOff",
            "no such image",
            id="the attempt and the waiting are one reason",
        ),
        pytest.param(
            pod({**RUNNING, **CRASHED}),
            "CrashLoopBackOff",
            "container main ends with code 3 again and again",
            id="runs",
        ),
        pytest.param(
            pod({**RUNNING, "state": {"terminated": {"exitCode": 3}}}),
            "CrashLoopBackOff",
            "container main ends with code 3 again and again",
            id="has just ended",
        ),
        pytest.param(
            pod({**RUNNING, **CRASHED, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "20s"}}}),
            "CrashLoopBackOff",
            "container main ends with code 3 again and again",
            id="waits",
        ),
        pytest.param(
            pod({**RUNNING, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}),
            "OOMKilled",
            "container main was killed for exceeding its memory limit",
            id="out of memory",
        ),
        pytest.param(
            pod({"name": "main", "state": {"terminated": {"exitCode": 1}}}),
            "Error",
            "container main ended with code 1",
            id="ended once",
        ),
        pytest.param(
            pod(initContainerStatuses=[{"name": "init", "restartCount": 4, "state": {"terminated": {"exitCode": 1}}}]),
            "InitFailed",
            "container init ends with code 1 again and again",
            id="an init container fails",
        ),
        pytest.param(
            pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}]),
            "Unschedulable",
            "0/3",
            id="no node",
        ),
        pytest.param(
            pod({"name": "main", "state": {"waiting": {"reason": "ContainerCreating"}}}), "", "", id="only starting"
        ),
        pytest.param(
            {**pod({**RUNNING, **CRASHED}), "metadata": {"name": "p-1", "deletionTimestamp": "10:00"}},
            "",
            "",
            id="being deleted",
        ),
    ],
)
def test_the_reason_of_a_pod(document: JsonObject, reason: str, message: str) -> None:
    state = state_of(document)
    assert (state.reason, state.message, state.ready) == (reason, message, False)


STATES = st.lists(
    st.builds(
        PodState,
        name=st.text("abc", min_size=1, max_size=3),
        phase=st.sampled_from(["Running", "Pending"]),
        ready=st.booleans(),
        reason=st.sampled_from(["", "Unschedulable", "CrashLoopBackOff", *(f"Other{n}" for n in range(9))]),
        message=st.sampled_from(["", "why"]),
    ),
    unique_by=lambda state: state.name,
    max_size=30,
)


@given(STATES)
def test_a_summary_is_bounded_and_does_not_depend_on_order(pods: list[PodState]) -> None:
    summary = summary_of(pods)
    assert summary_of(reversed(pods)) == summary
    assert summary["total"] == len(pods)
    assert len(list_at(summary, "sample")) <= 5
    assert len(objects_at(summary, "reasons")) <= 8
    reasons = [str_at(one, "reason") for one in objects_at(summary, "reasons")]
    if "CrashLoopBackOff" in [one.reason for one in pods]:
        assert reasons[0] == "CrashLoopBackOff"
