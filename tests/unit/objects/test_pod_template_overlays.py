"""`podTemplate` over what the operator renders, row by row as a strategic merge patch of Kubernetes would do it."""

from __future__ import annotations

from typing import cast

import pytest

from tapio_reconciler.core.objects.merging import merged_template
from tapio_shared.api.trust import Trust
from tapio_shared.api.validation import validate_cluster
from tapio_shared.json import JsonObject


def spec(**fields: object) -> JsonObject:
    return cast("JsonObject", {"spec": fields})


def container(**fields: object) -> JsonObject:
    return spec(containers=[{"name": "main", **fields}])


@pytest.mark.parametrize(
    ("base", "patch", "expected"),
    [
        pytest.param(spec(hostPID=True), spec(hostPID=None), spec(), id="null takes a field away"),
        pytest.param(
            container(image="a", args=["x", "y"]),
            container(args=["z"]),
            container(image="a", args=["z"]),
            id="a container is met by its name, and args are atomic",
        ),
        pytest.param(
            container(image="a"),
            spec(containers=[{"name": "helper", "image": "b"}]),
            spec(containers=[{"name": "main", "image": "a"}, {"name": "helper", "image": "b"}]),
            id="another container is added behind",
        ),
        pytest.param(
            spec(containers=[{"name": "main"}, {"name": "helper"}]),
            spec(containers=[{"name": "helper", "$patch": "delete"}]),
            spec(containers=[{"name": "main"}]),
            id="$patch delete takes one entry away",
        ),
        pytest.param(
            container(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]),
            container(env=[{"$patch": "replace"}, {"name": "C", "value": "3"}]),
            container(env=[{"name": "C", "value": "3"}]),
            id="$patch replace replaces the list",
        ),
        pytest.param(
            container(resources={"requests": {"cpu": "1"}}),
            container(resources={"$patch": "replace", "limits": {"cpu": "2"}}),
            container(resources={"limits": {"cpu": "2"}}),
            id="$patch replace replaces an object",
        ),
        pytest.param(
            container(livenessProbe={"httpGet": {"port": "http"}}),
            container(livenessProbe={"$patch": "delete"}),
            container(),
            id="$patch delete takes an object away",
        ),
        pytest.param(
            container(env=[{"name": "A", "value": "1"}]),
            container(env=[{"name": "A", "value": "2"}, {"name": "B", "value": "3"}]),
            container(env=[{"name": "A", "value": "2"}, {"name": "B", "value": "3"}]),
            id="variables by name",
        ),
        pytest.param(
            container(env=[{"name": "A", "value": "1"}]),
            container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]),
            container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]),
            id="a variable has one source",
        ),
        pytest.param(
            container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]),
            container(env=[{"name": "A", "value": "1"}]),
            container(env=[{"name": "A", "value": "1"}]),
            id="a variable's source makes way for a value",
        ),
        pytest.param(
            container(envFrom=[{"secretRef": {"name": "a"}}]),
            container(envFrom=[{"secretRef": {"name": "b"}}]),
            container(envFrom=[{"secretRef": {"name": "b"}}]),
            id="envFrom has no key and is replaced",
        ),
        pytest.param(
            container(ports=[{"containerPort": 8080, "name": "http"}]),
            container(ports=[{"containerPort": 8080, "hostPort": 80}, {"containerPort": 9000, "name": "more"}]),
            container(
                ports=[{"containerPort": 8080, "name": "http", "hostPort": 80}, {"containerPort": 9000, "name": "more"}]
            ),
            id="ports by containerPort",
        ),
        pytest.param(
            container(volumeMounts=[{"name": "config", "mountPath": "/etc/tapio", "readOnly": True}]),
            container(volumeMounts=[{"name": "other", "mountPath": "/etc/tapio"}]),
            container(volumeMounts=[{"name": "other", "mountPath": "/etc/tapio", "readOnly": True}]),
            id="mounts by path",
        ),
        pytest.param(
            spec(volumes=[{"name": "data", "hostPath": {"path": "/a"}}]),
            spec(volumes=[{"name": "data", "emptyDir": {"medium": "Memory"}}]),
            spec(volumes=[{"name": "data", "emptyDir": {"medium": "Memory"}}]),
            id="a volume has one source",
        ),
        pytest.param(
            spec(volumes=[{"name": "data", "hostPath": {"path": "/a", "type": "Directory"}}]),
            spec(volumes=[{"name": "data", "hostPath": {"path": "/b"}}]),
            spec(volumes=[{"name": "data", "hostPath": {"path": "/b", "type": "Directory"}}]),
            id="the same source is merged",
        ),
        pytest.param(
            container(readinessProbe={"httpGet": {"path": "/"}, "periodSeconds": 5}),
            container(readinessProbe={"tcpSocket": {"port": 1}}),
            container(readinessProbe={"periodSeconds": 5, "tcpSocket": {"port": 1}}),
            id="a probe has one handler and keeps its timing",
        ),
        pytest.param(
            spec(tolerations=[{"operator": "Exists"}]),
            spec(tolerations=[{"key": "a", "operator": "Exists"}]),
            spec(tolerations=[{"key": "a", "operator": "Exists"}]),
            id="tolerations are atomic",
        ),
        pytest.param(
            spec(topologySpreadConstraints=[{"topologyKey": "zone", "maxSkew": 1}]),
            spec(topologySpreadConstraints=[{"topologyKey": "zone", "maxSkew": 2}]),
            spec(topologySpreadConstraints=[{"topologyKey": "zone", "maxSkew": 2}]),
            id="spread constraints by topology key",
        ),
        pytest.param(
            spec(hostAliases=[{"ip": "10.0.0.1", "hostnames": ["a"]}]),
            spec(hostAliases=[{"ip": "10.0.0.1", "hostnames": ["b"]}, {"ip": "10.0.0.2", "hostnames": ["c"]}]),
            spec(hostAliases=[{"ip": "10.0.0.1", "hostnames": ["b"]}, {"ip": "10.0.0.2", "hostnames": ["c"]}]),
            id="host aliases by address, their names atomic",
        ),
        pytest.param(
            spec(imagePullSecrets=[{"name": "a"}]),
            spec(imagePullSecrets=[{"name": "b"}]),
            spec(imagePullSecrets=[{"name": "a"}, {"name": "b"}]),
            id="pull secrets by name",
        ),
        pytest.param(
            spec(nodeSelector={"a": "1"}, affinity={"podAffinity": {"x": 1}}),
            spec(nodeSelector={"b": "2"}, affinity={"nodeAffinity": {"y": 2}}),
            spec(nodeSelector={"a": "1", "b": "2"}, affinity={"podAffinity": {"x": 1}, "nodeAffinity": {"y": 2}}),
            id="maps and objects are merged deeply",
        ),
    ],
)
def test_a_pod_template_is_merged_as_kubernetes_merges(
    base: JsonObject, patch: JsonObject, expected: JsonObject
) -> None:
    before = repr(base)
    assert merged_template(base, patch) == expected
    assert repr(base) == before, "nothing is changed in place"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        pytest.param({"metadata": None}, "spec.nats.podTemplate.metadata is not set; it must be", id="no metadata"),
        pytest.param(
            {"metadata": {"labels": None}}, "spec.nats.podTemplate.metadata.labels is not set", id="no labels"
        ),
        pytest.param(
            {"metadata": {"labels": {"$patch": "replace"}}}, "spec.nats.podTemplate.metadata.labels is", id="new labels"
        ),
        pytest.param({"spec": {"$patch": "delete"}}, "spec.nats.podTemplate.spec is", id="no spec"),
        pytest.param(
            {"spec": {"containers": [{"name": "nats", "$patch": "merge"}]}},
            'spec.nats.podTemplate.spec.containers[0]["$patch"] is "merge"; it must be one of delete, replace.',
            id="an unknown directive",
        ),
    ],
)
def test_an_overlay_never_takes_away_what_selectors_need(template: JsonObject, message: str) -> None:
    found = validate_cluster(
        {"metadata": {"namespace": "x"}, "spec": {"nats": {"podTemplate": template}}}, trust=Trust()
    )
    assert [one.message[: len(message)] for one in found] == [message]


def test_directives_are_understood_by_validation() -> None:
    template = container(env=[{"$patch": "replace"}, {"name": "C", "value": "3"}], livenessProbe={"$patch": "delete"})
    document: JsonObject = {"metadata": {"namespace": "x"}, "spec": {"nats": {"podTemplate": template}}}
    assert validate_cluster(document, trust=Trust()) == ()
