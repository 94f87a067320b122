"""What Events say about refused pods: one sentence per workload, the same for every attempt."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given

from tapio_shared.json import JsonObject
from tapio_shared.keys import ObjectRef
from tapio_watcher.refusals import Refusal, normal_message, refusal_document, refusal_of, refusal_ref, refused_workload
from tests.unit.watcher.documents import documents

QUOTA = "exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5"
LEAN = "exceeded quota: q, requested: pods=1, limited: pods=5"
CLAIM = (
    'persistentvolumeclaims "data-nats-0" is forbidden: exceeded quota: q, requested: persistentvolumeclaims=1, '
    "used: persistentvolumeclaims=0, limited: persistentvolumeclaims=0"
)


def event(kind: str = "StatefulSet", message: str = "no", **more: object) -> JsonObject:
    involved = {"kind": kind, "namespace": "team", "name": "nats", "uid": "u-1"}
    return cast(
        "JsonObject",
        {
            "metadata": {"namespace": "team", "name": "nats.1", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "involvedObject": involved,
            "reason": "FailedCreate",
            "type": "Warning",
            "message": message,
            **more,
        },
    )


@given(documents())
def test_any_document_can_be_folded(document: JsonObject) -> None:
    refused_workload(document)
    refusal_of(document)


@pytest.mark.parametrize(
    ("document", "workload"),
    [
        pytest.param(event(), ObjectRef("apps", "StatefulSet", "team", "nats"), id="a StatefulSet"),
        pytest.param(event("DaemonSet"), ObjectRef("apps", "DaemonSet", "team", "nats"), id="a DaemonSet"),
        pytest.param(event("Job"), ObjectRef("batch", "Job", "team", "nats"), id="a Job"),
        pytest.param(event("ReplicaSet"), None, id="a ReplicaSet, whose Deployment has a condition for it"),
        pytest.param(event() | {"reason": "FailedScheduling"}, None, id="another reason"),
        pytest.param(
            event(message="Create Claim data-nats-0 for Pod nats-0 in StatefulSet nats failed error: no"),
            None,
            id="a claim, which is said again of its pod",
        ),
    ],
)
def test_whose_event_it_is(document: JsonObject, workload: ObjectRef | None) -> None:
    assert refused_workload(document) == workload


@pytest.mark.parametrize(
    ("message", "normal"),
    [
        pytest.param(f'Error creating: pods "nats-x7k2p" is forbidden: {QUOTA}', LEAN, id="a DaemonSet"),
        pytest.param(
            f'(combined from similar events): Error creating: pods "nats-zzzzz" is forbidden: {QUOTA}',
            LEAN,
            id="many of them",
        ),
        pytest.param(
            f'create Pod nats-2 in StatefulSet nats failed error: pods "nats-2" is forbidden: {QUOTA}',
            LEAN,
            id="a StatefulSet of 1.20",
        ),
        pytest.param(
            f'Create Pod nats-0 in StatefulSet nats failed error: pods "nats-0" is forbidden: {QUOTA}',
            LEAN,
            id="a StatefulSet of 1.36",
        ),
        pytest.param(
            f"Create Pod nats-0 in StatefulSet nats failed error: failed to create PVC data-nats-0: {CLAIM}",
            'failed to create PVC data-nats-*: persistentvolumeclaims "data-nats-*" is forbidden: exceeded quota: q, '
            "requested: persistentvolumeclaims=1, limited: persistentvolumeclaims=0",
            id="a claim",
        ),
        pytest.param(
            'Error creating: admission webhook "w" denied the request: pod nats-bcd24 runs as root',
            'admission webhook "w" denied the request: pod nats-* runs as root',
            id="a webhook that names the pod",
        ),
        pytest.param(
            'Error creating: pods "nats-" is forbidden: error looking up service account team/nats-agent: no',
            "error looking up service account team/nats-agent: no",
            id="a longer name is not the pod's",
        ),
        pytest.param(f"Error creating: {'x' * 2000}", "x" * 600, id="too long"),
    ],
)
def test_what_differs_between_attempts_is_left_out(message: str, normal: str) -> None:
    assert normal_message(message, "nats") == normal


@pytest.mark.parametrize(
    ("times", "at"),
    [
        pytest.param({"lastTimestamp": "2026-01-01T00:05:00Z"}, "2026-01-01T00:05:00", id="counted"),
        pytest.param(
            {"eventTime": "2026-01-01T00:01:00.5Z", "series": {"lastObservedTime": "2026-01-01T00:07:00.123456Z"}},
            "2026-01-01T00:07:00",
            id="a series",
        ),
        pytest.param({"lastTimestamp": None, "eventTime": "2026-01-01T00:01:00.5Z"}, "2026-01-01T00:01:00", id="once"),
        pytest.param({}, "2026-01-01T00:00:00", id="no time of its own"),
    ],
)
def test_when_it_last_happened(times: JsonObject, at: str) -> None:
    assert refusal_of(event() | times) == Refusal(event=("team", "nats.1"), uid="u-1", at=at, message="no")


def test_what_is_published_moves_with_the_reason_alone() -> None:
    first = refusal_of(event("DaemonSet", f'Error creating: pods "nats-ccccc" is forbidden: {QUOTA}', count=1))
    later = refusal_of(event("DaemonSet", f'Error creating: pods "nats-bbbbb" is forbidden: {QUOTA}', count=90))
    assert refusal_document(first) == refusal_document(later)
    assert refusal_document(first) == {"kind": "Refusal", "reason": "FailedCreate", "message": LEAN}


def test_where_a_refusal_stands() -> None:
    workload = ObjectRef("apps", "StatefulSet", "team", "nats")
    assert refusal_ref(workload) == ObjectRef("tapio.io", "Refusal", "team", "StatefulSet-nats")
