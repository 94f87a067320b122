"""The operator's ConfigMap: the seed's is read, everything wrong is named at once, nothing else is raised."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tapio_shared.api.operator_config import (
    CONFIG_KEY,
    CONFIG_MAP,
    OperatorConfig,
    operator_config_problems,
    parse_operator_config,
)
from tapio_shared.api.trust import Trust
from tapio_shared.errors import InvalidSettings
from tapio_shared.json import JsonObject

SEED = (Path(__file__).parents[3] / "docs/seed/tapio-operator.md").read_text()


def test_the_seeds_config_map_holds_the_defaults() -> None:
    (block,) = re.findall(r"```yaml\n(apiVersion: v1\nkind: ConfigMap.*?)```", SEED, re.DOTALL)
    config_map = yaml.safe_load(block)
    assert config_map["metadata"]["name"] == CONFIG_MAP
    config = parse_operator_config(config_map["data"][CONFIG_KEY])
    assert config == OperatorConfig() == parse_operator_config("")
    assert config.interval == timedelta(seconds=30)
    assert (config.leader_election, config.webhooks.enabled) == (True, True)
    assert (config.metrics.port, config.health.port) == (8080, 8081)
    assert config.trust == Trust(("tapio-system",), ("tapio-nodes",))


def test_everything_can_be_set() -> None:
    config = parse_operator_config("""
reconcileInterval: 5m
leaderElection: false
webhooks: {enabled: false}
metrics: {port: 9090}
health: {port: 9091}
nodeAgents: {allowedNamespaces: [agents, tapio-nodes]}
security: {trustedNamespaces: []}
images:
  registry: mirror.example.com:5000/hub
  defaults: {nats: "docker.io/library/nats:2.14-alpine"}
""")
    assert config.interval == timedelta(minutes=5)
    assert config.trust == Trust((), ("agents", "tapio-nodes"))
    assert config.images.registry == "mirror.example.com:5000/hub"
    assert config.image_overrides == {"nats": "docker.io/library/nats:2.14-alpine"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("reconcileInterval: 10ms\nmetrics: {port: 0}\nleaderElecton: false",
                     ['reconcileInterval is "10ms"; it must be at least 1s.',
                      "metrics.port is 0; it must be a whole number between 1 and 65535.",
                      "leaderElecton is false, but there is no such field; did you mean leaderElection?"],
                     id="everything at once"),
        pytest.param("reconcileInterval: 30",
                     ["reconcileInterval is 30; it must be a text: write it in quotes."], id="a number of what"),
        pytest.param("images: {defaults: {redis: x}}",
                     ['images.defaults has the key "redis"; a key must be one of nats, nats-exporter, neo4j, '
                      "neo4j-enterprise, operator, correlation, gateway, ebpf, systemd, cni, kubernetes, etcd."],
                     id="an image of nothing we run"),
        pytest.param("[]", ["config.yaml must hold an object, such as reconcileInterval: 30s."], id="a list"),
        pytest.param("a: &a [x]\nb: *a",
                     ["config.yaml is not valid YAML: anchors and aliases are not allowed in it."], id="anchors"),
        pytest.param("webhooks: {enabled: true}\nwebhooks: {enabled: false}",
                     ["config.yaml is not valid YAML: the key webhooks stands twice "
                      'in "<unicode string>", line 2, column 1: webhooks: {enabled: false} ^.'], id="a key twice"),
    ],
)  # fmt: skip
def test_messages(text: str, expected: list[str]) -> None:
    assert [problem.message for problem in operator_config_problems(text)] == expected
    with pytest.raises(InvalidSettings, match=r"^ConfigMap tapio-operator-config, key config\.yaml: "):
        parse_operator_config(text)


@pytest.mark.parametrize(
    "text", ["a: [", "[" * 5000, "\t", "!!python/object:os.system {}", "x" * 300_000, "2001-01-01"]
)
def test_broken_yaml_is_one_problem(text: str) -> None:
    (problem,) = operator_config_problems(text)
    assert problem.path == CONFIG_KEY


@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.dates(), lambda children:
       st.lists(children) | st.dictionaries(st.text() | st.integers() | st.none(), children), max_leaves=8).map(
           lambda value: yaml.safe_dump({"metrics": value, "security": {"trustedNamespaces": value}})))  # fmt: skip
def test_any_text_is_judged(text: str) -> None:
    operator_config_problems(text)


def test_of_a_recorded_configuration_that_a_newer_version_wrote_what_is_known_counts() -> None:
    recorded: JsonObject = {
        "plannerLogic": 2,
        "brandNew": {"x": 1},
        "images": {"registry": "mirror.example.org", "newer": 1},
    }
    expected = parse_operator_config("plannerLogic: 2\nimages: {registry: mirror.example.org}\n")
    assert OperatorConfig.recorded(recorded) == expected
    assert recorded["brandNew"] == {"x": 1}, "what was handed in is left as it is"
    with pytest.raises(ValidationError, match="plannerLogic"):
        OperatorConfig.recorded({"plannerLogic": "two", "brandNew": 1})
