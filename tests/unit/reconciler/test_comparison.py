"""Whether an observed object still holds what is wanted of it, as the API server rewrites things."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import cache

import pytest

from tapio_reconciler.core.comparison import holds, settled_digest
from tapio_shared.json import JsonObject, JsonValue, at, objects_at, str_at
from tapio_simulator.defaults import default_document
from tapio_simulator.schema import ANY, Schema, builtin, definitions
from tests.support.odd_specs import ODD
from tests.support.planned_world import example
from tests.support.rendered import objects_of, rendered


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


def kind(api_version: str, **fields: JsonValue) -> JsonObject:
    return {"apiVersion": api_version, "kind": "Any", **fields}


def service(**selector: str) -> JsonObject:
    return kind("v1", spec={"selector": dict(selector)})


def peers(*peers: JsonObject, ports: list[JsonValue] | None = None) -> JsonObject:
    """A NetworkPolicy that lets these in."""
    rule: JsonObject = {"from": list(peers), **({} if ports is None else {"ports": ports})}
    return kind("networking.k8s.io/v1", spec={"podSelector": {}, "ingress": [rule]})


def template(**spec: JsonValue) -> JsonObject:
    return kind("apps/v1", spec={"template": {"spec": spec}})


def variable(**source: JsonValue) -> JsonObject:
    return template(containers=[{"name": "a", "env": [{"name": "A", "valueFrom": dict(source)}]}])


def volume(**source: JsonValue) -> JsonObject:
    return template(volumes=[{"name": "a", **source}])


TOKEN: JsonObject = {"path": "t"}


@pytest.mark.parametrize(
    ("observed", "desired"),
    [
        pytest.param(
            peers({"podSelector": {}, "namespaceSelector": {}}), peers({"podSelector": {}}), id="a peer of everybody's"
        ),
        pytest.param(
            peers({"podSelector": {}}),
            peers({"podSelector": {}, "namespaceSelector": {}}),
            id="a peer of all namespaces is one of its own",
        ),
        pytest.param(
            peers(ports=[{"port": 1, "protocol": "TCP", "endPort": 9}]), peers(ports=[{"port": 1}]), id="more ports"
        ),
        pytest.param(peers(ports=[{"port": 1, "protocol": "UDP"}]), peers(ports=[{"port": 1}]), id="no default"),
        pytest.param(
            template(tolerations=[{"operator": "Exists", "effect": "NoExecute"}]),
            template(tolerations=[{"operator": "Exists"}]),
            id="a toleration of less",
        ),
        pytest.param(
            kind("rbac.authorization.k8s.io/v1", rules=[{"verbs": ["get"], "resourceNames": ["x"]}]),
            kind("rbac.authorization.k8s.io/v1", rules=[{"verbs": ["get"]}]),
            id="a rule for one alone",
        ),
        pytest.param(service(a="1", b="2"), service(a="1"), id="a Service of fewer pods"),
        pytest.param(template(nodeSelector={"a": "1"}), template(nodeSelector={}), id="a node selector"),
        pytest.param(
            kind("policy/v1", spec={"selector": {"matchLabels": {"a": "1", "b": "2"}}}),
            kind("policy/v1", spec={"selector": {"matchLabels": {"a": "1"}}}),
            id="a budget of fewer pods",
        ),
        pytest.param(
            variable(secretKeyRef={"name": "a", "key": "k", "optional": True}),
            variable(secretKeyRef={"name": "a", "key": "k"}),
            id="a Secret that may be missing",
        ),
        pytest.param(
            volume(projected={"sources": [{"serviceAccountToken": {**TOKEN, "expirationSeconds": 600}}]}),
            volume(projected={"sources": [{"serviceAccountToken": TOKEN}]}),
            id="a token that lasts for less",
        ),
    ],
)
def test_what_is_owned_whole_is_compared_whole(observed: JsonObject, desired: JsonObject) -> None:
    """By rules 6: those before saw only what was taken away."""
    assert not holds(observed, desired, whole=True)
    assert holds(observed, desired)
    assert holds(desired, desired, whole=True)


@pytest.mark.parametrize(
    ("observed", "desired"),
    [
        pytest.param(peers(ports=[{"port": 1, "protocol": "TCP"}]), peers(ports=[{"port": 1}]), id="the protocol"),
        pytest.param(peers({"podSelector": {}}, ports=[]), peers({"podSelector": {}}), id="an empty list"),
        pytest.param(
            variable(fieldRef={"fieldPath": "a", "apiVersion": "v1"}), variable(fieldRef={"fieldPath": "a"}), id="v1"
        ),
        pytest.param(
            volume(downwardAPI={"items": [{"path": "a", "resourceFieldRef": {"resource": "b", "divisor": "0"}}]}),
            volume(downwardAPI={"items": [{"path": "a", "resourceFieldRef": {"resource": "b"}}]}),
            id="a divisor",
        ),
        pytest.param(
            volume(projected={"sources": [{"serviceAccountToken": {**TOKEN, "expirationSeconds": 3600}}]}),
            volume(projected={"sources": [{"serviceAccountToken": TOKEN}]}),
            id="how long a token lasts",
        ),
        pytest.param(
            kind("rbac.authorization.k8s.io/v1", subjects=[{"kind": "User", "apiGroup": "rbac.authorization.k8s.io"}]),
            kind("rbac.authorization.k8s.io/v1", subjects=[{"kind": "User"}]),
            id="the group of a subject",
        ),
        pytest.param(
            kind(
                "apps/v1",
                spec={
                    "volumeClaimTemplates": [
                        {
                            "apiVersion": "v1",
                            "kind": "PersistentVolumeClaim",
                            "metadata": {"name": "a", "creationTimestamp": None},
                            "spec": {"resources": {"requests": {"storage": "1Gi"}}, "volumeMode": "Filesystem"},
                            "status": {"phase": "Pending"},
                        }
                    ]
                },
            ),
            kind(
                "apps/v1",
                spec={
                    "volumeClaimTemplates": [
                        {"metadata": {"name": "a"}, "spec": {"resources": {"requests": {"storage": "1024Mi"}}}}
                    ]
                },
            ),
            id="the template of a claim",
        ),
        pytest.param(
            template(tolerations=[{"operator": "Exists", "key": ""}]),
            template(tolerations=[{"operator": "Exists"}]),
            id="an empty text",
        ),
        pytest.param(
            kind("monitoring.coreos.com/v1", spec={"endpoints": [{"port": "a", "x": "default of its own"}]}),
            kind("monitoring.coreos.com/v1", spec={"endpoints": [{"port": "a"}]}),
            id="an entry of a custom resource",
        ),
    ],
)
def test_what_the_server_fills_in_is_no_change(observed: JsonObject, desired: JsonObject) -> None:
    assert holds(observed, desired, whole=True)


@cache
def manifests() -> tuple[JsonObject, ...]:
    """Everything of Kubernetes' own kinds that the examples and odd specs come to."""
    documents = [example(name) for name in ("quickstart", "development", "production", "edge")]
    found = [one for document in (*documents, *(odd.document for odd in ODD.values())) for one in made(document)]
    assert len(found) > 300
    return tuple(found)


def made(document: JsonObject) -> Iterator[JsonObject]:
    return (one for one in objects_of(rendered(document, monitoring=True)) if schema_of(one) is not None)


def schema_of(document: JsonObject) -> Schema | None:
    return _schema(str_at(document, "apiVersion"), str_at(document, "kind"))


@cache
def _schema(api_version: str, kind: str) -> Schema | None:
    group, _, version = api_version.rpartition("/")
    wanted = {"group": group, "version": version, "kind": kind}
    for name, one in definitions().items():
        if wanted in objects_at(one, "x-kubernetes-group-version-kind"):
            return builtin(name)
    return None


def test_what_a_server_adds_to_what_is_rendered_is_no_change() -> None:
    for one in manifests():
        observed = deepcopy(one)
        default_document(str_at(one, "kind"), observed)
        assert holds(observed, one, whole=True), one


def test_what_is_whole_is_what_kubernetes_says_is_atomic() -> None:
    """A field is added in every place of what is rendered: where an apply would take it away it is a change."""
    tried: dict[tuple[str, ...], bool] = {}
    for one in manifests():
        schema = schema_of(one)
        assert schema is not None
        for name in [name for name, value in one.items() if isinstance(value, dict | list) and name != "metadata"]:
            for path, owned in places(one[name], schema.child(name), (name,), owned=False):
                shape = (str_at(one, "kind"), *(step for step in path if isinstance(step, str)))
                if shape in tried:
                    continue
                tried[shape] = owned
                observed = deepcopy(one)
                target = at(observed, *path)
                assert isinstance(target, dict)
                target["of-somebody-else"] = "x"
                assert holds(observed, one, whole=True) != owned, (str_at(one, "kind"), path)
                assert holds(observed, one), (str_at(one, "kind"), path)
    whole = sum(tried.values())
    assert min(whole, len(tried) - whole) > 50


def places(
    value: JsonValue, schema: Schema, path: tuple[str | int, ...], *, owned: bool
) -> Iterator[tuple[tuple[str | int, ...], bool]]:
    """Every object in `value`, and whether it is owned whole with what it is in."""
    whole = owned or schema.atomic
    if isinstance(value, dict):
        yield path, whole
        for name, entry in value.items():
            yield from places(entry, schema.child(name), (*path, name), owned=whole)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from places(entry, schema.element or ANY, (*path, index), owned=whole)


def test_what_a_server_makes_of_an_object_is_known_by_a_digest_of_what_its_writers_decide() -> None:
    document: JsonObject = {"metadata": {"labels": {"a": "b"}, "uid": "1"}, "spec": {"x": 1}, "status": {"y": 1}}
    ticked: JsonObject = {**document, "metadata": {"labels": {"a": "b"}, "uid": "2"}, "status": {"y": 2}}
    changed: JsonObject = {**document, "spec": {"x": 2}}
    assert settled_digest(document) == settled_digest(ticked)
    assert settled_digest(document) != settled_digest(changed)
