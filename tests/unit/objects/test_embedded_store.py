"""The embedded graph store is one pod: what would make several of it is refused by name, and counts nowhere."""

from __future__ import annotations

import pytest

from tapio_shared.api.trust import Trust
from tapio_shared.api.validation import validate_cluster, validate_intelligence
from tapio_shared.json import JsonObject, JsonValue, at, str_at
from tests.support.rendered import context_of, objects_of, rendered

_REPLICAS = (
    "spec.intelligence.correlation.replicas is 3; it must be 1 or absent with the embedded graph store, which is one "
    "pod's."
)
_BY_PROFILE = _REPLICAS.replace("store,", "store of the profile edge,")
_SCALED = (
    "spec.intelligence.correlation.autoscaling is an object; it must be absent, since it can't be scaled with the "
    "embedded graph store of the profile edge, which is one pod's."
)


def cluster(**spec: JsonValue) -> JsonObject:
    return {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioCluster",
        "metadata": {"name": "one", "namespace": "default"},
        "spec": spec,
    }


@pytest.mark.parametrize(
    ("profile", "intelligence", "expected"),
    [
        pytest.param("production", {"embedded": True, "correlation": {"replicas": 3}}, [_REPLICAS], id="asked for"),
        pytest.param("edge", {"correlation": {"replicas": 3}}, [_BY_PROFILE], id="by the profile"),
        pytest.param("edge", {"correlation": {"autoscaling": {"max": 4}}}, [_SCALED], id="scaled by load"),
        pytest.param("edge", {"embedded": True, "correlation": {"replicas": 3}}, [_REPLICAS], id="said once for both"),
        pytest.param("edge", {"correlation": {"replicas": 1}}, [], id="one"),
        pytest.param("edge", {"neo4j": {}, "correlation": {"replicas": 3}}, [], id="Neo4j on the edge"),
        pytest.param("edge", {"embedded": False, "correlation": {"replicas": 3}}, [], id="not embedded"),
        pytest.param("production", {"correlation": {"replicas": 3}}, [], id="Neo4j by the profile"),
    ],
)
def test_several_pods_are_refused(profile: str, intelligence: JsonObject, expected: list[str]) -> None:
    found = validate_cluster(cluster(profile=profile, intelligence=intelligence), trust=Trust())
    assert [one.message for one in found] == expected


def test_several_pods_are_refused_of_a_resource_of_its_own() -> None:
    document: JsonObject = {
        "kind": "TapioIntelligence",
        "metadata": {"name": "mind", "namespace": "default"},
        "spec": {"clusterRef": {"name": "one"}, "embedded": True, "correlation": {"replicas": 3}},
    }
    found = validate_intelligence(document, trust=Trust())
    assert [one.message for one in found] == [_REPLICAS.replace("intelligence.", "")]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"profile": "edge", "intelligence": {"correlation": {"replicas": 3}}}, "1Gi", id="replicas"),
        pytest.param(
            {"profile": "production", "gateway": {"enabled": False}, "intelligence": {"embedded": True}},
            "1Gi",
            id="two by the profile",
        ),
    ],
)
def test_the_budget_is_divided_by_the_pod_that_runs(spec: JsonObject, expected: str) -> None:
    """Whatever else asks for more than one pod: rendering is not what refuses it."""
    document = cluster(**spec, resources={"requests": {"memory": "2Gi"}})
    assert str_at(context_of(document).effective.resources["correlation"], "requests", "memory") == expected
    built = {str_at(one, "kind"): one for one in objects_of(rendered(document)) if _name(one) == "one-correlation"}
    assert at(built["StatefulSet"], "spec", "replicas") == 1
    assert "HorizontalPodAutoscaler" not in built


def _name(built: JsonObject) -> str:
    return str_at(built, "metadata", "name")
