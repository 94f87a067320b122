"""Hypothesis strategies for resources: from well-formed through nearly right to any JSON at all."""

from __future__ import annotations

from typing import Final

from hypothesis import HealthCheck
from hypothesis import strategies as st

from tapio_shared.api.specs import spec_schema
from tapio_shared.json import JsonObject, JsonValue, int_at, list_at, object_at

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


# Values that the field of that name allows, where its schema alone can't tell.
GOOD: Final[dict[str, JsonValue]] = {
    "affinity": {"nodeAffinity": {}},
    "args": "--verbose",
    "className": "nginx",
    "config": {"a": [1, None], "b": {"c": True}},
    "endpoints": "https://10.0.0.1:2379",
    "extraEgress": {"to": [{"podSelector": {}}]},
    "extraIngress": {"from": [{"podSelector": {}}]},
    "host": "tapio.example.com",
    "image": "r.example.com:5000/tapio/x:v1",
    "interval": "15s",
    "issuerURL": "https://login.example.com",
    "jwksURL": "https://login.example.com/keys",
    "key": "team",
    "maxAge": "36h",
    "maxSurge": 0,
    "maxUnavailable": "25%",
    "maxBytes": "512Mi",
    "metrics": {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}},
    "otlpEndpoint": "http://otel:4318",
    "paths": "/api/v1",
    "plugins": "apoc",
    "podTemplate": {"spec": {"containers": [{"name": "main", "tty": True}]}},
    "probes": {"startup": "none", "liveness": {"tcpSocket": {"port": 1}}},
    "registry": "mirror.example.com/hub",
    "schedule": "0 2 * * *",
    "size": "10Gi",
    "storage": "10Gi",
    "timeZone": "Europe/Helsinki",
    "url": "nats://nats.example.com:4222",
    "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
    "version": "v0.1.0",
}


def specs(kind: str, *, garbage: bool) -> st.SearchStrategy[JsonValue]:
    """Specs that follow the schema of `kind`; with `garbage` any node may be anything instead."""
    return _values(spec_schema(kind), "", garbage=garbage)


def resources(kind: str, *, garbage: bool) -> st.SearchStrategy[JsonObject]:
    """Resources of `kind` with such a spec."""
    return st.builds(
        _resource, st.just(kind), st.sampled_from(["default", "tapio-system"]), specs(kind, garbage=garbage)
    )


def _resource(kind: str, namespace: str, spec: JsonValue) -> JsonObject:
    metadata: JsonObject = {"name": "production", "namespace": namespace}
    return {"apiVersion": "tapio.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def _values(schema: JsonObject, name: str, *, garbage: bool) -> st.SearchStrategy[JsonValue]:
    wanted = _wanted(schema, name, garbage=garbage)
    return st.integers(0, 14).flatmap(lambda dice: ANY_JSON if dice == 0 else wanted) if garbage else wanted


def _wanted(schema: JsonObject, name: str, *, garbage: bool) -> st.SearchStrategy[JsonValue]:
    properties = object_at(schema, "properties")
    if "items" in schema:
        entries = _values(object_at(schema, "items"), name, garbage=garbage)
        return st.lists(entries, min_size=int_at(schema, "minItems"), max_size=2).map(list[JsonValue])
    is_leaf = "properties" not in schema or "x-tapio-opaque" in schema
    if name in GOOD and is_leaf and "enum" not in schema:
        return st.just(GOOD[name])
    if properties:
        known = {key: _values(object_at(properties, key), key, garbage=garbage) for key in properties}
        required = {key: known.pop(key) for key in list_at(schema, "required") if isinstance(key, str)}
        if garbage:
            known |= required
            required = {}
        whole: st.SearchStrategy[JsonValue] = st.fixed_dictionaries(required, optional=known).map(dict[str, JsonValue])
        return whole | st.booleans() if "x-tapio-shorthand" in schema else whole
    if "enum" in schema:
        return st.sampled_from(list_at(schema, "enum"))
    if "additionalProperties" in schema:
        values: st.SearchStrategy[JsonValue] = st.sampled_from(["1", "2"])
        keys = st.sampled_from(["cpu", "memory"])
        return st.dictionaries(keys, ANY_JSON if garbage else values, max_size=2).map(dict[str, JsonValue])
    match schema.get("type"):
        case "boolean":
            return st.booleans()
        case "integer":
            return st.sampled_from([1, 3, 5])
        case "string":
            return st.just("a")
        case _:
            return ANY_JSON
