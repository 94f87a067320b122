"""The normal form of a resource: the one that is validated, planned, hashed and compared.

Three things and no more: `ebpf: false` becomes `ebpf: {enabled: false}`, null becomes absent (as the API server has
it), and static schema defaults are filled in. Never writes a value that a profile decides: a default that is stored
would outlive a change of the profile. Total and idempotent; what it does not understand it leaves for the validator.
"""

from __future__ import annotations

from collections.abc import Mapping

from tapio_shared.api.markers import SHORTHAND
from tapio_shared.api.names import CLUSTER_KIND
from tapio_shared.api.schema import child_schema
from tapio_shared.api.specs import SPEC_MODELS, spec_schema
from tapio_shared.json import JsonObject, JsonValue, object_at, str_at


def normalise(document: Mapping[str, JsonValue]) -> JsonObject:
    """`document`, one of our three kinds, in normal form. Anything else is returned as it is."""
    kind = document.get("kind")
    result: JsonObject = dict(document)
    if isinstance(kind, str) and kind in SPEC_MODELS and "spec" in result:
        result["spec"] = normalise_spec(kind, result["spec"])
    return result


def normalise_spec(kind: str, spec: JsonValue) -> JsonValue:
    """The spec of a resource of `kind` in normal form. Raises KeyError when `kind` is none of ours."""
    return _normal(spec, spec_schema(kind))


def pin_version(
    document: Mapping[str, JsonValue], *, old: Mapping[str, JsonValue] | None, default_version: str
) -> JsonObject:
    """`document`, a TapioCluster, with `spec.version` when that is absent: the old object's, or else the default.

    For the mutating webhook. On update the old version stays even when the operator's default has moved on, so that
    an upgrade of the operator upgrades nobody's Tapio.
    """
    result: JsonObject = dict(document)
    spec = result.get("spec")
    if result.get("kind") != CLUSTER_KIND or not isinstance(spec, dict) or spec.get("version") is not None:
        return result
    kept = "" if old is None else str_at(object_at(old, "spec"), "version") or str_at(old, "status", "version")
    result["spec"] = {**spec, "version": kept or default_version}
    return result


def _normal(value: JsonValue, schema: JsonObject) -> JsonValue:
    if isinstance(value, bool) and schema.get(SHORTHAND):
        value = {"enabled": value}
    if isinstance(value, list) and "items" in schema:
        entry = child_schema(schema, 0)
        return [_normal(item, entry) for item in value]
    if isinstance(value, dict):
        return _normal_object(value, schema)
    return value


def _normal_object(value: JsonObject, schema: JsonObject) -> JsonObject:
    result: JsonObject = {}
    for key, child in value.items():
        known = child_schema(schema, key)
        if known and child is None:
            continue
        result[key] = _normal(child, known)
    properties = schema.get("properties")
    for key, field in properties.items() if isinstance(properties, dict) else ():
        if key not in result and isinstance(field, dict) and "default" in field:
            result[key] = field["default"]
    return result
