"""A spec that validation accepts must never be refused by the CRD's own schema, before or after normalising."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from tapio_shared.api.crds import KINDS, build_crd
from tapio_shared.api.normalise import normalise
from tapio_shared.api.trust import Trust
from tapio_shared.api.validation import validate
from tapio_shared.json import JsonObject, object_at
from tests.support.api_documents import SLOW, resources

EXAMPLES = Path(__file__).parents[3] / "examples"
VALIDATORS: dict[str, Any] = {
    kind.kind: Draft7Validator(
        object_at(build_crd(kind, cel=False), "spec", "versions", 0, "schema", "openAPIV3Schema")
    )
    for kind in KINDS
}


def refusals(document: JsonObject) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATORS[str(document["kind"])].iter_errors(document)]


@pytest.mark.parametrize("name", ["quickstart", "development", "production", "edge"])
def test_examples(name: str) -> None:
    document = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    assert refusals(document) == []
    assert refusals(normalise(document)) == []


def test_the_schema_refuses_what_it_can() -> None:
    """Without this, the tests here could pass with an empty schema."""
    document: JsonObject = {
        "kind": "TapioCluster",
        "metadata": {"name": "a" * 64},
        "spec": {"profile": "prod", "nats": {"storage": "10GB", "replicas": 10}, "collectors": {"ebpf": {"env": [{}]}}},
    }
    assert {text.partition(":")[0] for text in refusals(document)} == {
        "$.metadata.name",
        "$.spec.profile",
        "$.spec.nats.storage",
        "$.spec.nats.replicas",
        "$.spec.collectors.ebpf.env[0]",
    }


@settings(max_examples=80, suppress_health_check=SLOW, deadline=None)
@given(st.data())
def test_what_validation_accepts(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(VALIDATORS)))
    document = data.draw(resources(kind, garbage=False))
    if validate(kind, document, trust=Trust()) == ():
        assert refusals(document) == []
        assert refusals(normalise(document)) == []
