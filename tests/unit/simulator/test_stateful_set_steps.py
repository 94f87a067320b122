"""What a StatefulSet does next, and what it says of itself."""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject, JsonValue, object_at
from tapio_simulator.controllers.ordinals import Create, Step, build_claims, finish_pod, report_of, steps
from tests.support.workloads import claim_template, template, workload

OLD, NEW = "db-old", "db-new"


def _set(replicas: int = 3, **fields: JsonValue) -> JsonObject:
    document = workload("StatefulSet", "db", template("db"), **{"replicas": replicas, **fields})
    object_at(document, "metadata").update({"namespace": "default", "uid": "db", "generation": 1})
    return document


def _pod(ordinal: int, state: str = "ready", revision: str = NEW) -> JsonObject:
    """`state`: ready, starting, terminating or failed."""
    metadata: JsonObject = {
        "name": f"db-{ordinal}",
        "namespace": "default",
        "labels": {"controller-revision-hash": revision},
    }
    if state == "terminating":
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ready: JsonObject = {"type": "Ready", "status": "True" if state in ("ready", "terminating") else "False"}
    phase = {"failed": "Failed", "starting": "Pending"}.get(state, "Running")
    return {"metadata": metadata, "status": {"phase": phase, "conditions": [ready]}}


def _told(found: list[Step]) -> list[str]:
    return [
        f"create {step.ordinal} from {step.revision}"
        if isinstance(step, Create)
        else f"delete {object_at(step.pod, 'metadata')['name']}"
        for step in found
    ]


PARALLEL: JsonObject = {"podManagementPolicy": "Parallel"}


@pytest.mark.parametrize(
    ("fields", "pods", "expected"),
    [
        pytest.param({}, [], ["create 0 from db-new"], id="in order: the first pod first"),
        pytest.param({}, [_pod(0, "starting")], [], id="in order: waits for it"),
        pytest.param({}, [_pod(0)], ["create 1 from db-new"], id="in order: then the next"),
        pytest.param(PARALLEL, [_pod(1, "starting")], ["create 0 from db-new", "create 2 from db-new"], id="parallel"),
        pytest.param({}, [_pod(0), _pod(1, "failed")], ["delete db-1"], id="a failed pod is replaced"),
        pytest.param({}, [_pod(n) for n in range(5)], ["delete db-4"], id="scaling down goes from the end, one by one"),
        pytest.param(PARALLEL, [_pod(n) for n in range(5)], ["delete db-4", "delete db-3"], id="parallel scaling down"),
        pytest.param({}, [_pod(0), _pod(1), _pod(2), _pod(3, "terminating")], [], id="waits for a pod that is going"),
        pytest.param({}, [_pod(n, revision=OLD) for n in range(3)], ["delete db-2"], id="an update begins at the end"),
        pytest.param(
            {}, [_pod(0, revision=OLD), _pod(1, revision=OLD), _pod(2, "starting")], [], id="and waits for each pod"
        ),
        pytest.param(
            PARALLEL,
            [_pod(0, revision=OLD), _pod(1, revision=OLD), _pod(2, "starting")],
            [],
            id="even a parallel set is updated one by one",
        ),
        pytest.param({}, [_pod(0, revision=OLD), _pod(1, revision=OLD), _pod(2)], ["delete db-1"], id="then goes on"),
        pytest.param(
            {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}},
            [_pod(0, revision=OLD), _pod(1, revision=OLD), _pod(2)],
            [],
            id="a partition ends the update",
        ),
        pytest.param(
            {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}},
            [_pod(0, revision=OLD)],
            ["create 1 from db-old"],
            id="a pod below the partition is made from the old revision",
        ),
        pytest.param(
            {"updateStrategy": {"type": "OnDelete"}},
            [_pod(n, revision=OLD) for n in range(3)],
            [],
            id="on delete nothing is updated",
        ),
        pytest.param({"ordinals": {"start": 5}}, [_pod(5)], ["create 6 from db-new"], id="numbers may start later"),
    ],
)
def test_steps(fields: JsonObject, pods: list[JsonObject], expected: list[str]) -> None:
    assert _told(steps(_set(3, **fields), pods, OLD, NEW)) == expected


def test_the_new_revision_is_current_once_every_pod_has_it_and_is_ready() -> None:
    rolling = report_of(_set(2), [_pod(0, revision=OLD), _pod(1)], OLD, NEW, 0)
    done = report_of(_set(2), [_pod(0), _pod(1)], OLD, NEW, 0)

    assert rolling.status == {
        "replicas": 2,
        "availableReplicas": 2,
        "collisionCount": 0,
        "observedGeneration": 1,
        "readyReplicas": 2,
        "currentReplicas": 1,
        "updatedReplicas": 1,
        "currentRevision": OLD,
        "updateRevision": NEW,
    }
    assert (done.status["currentRevision"], done.status["currentReplicas"]) == (NEW, 2)


def test_a_pod_gets_its_name_its_host_name_and_its_claims() -> None:
    document = _set(volumeClaimTemplates=[claim_template()])
    pod: JsonObject = {"metadata": {}, "spec": {"volumes": [{"name": "config", "emptyDir": {}}]}}

    finished = finish_pod(pod, document, 1, NEW)

    assert object_at(finished, "metadata", "labels") == {
        "controller-revision-hash": NEW,
        "statefulset.kubernetes.io/pod-name": "db-1",
        "apps.kubernetes.io/pod-index": "1",
    }
    assert object_at(finished, "spec") == {
        "hostname": "db-1",
        "subdomain": "db",
        "volumes": [
            {"name": "config", "emptyDir": {}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"}},
        ],
    }
    assert [object_at(claim, "metadata") for claim in build_claims(document, 1)] == [
        {"name": "data-db-1", "namespace": "default", "labels": {"kept": "yes", "app": "db"}}
    ]
