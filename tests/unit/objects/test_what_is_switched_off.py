"""What is switched off is nowhere: no object of its own, nothing of it at others, and no share of the budget."""

from __future__ import annotations

import pytest
import yaml

from tapio_shared.api.budget import BudgetTooSmall
from tapio_shared.api.trust import Trust
from tapio_shared.api.validation import validate_cluster
from tapio_shared.json import JsonObject, JsonValue, at, objects_at, str_at
from tests.support.rendered import context_of, objects_of, rendered


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


@pytest.mark.parametrize(
    ("intelligence", "spec", "expected"),
    [
        pytest.param(
            {"neo4j": {}},
            {},
            {"neo4j": "8Gi", "nats": "3276Mi", "correlation": "3276Mi", "gateway": "1638Mi"},
            id="all",
        ),
        pytest.param(
            {"neo4j": {}, "correlation": {"enabled": False}},
            {},
            {"neo4j": "10Gi", "nats": "4Gi", "gateway": "2Gi"},
            id="no correlation",
        ),
        pytest.param(NO_NEO4J, {}, {"nats": "10922Mi", "gateway": "5461Mi"}, id="no Neo4j"),
        pytest.param(
            {"embedded": True}, {"gateway": {"enabled": False}}, {"nats": "8Gi", "correlation": "8Gi"}, id="no gateway"
        ),
        pytest.param(NO_STORE, {"gateway": {"enabled": False}}, {"nats": "16Gi"}, id="NATS alone"),
    ],
)
def test_its_share_of_the_budget_goes_to_the_others(
    intelligence: JsonObject, spec: JsonObject, expected: dict[str, str]
) -> None:
    context = context_of(cluster(intelligence, resources={"requests": {"memory": "16Gi"}}, **spec))
    resources = context.effective.resources
    assert {name: str_at(one, "requests", "memory") for name, one in resources.items()} == expected


def test_a_budget_need_not_reach_for_what_does_not_run() -> None:
    budget: JsonObject = {"requests": {"memory": "384Mi"}}
    context = context_of(cluster(NO_NEO4J, resources=budget))
    assert str_at(context.effective.resources["nats"], "requests", "memory") == "256Mi"
    with pytest.raises(BudgetTooSmall, match="correlation needs 128Mi for each of 1"):
        context_of(cluster({"embedded": True}, resources={"requests": {"memory": "300Mi"}}))


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
