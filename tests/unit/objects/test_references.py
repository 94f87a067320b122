"""The checker of references finds what is broken: each reference of the production example, bent on purpose."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import cast

import pytest

from tapio_shared.api.served import assumed_discovery, further_groups
from tapio_shared.json import JsonObject, at, object_at, objects_at, str_at
from tests.support.planned_world import example
from tests.support.references import Given, broken_references
from tests.support.rendered import context_of, rendered_in
from tests.support.schemas import violations

Objects = list[JsonObject]


def _objects() -> tuple[Objects, dict[str, frozenset[str]]]:
    document = example("production")
    object_at(document, "spec")["gateway"] = {"exposure": {"type": "Ingress", "host": "t.example.org"}}
    served = assumed_discovery("1.31", tuple(one for one in further_groups() if not one.startswith("external")))
    found = rendered_in(context_of(document, discovered=served))
    secrets = [secret for component in found.components for secret in component.secrets]
    keys = {str_at(one.manifest, "metadata", "name"): frozenset(one.keys) for one in secrets}
    objects = [one.manifest for one in secrets] + [one for part in found.components for one in part.objects]
    return copy.deepcopy(objects), keys


def _of(objects: Objects, kind: str, name: str = "") -> JsonObject:
    return next(one for one in objects if str_at(one, "kind") == kind and name in str_at(one, "metadata", "name"))


def _set(document: JsonObject, value: object, *path: str | int) -> None:
    parent = at(document, *path[:-1])
    cast("dict[str | int, object]", parent)[path[-1]] = value


def test_the_example_is_whole() -> None:
    objects, keys = _objects()
    assert broken_references(objects, Given(), keys) == []


def _without(kind: str, name: str) -> Callable[[Objects], None]:
    def change(objects: Objects) -> None:
        objects.remove(_of(objects, kind, name))

    return change


def _bent(kind: str, name: str, value: object, *path: str | int) -> Callable[[Objects], None]:
    return lambda objects: _set(_of(objects, kind, name), value, *path)


_POD = ("spec", "template", "spec")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(_without("ConfigMap", "nats-config"), "ConfigMap production-nats-config", id="a ConfigMap"),
        pytest.param(_without("Secret", "neo4j-auth"), "Secret production-neo4j-auth does not exist", id="a Secret"),
        pytest.param(_without("ServiceAccount", "gateway"), "no ServiceAccount", id="a ServiceAccount"),
        pytest.param(_without("ClusterRole", "kubernetes"), "no ClusterRole", id="a role"),
        pytest.param(_without("Service", "nats-headless"), "no Service of its serviceName", id="a governing Service"),
        pytest.param(_without("Deployment", "gateway"), "selects no pods", id="the pods of a Service"),
        pytest.param(
            _bent("HorizontalPodAutoscaler", "correlation", "other", "spec", "scaleTargetRef", "name"),
            "scales nothing",
            id="a target",
        ),
        pytest.param(_bent("Deployment", "gateway", 2, "spec", "replicas"), "sets its replicas", id="who scales"),
        pytest.param(
            _bent("Service", "gateway", 9, "spec", "ports", 0, "targetPort"), "leads to 9", id="a Service's port"
        ),
        pytest.param(
            _bent("Ingress", "gateway", 9, "spec", "rules", 0, "http", "paths", 0, "backend", "service", "port"),
            "no Service",
            id="an Ingress's port",
        ),
        pytest.param(
            _bent("PodDisruptionBudget", "nats", 0, "spec", "maxUnavailable"), "blocks every drain", id="a drain"
        ),
        pytest.param(
            _bent("NetworkPolicy", "nats", {"a": "b"}, "spec", "podSelector", "matchLabels"),
            "selects no pods",
            id="a policy's pods",
        ),
        pytest.param(
            _bent("StatefulSet", "nats", "other", *_POD, "containers", 0, "volumeMounts", 0, "name"),
            "which is no volume",
            id="a volume",
        ),
        pytest.param(
            _bent("StatefulSet", "nats", {"tcpSocket": {"port": 9}}, *_POD, "containers", 0, "livenessProbe"),
            "asks port 9",
            id="a probe",
        ),
        pytest.param(
            _bent("ServiceMonitor", "", "other", "spec", "endpoints", 0, "port"), "no Service that it", id="a monitor"
        ),
    ],
)
def test_a_broken_reference_is_found(change: Callable[[Objects], None], said: str) -> None:
    objects, keys = _objects()
    change(objects)

    assert any(said in line for line in broken_references(objects, Given(), keys))


def test_a_key_that_a_volume_picks_must_be_there() -> None:
    objects, keys = _objects()
    name = str_at(_of(objects, "ConfigMap", "nats-config"), "metadata", "name")
    volumes = objects_at(_of(objects, "StatefulSet", "nats"), *_POD, "volumes")
    volume = next(one for one in volumes if str_at(one, "configMap", "name") == name)
    _set(volume, [{"key": "nowhere", "path": "x"}], "configMap", "items")

    assert any("has no key nowhere" in line for line in broken_references(objects, Given(), keys))


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        pytest.param("Deployment", (*_POD, "containers", 0, "imagePolicy"), id="built in"),
        pytest.param("NetworkPolicy", ("spec", "egres"), id="of another group"),
    ],
)
def test_an_unknown_field_is_found(kind: str, path: tuple[str | int, ...]) -> None:
    objects, _ = _objects()
    document = _of(objects, kind)
    assert violations(document, "1.31") == []

    _set(document, "x", *path)

    assert any("was unexpected" in line for line in violations(document, "1.31"))


ROUTE: JsonObject = {"type": "HTTPRoute", "host": "t.example.org", "parentRef": {"name": "front"}}


@pytest.mark.parametrize(
    ("section", "authorities", "broken"),
    [
        pytest.param("api", {"ca.crt"}, [], id="whole"),
        pytest.param("other", {"ca.crt"}, ["no Service any-gateway with port {'name': 'other'}"], id="a port"),
        pytest.param("api", {"tls.crt"}, ["ConfigMap ours has no key ca.crt"], id="an authority"),
    ],
)
def test_a_policy_of_the_gateway_api_finds_service_and_authority(
    section: str, authorities: set[str], broken: list[str]
) -> None:
    tls: JsonObject = {"secretRef": {"name": "door"}, "caConfigMapRef": {"name": "ours"}}
    document: JsonObject = {
        "metadata": {"name": "any", "namespace": "some"},
        "spec": {"profile": "edge", "gateway": {"enabled": True, "exposure": ROUTE, "tls": tls}},
    }
    served = assumed_discovery("1.31", ("gateway.networking.k8s.io/v1",))
    found = rendered_in(context_of(document, discovered=served))
    objects = [copy.deepcopy(one) for part in found.components for one in part.objects]
    _set(_of(objects, "BackendTLSPolicy"), section, "spec", "targetRefs", 0, "sectionName")
    given = Given({"door": frozenset({"tls.crt", "tls.key"})}, {"ours": frozenset(authorities)})
    lines = broken_references(objects, given, {})
    assert [one for one in lines if one.startswith("BackendTLSPolicy")] == [
        f"BackendTLSPolicy some/any-gateway: {one}" for one in broken
    ]
