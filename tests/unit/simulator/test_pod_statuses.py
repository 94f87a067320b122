"""The status that a kubelet writes: phases, conditions, container states, and what stays from the status before."""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject, JsonValue, at, object_at, objects_at, str_at
from tapio_simulator.kubelet.judging import PodVerdict, State, Verdict
from tapio_simulator.kubelet.statuses import Moment, backoff_text, status_of

RUNS = Verdict(State.RUNNING, ready=True)
UNREADY = Verdict(State.RUNNING, message="Readiness probe failed")
PULLS = Verdict(State.WAITING, "ImagePullBackOff", "Back-off pulling image")
CRASHES = Verdict(State.CRASHED, "Error", exit_code=1)
DONE = Verdict(State.COMPLETED, "Completed", ready=True)


def _pod(status: JsonObject | None = None, **spec: JsonValue) -> JsonObject:
    containers: JsonValue = [{"name": "main", "image": "nats:2"}]
    return {
        "metadata": {"name": "web-0", "namespace": "default", "uid": "uid"},
        "spec": {"restartPolicy": "Always", "containers": containers, **spec},
        "status": status or {"phase": "Pending", "qosClass": "BestEffort"},
    }


def _moment(now: str = "2026-01-01T00:00:00Z", **fields: JsonValue) -> Moment:
    restarted = {name: int(str(count)) for name, count in object_at(fields, "restarted").items()}
    return Moment(
        now=now,
        host_ip="192.168.0.2",
        pod_ip="10.0.0.1",
        node_down=fields.get("node_down") is True,
        ended=fields.get("ended") is True,
        restarted=restarted,
    )


def _verdict(main: Verdict, **init: Verdict) -> PodVerdict:
    return PodVerdict(init=init, containers={"main": main})


def _conditions(status: JsonObject) -> dict[str, str]:
    return {str_at(one, "type"): str_at(one, "status") for one in objects_at(status, "conditions")}


INIT: JsonValue = [{"name": "first", "image": "nats:2"}]
UP = {"Initialized": "True", "Ready": "True", "ContainersReady": "True", "PodScheduled": "True"}
DOWN = {**UP, "Ready": "False", "ContainersReady": "False"}


@pytest.mark.parametrize(
    ("pod", "verdict", "moment", "phase", "conditions"),
    [
        pytest.param(_pod(), _verdict(RUNS), _moment(), "Running", UP, id="runs"),
        pytest.param(_pod(), _verdict(UNREADY), _moment(), "Running", DOWN, id="runs and is not ready"),
        pytest.param(_pod(), _verdict(PULLS), _moment(), "Pending", DOWN, id="can't be created"),
        pytest.param(_pod(), _verdict(CRASHES), _moment(restarted={"main": 1}), "Running", DOWN, id="crashes"),
        pytest.param(
            _pod(restartPolicy="Never"), _verdict(CRASHES), _moment(), "Failed", DOWN, id="crashes and is not restarted"
        ),
        pytest.param(
            _pod(restartPolicy="Never"), _verdict(RUNS), _moment(ended=True), "Succeeded", DOWN, id="ends as it should"
        ),
        pytest.param(
            _pod(), _verdict(RUNS), _moment(node_down=True), "Running", {**UP, "Ready": "False"}, id="node not ready"
        ),
        pytest.param(
            _pod(initContainers=INIT), _verdict(RUNS, first=DONE), _moment(), "Running", UP, id="init containers done"
        ),
        pytest.param(
            _pod(initContainers=INIT),
            _verdict(Verdict(State.WAITING, "PodInitializing"), first=CRASHES),
            _moment(restarted={"first": 1}),
            "Pending",
            {**DOWN, "Initialized": "False"},
            id="an init container crashes",
        ),
    ],
)
def test_phase_and_conditions(
    pod: JsonObject, verdict: PodVerdict, moment: Moment, phase: str, conditions: dict[str, str]
) -> None:
    status = status_of(pod, verdict, moment)

    assert (status["phase"], _conditions(status), status["qosClass"]) == (phase, conditions, "BestEffort")


def test_an_equal_verdict_later_changes_nothing() -> None:
    first = status_of(_pod(), _verdict(RUNS), _moment())

    assert status_of(_pod(first), _verdict(RUNS), _moment("2026-01-01T00:01:00Z")) == first


def test_a_crash_is_told_by_the_last_state_and_the_wait() -> None:
    running = status_of(_pod(), _verdict(RUNS), _moment())
    status = status_of(_pod(running), _verdict(CRASHES), _moment("2026-01-01T00:01:00Z", restarted={"main": 1}))
    container = objects_at(status, "containerStatuses")[0]

    assert (container["restartCount"], container["ready"], container["started"]) == (1, False, False)
    assert object_at(container, "state") == {
        "waiting": {
            "reason": "CrashLoopBackOff",
            "message": "back-off 10s restarting failed container=main pod=web-0_default(uid)",
        }
    }
    ended = object_at(container, "lastState", "terminated")
    assert (ended["exitCode"], ended["reason"]) == (1, "Error")
    assert (ended["startedAt"], ended["finishedAt"]) == ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z")
    again = status_of(_pod(status), _verdict(CRASHES), _moment("2026-01-01T00:02:00Z"))
    assert again == status


def test_a_container_that_recovers_keeps_its_history() -> None:
    crashed = status_of(_pod(), _verdict(CRASHES), _moment(restarted={"main": 3}))
    status = status_of(_pod(crashed), _verdict(RUNS), _moment("2026-01-01T00:05:00Z"))
    container = objects_at(status, "containerStatuses")[0]

    assert (container["restartCount"], container["ready"]) == (3, True)
    assert at(container, "state") == {"running": {"startedAt": "2026-01-01T00:05:00Z"}}
    assert at(container, "lastState", "terminated", "reason") == "Error"
    ready = next(one for one in objects_at(status, "conditions") if one["type"] == "Ready")
    assert ready["lastTransitionTime"] == "2026-01-01T00:05:00Z"


@pytest.mark.parametrize(("restarts", "text"), [(1, "10s"), (2, "20s"), (4, "1m20s"), (6, "5m0s"), (60, "5m0s")])
def test_the_wait_doubles_up_to_five_minutes(restarts: int, text: str) -> None:
    assert backoff_text(restarts) == text
