"""The normal form expands the shorthand, drops null, fills static defaults, and does nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from tapio_shared.api.names import CLUSTER_KIND, COLLECTOR_KIND, INTELLIGENCE_KIND
from tapio_shared.api.normalise import normalise, normalise_spec, pin_version
from tapio_shared.json import JsonObject, JsonValue
from tests.support.api_documents import ANY_JSON, SLOW, resources

ROOT = Path(__file__).parents[3]
STATIC: dict[str, Any] = {"profile": "production", "deletionPolicy": "Retain"}


@pytest.mark.parametrize(
    ("spec", "normal"),
    [
        pytest.param({}, STATIC, id="static defaults of the top level"),
        pytest.param(
            {"collectors": {"ebpf": False, "cni": True}},
            {**STATIC, "collectors": {"all": False, "ebpf": {"enabled": False}, "cni": {"enabled": True}}},
            id="the shorthand",
        ),
        pytest.param(
            {"collectors": {"kubernetes": True}},
            {**STATIC, "collectors": {"all": False, "kubernetes": {"enabled": True, "watchSecrets": False}}},
            id="defaults within the shorthand",
        ),
        pytest.param(
            {"collectors": {"ebpf": "yes"}},
            {**STATIC, "collectors": {"all": False, "ebpf": "yes"}},
            id="what is neither boolean nor object is left for the validator",
        ),
        pytest.param({"collectors": None, "nats": {"replicas": None}}, {**STATIC, "nats": {}}, id="null is absent"),
        pytest.param({"bogus": None}, {**STATIC, "bogus": None}, id="an unknown key is left for the validator"),
        pytest.param(
            {"nats": {"config": {"a": None, "b": True}}},
            {**STATIC, "nats": {"config": {"a": None, "b": True}}},
            id="opaque objects are left alone",
        ),
        pytest.param(
            {"profile": "edge", "gateway": {}},
            {"profile": "edge", "deletionPolicy": "Retain", "gateway": {}},
            id="nothing that a profile decides",
        ),
        pytest.param(
            {"nats": {"observations": {}, "storage": 10}},
            {**STATIC, "nats": {"observations": {"maxAge": "24h"}, "storage": 10}},
            id="a quantity stays as it was written",
        ),
        pytest.param("nothing", "nothing", id="a spec that is no object"),
    ],
)  # fmt: skip
def test_normal_form_of_a_cluster(spec: JsonValue, normal: JsonValue) -> None:
    assert normalise_spec(CLUSTER_KIND, spec) == normal


def test_a_spec_is_not_invented() -> None:
    assert normalise({"kind": CLUSTER_KIND, "metadata": {}}) == {"kind": CLUSTER_KIND, "metadata": {}}


def test_other_kinds_are_returned_as_they_are() -> None:
    config_map: JsonObject = {"kind": "ConfigMap", "spec": {"collectors": {"ebpf": False}}}
    assert normalise(config_map) == config_map


def test_the_argument_is_not_changed() -> None:
    document = yaml.safe_load((ROOT / "examples/edge.yaml").read_text())
    before = json.dumps(document)
    normalise(document)
    assert json.dumps(document) == before


@settings(max_examples=60, suppress_health_check=SLOW, deadline=None)
@given(
    resources(CLUSTER_KIND, garbage=True)
    | resources(COLLECTOR_KIND, garbage=True)
    | resources(INTELLIGENCE_KIND, garbage=True)
)
def test_normal_form_is_idempotent(document: JsonObject) -> None:
    once = normalise(document)
    assert json.dumps(normalise(once)) == json.dumps(once)


@given(ANY_JSON)
def test_any_json_has_a_normal_form(value: JsonValue) -> None:
    for kind in (CLUSTER_KIND, COLLECTOR_KIND, INTELLIGENCE_KIND):
        normalise({"kind": kind, "spec": value})
    normalise({"kind": value})
    normalise({"spec": value})


@pytest.mark.parametrize(
    ("spec", "old", "version"),
    [
        pytest.param({}, None, "v0.2.0", id="created without: the operator's default"),
        pytest.param({"version": "v0.1.0"}, None, "v0.1.0", id="created with: kept"),
        pytest.param({}, {"spec": {"version": "v0.1.0"}}, "v0.1.0", id="updated without: the old one"),
        pytest.param({"version": None}, {"spec": {"version": "v0.1.0"}}, "v0.1.0", id="null is absent"),
        pytest.param({"version": "v0.2.0"}, {"spec": {"version": "v0.1.0"}}, "v0.2.0", id="an upgrade"),
        pytest.param(
            {}, {"spec": {}, "status": {"version": "v0.1.0"}}, "v0.1.0", id="the webhook was off: the status knows"
        ),
        pytest.param({}, {"spec": {}}, "v0.2.0", id="nobody knows: the operator's default"),
    ],
)
def test_version_is_pinned(spec: JsonObject, old: JsonObject | None, version: str) -> None:
    pinned = pin_version({"kind": CLUSTER_KIND, "spec": spec}, old=old, default_version="v0.2.0")
    assert pinned == {"kind": CLUSTER_KIND, "spec": {**spec, "version": version}}


def test_version_is_not_pinned_for_other_kinds() -> None:
    collector: JsonObject = {"kind": COLLECTOR_KIND, "spec": {}}
    assert pin_version(collector, old=None, default_version="v0.2.0") == collector
