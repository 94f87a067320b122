"""Writes tapio_simulator/data/openapi.json: the schemas of the kinds that the simulator serves, and no others.

Source: the JSON schemas that the PyPI package kubernetes-validate ships (a development dependency), made from
Kubernetes' own OpenAPI document. Kept: types, formats, required fields, list and map types with their keys, patch
strategies. Dropped: descriptions (the closed list explains custom resources only), everything unreachable.

Run `python services/simulator/generate_openapi.py`; tests/unit/test_simulator_openapi_data.py fails when the file is
not what this script writes.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import cast

from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.resources import BUILTIN, EXTRA_DEFINITIONS

VERSION = "v1.37.0"
TARGET = Path(__file__).parent / "tapio_simulator" / "data" / "openapi.json"
_KEPT = (
    "type",
    "format",
    "required",
    "properties",
    "items",
    "additionalProperties",
    "$ref",
    "x-kubernetes-group-version-kind",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-patch-merge-key",
    "x-kubernetes-patch-strategy",
)
_SCALARS: dict[str, JsonObject] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": "string", "format": "quantity"},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": "string", "format": "int-or-string"},
}


def slim(node: JsonValue) -> JsonValue:
    """`node` with what the simulator reads alone; "or null" is undone, since every optional field may be null."""
    if not isinstance(node, dict):
        return node
    kept: JsonObject = {}
    for key in _KEPT:
        if key not in node:
            continue
        value = node[key]
        if key == "type" and isinstance(value, list):
            kept[key] = next(entry for entry in value if entry != "null")
        elif key == "$ref" and isinstance(value, str):
            kept[key] = "#/definitions/" + value.rpartition("/")[2]
        elif key == "properties":
            kept[key] = {name: slim(child) for name, child in cast("JsonObject", value).items()}
        elif key in {"items", "additionalProperties"}:
            kept[key] = slim(value)
        else:
            kept[key] = value
    return kept


def references(node: JsonValue) -> list[str]:
    """The names of the definitions that `node` refers to."""
    if isinstance(node, list):
        return [name for entry in node for name in references(entry)]
    if not isinstance(node, dict):
        return []
    reference = node.get("$ref")
    own = [reference.rpartition("/")[2]] if isinstance(reference, str) else []
    return own + [name for child in node.values() for name in references(child)]


def build() -> str:
    """The text of data/openapi.json."""
    source = files("kubernetes_validate") / "kubernetes-json-schema" / f"{VERSION}-local" / "_definitions.json"
    definitions = cast("JsonObject", json.loads(source.read_text())["$defs"])
    wanted = [resource.schema for resource in BUILTIN]
    wanted += [name.removesuffix(name.rpartition(".")[2]) + f"{name.rpartition('.')[2]}List" for name in wanted]
    wanted += EXTRA_DEFINITIONS
    chosen: JsonObject = {}
    while wanted:
        name = wanted.pop()
        if name in chosen:
            continue
        chosen[name] = _SCALARS.get(name) or slim(definitions[name])
        wanted += references(chosen[name])
    document = {"version": VERSION, "definitions": {name: chosen[name] for name in sorted(chosen)}}
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    TARGET.write_text(build())
