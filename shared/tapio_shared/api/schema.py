"""JSON schemas of models, inlined: what the CRDs, the normal form and the validator all walk.

Holds the marks of markers.py; crds/ takes them out. Knows no kind: importing this builds no model of a spec.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from tapio_shared.api.base import ApiModel
from tapio_shared.json import JsonObject, JsonValue

_DROPPED: Final = frozenset({"$defs", "$ref", "title", "propertyNames"})


def model_schema(model: type[ApiModel]) -> JsonObject:
    """The schema of `model` without references, titles, nulls and defaults that only mean "absent"."""
    raw = cast("JsonObject", model.model_json_schema(by_alias=True, mode="validation"))
    definitions = cast("dict[str, JsonObject]", raw.get("$defs", {}))
    return _inlined(raw, definitions)


def child_schema(schema: JsonObject, step: str | int) -> JsonObject:
    """The schema of the member `step` (a key, or an index of a list); empty when the schema says nothing."""
    if isinstance(step, int):
        return _object(schema.get("items"))
    return _object(_object(schema.get("properties")).get(step, schema.get("additionalProperties")))


def field_names(schema: JsonObject) -> tuple[str, ...]:
    """The keys that an object of this schema may have; empty when any will do."""
    return tuple(_object(schema.get("properties")))


def _object(node: JsonValue) -> JsonObject:
    return node if isinstance(node, dict) else {}


def _inlined(node: JsonObject, definitions: Mapping[str, JsonObject]) -> JsonObject:
    merged = _without_null(_resolved(node, definitions))
    merged = _resolved(merged, definitions)
    result: JsonObject = {}
    for key, value in merged.items():
        if key in _DROPPED or (key == "default" and _means_absent(value)):
            continue
        if key == "const":
            result["enum"] = [value]
        elif key == "properties":
            result[key] = {name: _inlined(_object(child), definitions) for name, child in _object(value).items()}
        elif key == "items":
            result[key] = _inlined(_object(value), definitions)
        elif key == "additionalProperties":
            if isinstance(value, dict):
                result[key] = _inlined(value, definitions)
        else:
            result[key] = value
    return result


def _means_absent(default: JsonValue) -> bool:
    """Whether a default needn't be stored. An empty text must not: Kubernetes 1.20 reads it as null and refuses."""
    return default in (None, "") or isinstance(default, list | dict)


def _resolved(node: JsonObject, definitions: Mapping[str, JsonObject]) -> JsonObject:
    """`node` with the definition that it refers to; what stands beside the reference wins."""
    reference = node.get("$ref")
    if not isinstance(reference, str):
        return node
    rest: JsonObject = {key: value for key, value in node.items() if key != "$ref"}
    return {**definitions[reference.rpartition("/")[2]], **rest}


def _without_null(node: JsonObject) -> JsonObject:
    """`X | None` as X: an absent field is written by leaving it out."""
    variants = node.get("anyOf")
    if not isinstance(variants, list) or {"type": "null"} not in variants:
        return node
    (variant,) = [_object(entry) for entry in variants if entry != {"type": "null"}]
    rest: JsonObject = {key: value for key, value in node.items() if key != "anyOf"}
    return {**variant, **rest}
