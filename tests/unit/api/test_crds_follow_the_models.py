"""The CRDs in the repository are made from the models, structural, small, and explained field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tapio_shared.api.crds import KINDS, build_crd, build_crds
from tapio_shared.api.crds.__main__ import main, rendered
from tapio_shared.json import JsonObject, JsonValue, at, list_at, object_at, objects_at, str_at

ROOT = Path(__file__).parents[3]
FLAVOURS = [pytest.param(True, id="with CEL"), pytest.param(False, id="legacy")]
LOGICAL = ("allOf", "anyOf", "oneOf", "not")
FORBIDDEN_IN_LOGICAL = ("description", "type", "default", "additionalProperties", "nullable", "title")


def schema_of(crd: JsonObject) -> JsonObject:
    return object_at(crd, "spec", "versions", 0, "schema", "openAPIV3Schema")


def nodes(schema: JsonObject, path: str = "") -> Iterator[tuple[str, JsonObject]]:
    yield path, schema
    for name, child in object_at(schema, "properties").items():
        assert isinstance(child, dict)
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        child = schema.get(key)
        if isinstance(child, dict):
            yield from nodes(child, f"{path}[{key}]")


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path)) for path in rendered()])
def test_generated_files_are_what_the_models_make(path: Path) -> None:
    assert (ROOT / path).read_text() == rendered()[path], "run `make crds`"


def test_check_notices_a_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--root", str(tmp_path), "--check"]) == 0
    (tmp_path / "crds/crds.yaml").write_text("something else")
    assert main(["--root", str(tmp_path), "--check"]) == 1
    assert capsys.readouterr().err == "crds/crds.yaml differs from the models; run `make crds`.\n"


def test_files_hold_no_anchors_and_read_back_equal() -> None:
    for cel, name in ((True, "crds.yaml"), (False, "crds-legacy.yaml")):
        text = (ROOT / "crds" / name).read_text()
        assert not any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text))
        assert list(yaml.safe_load_all(text)) == list(build_crds(cel=cel))


@pytest.mark.parametrize("cel", FLAVOURS)
@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.kind) for kind in KINDS])
def test_kubectl_apply_can_keep_each_crd_in_an_annotation(kind: object, cel: bool) -> None:
    crd = build_crd(next(entry for entry in KINDS if entry is kind), cel=cel)
    assert len(json.dumps(crd).encode()) <= 200_000


@pytest.mark.parametrize("cel", FLAVOURS)
def test_every_field_is_explained(cel: bool) -> None:
    for crd in build_crds(cel=cel):
        for path, node in nodes(schema_of(crd)):
            if path != ".metadata" and path and not path.endswith("]"):
                assert str_at(node, "description").endswith("."), f"{path} has no whole sentence as description"


# https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
@pytest.mark.parametrize("cel", FLAVOURS)
def test_schemas_are_structural(cel: bool) -> None:
    for crd in build_crds(cel=cel):
        for path, node in nodes(schema_of(crd)):
            assert not {"$ref", "$defs", "const", "definitions", "title", "uniqueItems"} & set(node), path
            assert not any(key.startswith("x-tapio") for key in node), path
            untyped = "type" not in node
            int_or_string = node.get("x-kubernetes-int-or-string") is True
            if path == ".metadata":
                assert set(node) == {"type", "properties"}
            assert untyped <= (int_or_string or node.get("x-kubernetes-preserve-unknown-fields") is True), path
            assert not (object_at(node, "properties") and "additionalProperties" in node), path
            assert node.get("type") != "array" or isinstance(node.get("items"), dict), path
            if int_or_string:
                assert untyped, path
                assert node["anyOf"] == [{"type": "integer"}, {"type": "string"}], path
                continue
            for key in LOGICAL:
                assert not any(name in json.dumps(node.get(key, {})) for name in FORBIDDEN_IN_LOGICAL), path


@pytest.mark.parametrize("cel", FLAVOURS)
def test_lists_that_are_maps_require_their_keys(cel: bool) -> None:
    found: set[str] = set()
    for crd in build_crds(cel=cel):
        for path, node in nodes(schema_of(crd)):
            for key in list_at(node, "x-kubernetes-list-map-keys"):
                assert key in list_at(node, "items", "required"), path
                found.add(path.rpartition(".")[2])
    assert found == {"conditions", "components", "env"}


@pytest.mark.parametrize("cel", FLAVOURS)
def test_defaults_are_the_static_ones_of_the_api(cel: bool) -> None:
    cluster, collector, intelligence = build_crds(cel=cel)
    neo4j = {
        "replicas": 1, "edition": "Auto", "onUnlicensed": "RunOne",
        "backup.enabled": False, "backup.retention": 7,
    }  # fmt: skip
    engines = {f"engines.{name}.enabled": True for name in ("patternDetection", "eventCorrelation", "rootCause")}
    assert defaults_of(cluster) == {
        "profile": "production", "deletionPolicy": "Retain", "nodeAgents.capabilities": "least",
        "collectors.all": False, "collectors.kubernetes.watchSecrets": False,
        **{f"intelligence.neo4j.{name}": value for name, value in neo4j.items()},
        **{f"intelligence.correlation.{name}": value for name, value in engines.items()},
        "nats.observations.maxAge": "24h",
        "gateway.exposure.type": "ClusterIP", "gateway.rateLimit.requestsPerSecond": 50,
        "gateway.rateLimit.burst": 100, "gateway.rateLimit.key": "subject",
        "monitoring.prometheus.interval": "30s", "autoscaling.vertical": "Recommend", "networkPolicy.enabled": True,
    }  # fmt: skip
    assert defaults_of(collector) == {"allowOverlap": False}
    assert defaults_of(intelligence) == {
        **{f"neo4j.{name}": value for name, value in neo4j.items()},
        **{f"correlation.{name}": value for name, value in engines.items()},
    }


def defaults_of(crd: JsonObject) -> dict[str, JsonValue]:
    schema = object_at(schema_of(crd), "properties", "spec")
    return {path.lstrip("."): node["default"] for path, node in nodes(schema) if "default" in node}


def test_status_has_no_defaults() -> None:
    for crd in build_crds(cel=True):
        assert not [
            path for path, node in nodes(object_at(schema_of(crd), "properties", "status")) if "default" in node
        ]


def test_legacy_differs_by_the_rules_alone() -> None:
    def without_rules(value: JsonValue) -> JsonValue:
        if isinstance(value, dict):
            return {key: without_rules(child) for key, child in value.items() if key != "x-kubernetes-validations"}
        return [without_rules(child) for child in value] if isinstance(value, list) else value

    assert [without_rules(crd) for crd in build_crds(cel=True)] == list(build_crds(cel=False))
    assert "x-kubernetes-validations" not in json.dumps(build_crds(cel=False))


def test_no_rule_stands_within_a_shorthand() -> None:
    """The API server refuses a CRD whose rule lies below a node without a type."""
    shorthands = 0
    for crd in build_crds(cel=True):
        for _, node in nodes(schema_of(crd)):
            if "type" not in node and "properties" in node:
                shorthands += 1
                assert "x-kubernetes-validations" not in json.dumps(node)
    assert shorthands == 5


def test_names_columns_and_labels() -> None:
    cluster, collector, intelligence = build_crds(cel=True)
    assert [str_at(crd, "metadata", "name") for crd in (cluster, collector, intelligence)] == [
        "tapioclusters.tapio.io", "tapiocollectors.tapio.io", "tapiointelligences.tapio.io",
    ]  # fmt: skip
    assert object_at(cluster, "metadata", "labels")["applyset.kubernetes.io/is-parent-type"] == "true"
    assert "applyset.kubernetes.io/is-parent-type" not in object_at(collector, "metadata", "labels")
    assert [columns_of(crd) for crd in (cluster, collector, intelligence)] == [
        "Profile Version Ready Phase Components (Message) Age",
        "Cluster Type Desired Ready Phase Age",
        "Cluster Store Ready Phase Age",
    ]
    for crd, short in ((cluster, "tpc"), (collector, "tpcol"), (intelligence, "tpint")):
        assert at(crd, "spec", "names", "shortNames") == [short]
        assert at(crd, "spec", "names", "categories") == ["tapio"]
        assert at(crd, "spec", "versions", 0, "subresources") == {"status": {}}


def columns_of(crd: JsonObject) -> str:
    columns = objects_at(crd, "spec", "versions", 0, "additionalPrinterColumns")
    return " ".join(f"({column['name']})" if "priority" in column else str(column["name"]) for column in columns)
