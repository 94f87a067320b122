"""What is switched off is nowhere: no object of its own, nothing of it at others, and no share of the budget."""

from __future__ import annotations

import pytest
import yaml

from tapio_shared.api.trust import Trust
from tapio_shared.api.validation import validate_cluster
from tapio_shared.json import JsonObject, JsonValue, at, objects_at, str_at
from tests.support.rendered import objects_of, rendered


def cluster(intelligence: JsonObject, **spec: JsonValue) -> JsonObject:
    return {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioCluster",
        "metadata": {"name": "one", "namespace": "default"},
        "spec": {"profile": "development", "intelligence": intelligence, **spec},
    }


NO_NEO4J: JsonObject = {"neo4j": {"enabled": False}, "correlation": {"enabled": False}}
NO_STORE: JsonObject = {"embedded": True, "correlation": {"enabled": False}}


@pytest.mark.parametrize(
    "intelligence",
    [pytest.param(NO_NEO4J, id="no Neo4j"), pytest.param(NO_STORE, id="no embedded store")],
)
def test_without_a_graph_store_nothing_is_left_of_one(intelligence: JsonObject) -> None:
    document = cluster(intelligence, monitoring={"prometheus": {"enabled": True}, "grafana": {"enabled": True}})
    assert validate_cluster(document, trust=Trust()) == ()
    found = rendered(document, monitoring=True)
    assert not {"neo4j", "graph", "correlation"} & {one.name for one in found.components}
    assert [name for name in _places(objects_of(found)) if "neo4j" in name or "correlation" in name] == []
    assert "graph" not in found.endpoints
    assert "graph" not in found.credentials


@pytest.mark.parametrize(
    ("intelligence", "graph", "env", "ports"),
    [
        pytest.param({"neo4j": {}}, {"url": "bolt://one-neo4j.default.svc:7687"}, True, {7687}, id="Neo4j"),
        pytest.param(
            {"embedded": True},
            {"url": "http://one-correlation.default.svc:8080"},
            False,
            {8080},
            id="the embedded store",
        ),
        pytest.param(NO_NEO4J, None, False, set[int](), id="no Neo4j"),
        pytest.param(NO_STORE, None, False, set[int](), id="no embedded store"),
    ],
)
def test_the_gateway_asks_the_graph_that_there_is(
    intelligence: JsonObject, graph: JsonValue, env: bool, ports: set[int]
) -> None:
    found = rendered(cluster(intelligence))
    named = {(str_at(one, "kind"), str_at(one, "metadata", "name")): one for one in objects_of(found)}
    config = str_at(named["ConfigMap", "one-gateway-config"], "data", "config.yaml")
    assert at(yaml.safe_load(config), "graph") == graph
    pod = objects_at(named["Deployment", "one-gateway"], "spec", "template", "spec", "containers")[0]
    assert any(str_at(one, "name").startswith("NEO4J_") for one in objects_at(pod, "env")) is env
    gateway = next(one for one in found.components if one.name == "gateway")
    opened = {port for group in gateway.pods for flow in group.opens if flow.app != "nats" for port in flow.ports}
    assert opened & {7687, 8080} == ports


def test_where_nothing_runs_nothing_is_scraped() -> None:
    document = cluster(
        NO_NEO4J,
        nats={"external": {"url": "nats://elsewhere:4222"}},
        gateway={"enabled": False},
        collectors={},
        monitoring={"prometheus": {"enabled": True}},
    )
    assert "ServiceMonitor" not in {str_at(one, "kind") for one in objects_of(rendered(document, monitoring=True))}


def _places(objects: list[JsonObject]) -> list[str]:
    return [f"{str_at(one, 'kind')}/{str_at(one, 'metadata', 'name')}" for one in objects]
