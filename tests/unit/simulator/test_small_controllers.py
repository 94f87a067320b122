"""Jobs, autoscalers, budgets and endpoints, without a cluster."""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject, JsonValue, objects_at
from tapio_simulator.controllers import autoscalers, disruption_budgets, jobs
from tapio_simulator.controllers.endpoints import build_slice, build_subsets

NOW = "2026-01-01T00:00:00Z"


def _pod(name: str, *, phase: str = "Running", ready: bool = True, ports: JsonValue = None) -> JsonObject:
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"nodeName": "node-1", "containers": [{"ports": ports or [{"name": "http", "containerPort": 8080}]}]},
        "status": {
            "phase": phase,
            "podIP": f"10.0.0.{len(name)}",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


@pytest.mark.parametrize(
    ("spec", "phases", "expected"),
    [
        pytest.param({"completions": 1}, [], 1, id="a new job"),
        pytest.param({"completions": 1}, ["Running"], 0, id="one that runs"),
        pytest.param({"completions": 1}, ["Failed"], 1, id="one that failed is tried again"),
        pytest.param({"completions": 5, "parallelism": 2}, ["Succeeded", "Running"], 1, id="two at a time"),
        pytest.param({"completions": 5, "parallelism": 9}, ["Succeeded"], 4, id="never more than are missing"),
        pytest.param({"completions": 1, "suspend": True}, [], 0, id="suspended"),
        pytest.param({"parallelism": 2}, ["Succeeded", "Running"], 0, id="a work queue ends with the first success"),
    ],
)
def test_pods_that_a_job_lacks(spec: JsonObject, phases: list[str], expected: int) -> None:
    pods = [_pod(f"p{number}", phase=phase) for number, phase in enumerate(phases)]

    assert jobs.missing({"spec": spec}, pods) == expected


def test_a_job_that_fails_too_often_has_failed() -> None:
    pods = [_pod(f"p{number}", phase="Failed") for number in range(3)]

    status = jobs.status_of({"spec": {"backoffLimit": 2}}, pods, NOW)

    assert status["failed"] == 3
    assert [(one["type"], one["reason"]) for one in objects_at(status, "conditions")] == [
        ("Failed", "BackoffLimitExceeded")
    ]
    assert jobs.status_of({"spec": {"backoffLimit": 3}}, pods, NOW).get("conditions") is None


@pytest.mark.parametrize(
    ("current", "wanted", "expected"),
    [
        pytest.param(1, "", (2, "TooFewReplicas"), id="at least the minimum"),
        pytest.param(9, "", (5, "TooManyReplicas"), id="at most the maximum"),
        pytest.param(3, "", (3, ""), id="within the limits nothing happens"),
        pytest.param(3, "4", (4, ""), id="what the annotation asks for"),
        pytest.param(3, "99", (5, "TooManyReplicas"), id="the limits hold for it too"),
        pytest.param(0, "4", (0, ""), id="a workload scaled to zero is left alone"),
    ],
)
def test_desired_replicas(current: int, wanted: str, expected: tuple[int, str]) -> None:
    annotations: JsonObject = {autoscalers.WANTED: wanted} if wanted else {}
    document: JsonObject = {"metadata": {"annotations": annotations}, "spec": {"minReplicas": 2, "maxReplicas": 5}}

    assert autoscalers.desired_of(document, current) == expected


@pytest.mark.parametrize(
    ("spec", "ready", "total", "allowed"),
    [
        pytest.param({"maxUnavailable": 1}, 3, 3, 1, id="one may go"),
        pytest.param({"maxUnavailable": 1}, 2, 3, 0, id="one is gone already"),
        pytest.param({"minAvailable": "50%"}, 3, 3, 1, id="a share is rounded up"),
        pytest.param({"minAvailable": 3}, 3, 3, 0, id="all must stay"),
        pytest.param({"maxUnavailable": 1}, 0, 0, 0, id="no pods"),
    ],
)
def test_allowed_disruptions(spec: JsonObject, ready: int, total: int, allowed: int) -> None:
    pods = [_pod(f"p{number}", ready=number < ready) for number in range(total)]

    status = disruption_budgets.status_of({"metadata": {"generation": 1}, "spec": spec}, pods, NOW)

    assert status["disruptionsAllowed"] == allowed
    assert (status["expectedPods"], status["currentHealthy"]) == (total, ready)


def _service(**spec: JsonValue) -> JsonObject:
    ports: JsonValue = [{"name": "web", "port": 80, "targetPort": "http"}]
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": {"ports": ports, **spec}}


def test_addresses_of_pods_that_are_not_ready_are_kept_apart_unless_they_shall_be_published() -> None:
    pods = [_pod("a"), _pod("bb", ready=False)]

    subset = build_subsets(_service(), pods)[0]
    published = build_subsets(_service(publishNotReadyAddresses=True), pods)[0]

    assert [one["ip"] for one in objects_at(subset, "addresses")] == ["10.0.0.1"]
    assert [one["ip"] for one in objects_at(subset, "notReadyAddresses")] == ["10.0.0.2"]
    assert objects_at(subset, "ports") == [{"name": "web", "port": 8080, "protocol": "TCP"}]
    assert [one["ip"] for one in objects_at(published, "addresses")] == ["10.0.0.1", "10.0.0.2"]
    assert build_subsets(_service(), []) == []


def test_a_slice_tells_ready_from_serving() -> None:
    found = build_slice(_service(publishNotReadyAddresses=True), [_pod("bb", ready=False)])

    assert [one["conditions"] for one in objects_at(found, "endpoints")] == [
        {"ready": True, "serving": False, "terminating": False}
    ]
