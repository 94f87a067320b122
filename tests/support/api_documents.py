"""Hypothesis strategies for resources: from well-formed through nearly right to any JSON at all."""

from __future__ import annotations

from hypothesis import HealthCheck
from hypothesis import strategies as st

from tapio_shared.api.schema import spec_schema
from tapio_shared.json import JsonObject, JsonValue, list_at, object_at

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
"""What drawing whole resources may be: they are large."""

SCALARS: st.SearchStrategy[JsonValue] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(
        ["none", "yes", "10Gi", "-1", "1e3", "24h", "* * * * *", "tapio-nodes", "a@b://c", "nats://u:p@h"]
    )
)
ANY_JSON: st.SearchStrategy[JsonValue] = st.recursive(
    SCALARS,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4),
    max_leaves=12,
)


def specs(kind: str, *, garbage: bool) -> st.SearchStrategy[JsonValue]:
    """Specs that follow the schema of `kind`; with `garbage` any node may be anything instead."""
    return _values(spec_schema(kind), garbage=garbage)


def resources(kind: str, *, garbage: bool) -> st.SearchStrategy[JsonObject]:
    """Resources of `kind` with such a spec."""
    return st.builds(
        _resource, st.just(kind), st.sampled_from(["default", "tapio-system"]), specs(kind, garbage=garbage)
    )


def _resource(kind: str, namespace: str, spec: JsonValue) -> JsonObject:
    metadata: JsonObject = {"name": "production", "namespace": namespace}
    return {"apiVersion": "tapio.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def _values(schema: JsonObject, *, garbage: bool) -> st.SearchStrategy[JsonValue]:
    wanted = _wanted(schema, garbage=garbage)
    return st.integers(0, 14).flatmap(lambda dice: ANY_JSON if dice == 0 else wanted) if garbage else wanted


def _wanted(schema: JsonObject, *, garbage: bool) -> st.SearchStrategy[JsonValue]:
    properties = object_at(schema, "properties")
    if properties:
        known = {key: _values(object_at(properties, key), garbage=garbage) for key in properties}
        chosen = st.fixed_dictionaries({}, optional=known).map(dict[str, JsonValue])
        required = {name for name in list_at(schema, "required") if isinstance(name, str)}
        if required and not garbage:
            optional = {key: value for key, value in known.items() if key not in required}
            chosen = st.fixed_dictionaries({key: known[key] for key in sorted(required)}, optional=optional).map(
                dict[str, JsonValue]
            )
        whole: st.SearchStrategy[JsonValue] = chosen
        return whole | st.booleans() if "x-tapio-shorthand" in schema else whole
    if "enum" in schema:
        return st.sampled_from(list_at(schema, "enum"))
    if "items" in schema:
        return st.lists(_values(object_at(schema, "items"), garbage=garbage), max_size=3).map(list[JsonValue])
    if "additionalProperties" in schema:
        entries = _values(object_at(schema, "additionalProperties"), garbage=garbage)
        return st.dictionaries(st.sampled_from(["cpu", "memory", "team", "a b"]), entries, max_size=3).map(
            dict[str, JsonValue]
        )
    match schema.get("type"):
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(0, 12)
        case "string":
            return st.sampled_from(["", "a", "24h", "/api", "https://host", "nats://host:4222", "0 2 * * *"])
        case _:
            amounts: st.SearchStrategy[JsonValue] = st.sampled_from(["10Gi", 2, "500m", "1Gi", "none", "25%"])
            return amounts | ANY_JSON
