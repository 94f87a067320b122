"""Whether an observed object still holds what is wanted of it, as the API server rewrites things."""

from __future__ import annotations

import pytest

from tapio_reconciler.core.comparison import holds, settled_digest
from tapio_shared.json import JsonObject, JsonValue


def pod(**container: JsonValue) -> JsonObject:
    return {"spec": {"template": {"spec": {"containers": [{"name": "a", **container}]}}}}


@pytest.mark.parametrize(
    ("observed", "desired"),
    [
        pytest.param({"a": 1, "status": {}}, {"a": 1}, id="fields of others are never looked at"),
        pytest.param({}, {"hostNetwork": False, "tolerations": [], "x": {}, "y": ""}, id="empty values are dropped"),
        pytest.param(
            pod(resources={"requests": {"cpu": "1", "memory": "1Gi"}}),
            pod(resources={"requests": {"cpu": "1000m", "memory": "1024Mi"}}),
            id="quantities are compared by value",
        ),
        pytest.param(
            pod(env=[{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]),
            pod(env=[{"name": "A", "value": "1"}]),
            id="lists that are maps in any order",
        ),
        pytest.param(
            pod(ports=[{"containerPort": 80, "protocol": "TCP", "name": "x"}]),
            pod(ports=[{"containerPort": 80, "name": "x"}]),
            id="the default protocol is TCP",
        ),
        pytest.param(
            {"spec": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30000}]}},
            {"spec": {"ports": [{"port": 80, "protocol": "TCP"}]}},
            id="a service's ports are filled in",
        ),
        pytest.param(
            {"metadata": {"annotations": {"tapio.io/revision": "9"}}},
            {"metadata": {"annotations": {"tapio.io/revision": "3"}}},
            id="the revision that an object came from is not part of it",
        ),
        pytest.param({"spec": {"replicas": 0}}, {"spec": {"replicas": 0}}, id="zero replicas"),
    ],
)
def test_it_holds(observed: JsonObject, desired: JsonObject) -> None:
    assert holds(observed, desired)


@pytest.mark.parametrize(
    ("observed", "desired"),
    [
        pytest.param({"spec": {"replicas": 2}}, {"spec": {"replicas": 3}}, id="another value"),
        pytest.param({"spec": {}}, {"spec": {"replicas": 0}}, id="zero is not absent"),
        pytest.param({"spec": {"a": None}}, {"spec": {"a": True}}, id="absent"),
        pytest.param({"data": {"a": "1"}}, {"data": {"a": "1.0"}}, id="texts are not quantities"),
        pytest.param({"x": True}, {"x": 1}, id="a boolean is no number"),
        pytest.param(pod(env=[]), pod(env=[{"name": "A", "value": "1"}]), id="a missing entry"),
        pytest.param({"rules": [1, 2]}, {"rules": [1]}, id="atomic lists are compared whole"),
        pytest.param({"rules": [2, 1]}, {"rules": [1, 2]}, id="atomic lists have an order"),
        pytest.param({"a": "x"}, {"a": {"b": 1}}, id="another type"),
    ],
)
def test_it_does_not_hold(observed: JsonObject, desired: JsonObject) -> None:
    assert not holds(observed, desired)


def test_what_a_server_makes_of_an_object_is_known_by_a_digest_of_what_its_writers_decide() -> None:
    document: JsonObject = {"metadata": {"labels": {"a": "b"}, "uid": "1"}, "spec": {"x": 1}, "status": {"y": 1}}
    ticked: JsonObject = {**document, "metadata": {"labels": {"a": "b"}, "uid": "2"}, "status": {"y": 2}}
    changed: JsonObject = {**document, "spec": {"x": 2}}
    assert settled_digest(document) == settled_digest(ticked)
    assert settled_digest(document) != settled_digest(changed)
