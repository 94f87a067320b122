"""How far a Deployment's rolling update goes at a time, and what its conditions say."""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject, object_at, objects_at
from tapio_simulator.controllers.rollouts import limits_of, progress_of, scales

NOW, STAMP = 1_700_000_000_000, "2023-11-14T22:13:20Z"


def _deployment(replicas: int, **strategy: int | str) -> JsonObject:
    return {
        "metadata": {"name": "web", "generation": 2},
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": dict(strategy)},
        },
    }


def _set(name: str, replicas: int, available: int, ready: int | None = None) -> JsonObject:
    return {
        "metadata": {"name": name, "uid": name, "creationTimestamp": name},
        "spec": {"replicas": replicas},
        "status": {
            "replicas": replicas,
            "availableReplicas": available,
            "readyReplicas": available if ready is None else ready,
        },
    }


@pytest.mark.parametrize(
    ("replicas", "strategy", "surge", "unavailable"),
    [
        pytest.param(4, {"maxSurge": "25%", "maxUnavailable": "25%"}, 1, 1, id="quarters"),
        pytest.param(1, {"maxSurge": "25%", "maxUnavailable": "25%"}, 1, 0, id="surge rounds up, unavailable down"),
        pytest.param(3, {"maxSurge": 0, "maxUnavailable": 0}, 0, 1, id="both zero would never move"),
        pytest.param(3, {"maxSurge": 2, "maxUnavailable": 0}, 2, 0, id="numbers"),
    ],
)
def test_limits(replicas: int, strategy: dict[str, int | str], surge: int, unavailable: int) -> None:
    limits = limits_of(_deployment(replicas, **strategy))

    assert (limits.surge, limits.unavailable) == (surge, unavailable)


STEP = {"maxSurge": 1, "maxUnavailable": 0}


@pytest.mark.parametrize(
    ("new", "old", "strategy", "expected"),
    [
        pytest.param(_set("new", 0, 0), [], STEP, {"new": 4}, id="a first roll-out scales up at once"),
        pytest.param(_set("new", 0, 0), [_set("old", 4, 4)], STEP, {"new": 1}, id="one more than wanted"),
        pytest.param(_set("new", 1, 0), [_set("old", 4, 4)], STEP, {}, id="waits for the new pod"),
        pytest.param(_set("new", 1, 1), [_set("old", 4, 4)], STEP, {"old": 3}, id="an old pod gives way"),
        pytest.param(_set("new", 1, 0), [_set("old", 4, 2)], STEP, {}, id="nothing to spare while old pods fail"),
        pytest.param(
            _set("new", 1, 0),
            [_set("old", 4, 2)],
            {"maxSurge": 1, "maxUnavailable": 2},
            {"old": 2},
            id="pods that are not available go first",
        ),
        pytest.param(_set("new", 5, 5), [], STEP, {"new": 4}, id="scaling down"),
        pytest.param(_set("new", 4, 4), [_set("old", 0, 0)], STEP, {}, id="done"),
    ],
)
def test_scales(
    new: JsonObject, old: list[JsonObject], strategy: dict[str, int | str], expected: dict[str, int]
) -> None:
    assert scales(_deployment(4, **strategy), new, old) == expected


def test_a_paused_deployment_only_scales() -> None:
    deployment = _deployment(3, maxSurge=1, maxUnavailable=0)
    object_at(deployment, "spec")["paused"] = True

    assert scales(deployment, _set("new", 1, 1), []) == {"new": 3}
    assert scales(deployment, _set("new", 1, 1), [_set("old", 3, 3)]) == {}


def _condition(status: JsonObject, kind: str) -> tuple[object, object]:
    entry = next(one for one in objects_at(status, "conditions") if one["type"] == kind)
    return entry["status"], entry["reason"]


def test_conditions_of_a_roll_out_from_start_to_end() -> None:
    deployment = _deployment(2, maxSurge=1, maxUnavailable=0)

    begun = progress_of(deployment, _set("new", 1, 0), [_set("old", 2, 2)], created=True, now=NOW, stamp=STAMP)
    assert _condition(begun.status, "Progressing") == ("True", "NewReplicaSetCreated")
    assert _condition(begun.status, "Available") == ("True", "MinimumReplicasAvailable")
    assert begun.deadline_in == 600
    deployment["status"] = begun.status
    moved = progress_of(deployment, _set("new", 1, 1), [_set("old", 1, 1)], created=False, now=NOW, stamp=STAMP)
    assert _condition(moved.status, "Progressing") == ("True", "ReplicaSetUpdated")
    deployment["status"] = moved.status
    later = NOW + 601_000
    stuck = progress_of(deployment, _set("new", 1, 1), [_set("old", 1, 1)], created=False, now=later, stamp=STAMP)
    assert _condition(stuck.status, "Progressing") == ("False", "ProgressDeadlineExceeded")
    deployment["status"] = stuck.status
    done = progress_of(deployment, _set("new", 2, 2), [_set("old", 0, 0)], created=False, now=later, stamp=STAMP)
    assert _condition(done.status, "Progressing") == ("True", "NewReplicaSetAvailable")
    assert done.deadline_in is None


def test_a_finished_roll_out_that_loses_a_pod_gets_no_new_deadline() -> None:
    deployment = _deployment(2, maxSurge=1, maxUnavailable=0)
    done = progress_of(deployment, _set("new", 2, 2), [], created=False, now=NOW, stamp=STAMP)
    deployment["status"] = done.status

    lost = progress_of(deployment, _set("new", 2, 1), [], created=False, now=NOW + 900_000, stamp=STAMP)

    assert _condition(lost.status, "Progressing") == ("True", "NewReplicaSetAvailable")
    assert _condition(lost.status, "Available") == ("False", "MinimumReplicasUnavailable")
    assert lost.deadline_in is None
