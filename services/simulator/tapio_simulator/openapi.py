"""OpenAPI v3 (and a minimal v2) documents: enough for kubectl's validation, apply, edit and explain.

Paths are described only as far as kubectl reads them: the kind of each operation and whether `fieldValidation` and
`dryRun` are accepted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import cast

import msgspec

from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.calls import Answer, Call, json_answer
from tapio_simulator.errors import StatusError, path_not_found
from tapio_simulator.registry import Registry, Served
from tapio_simulator.schema import DEFINITION_PREFIX, definitions

_V3_PREFIX = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_PROTOBUF = ("application/com.github.proto-openapi", "application/com.github.googleapis.gnostic")


class OpenApi:
    """Documents by path, rebuilt when what is served changes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._cache: dict[str, bytes] = {}
        self._revision = -1

    def answer(self, parts: list[str], call: Call) -> Answer | None:
        """The document under /openapi/<parts>. 406 for v2 as protobuf, which is all that kubectl asks it for."""
        if self._revision != self._registry.revision:
            self._cache.clear()
            self._revision = self._registry.revision
        match parts:
            case ["v2"]:
                if "application/json" not in call.accept and any(kind in call.accept for kind in _PROTOBUF):
                    raise StatusError(406, "NotAcceptable", "only application/json is served here")
                return self._cached("v2", self._version_2)
            case ["v3"]:
                return json_answer(self._index())
            case ["v3", "api", "v1"]:
                return self._cached("api/v1", lambda: self._version_3("", "v1"))
            case ["v3", "apis", group, version]:
                if group not in self._registry.groups() or version not in self._registry.versions(group):
                    raise path_not_found()
                return self._cached(f"apis/{group}/{version}", lambda: self._version_3(group, version))
            case _:
                return None

    def _cached(self, key: str, build: Callable[[], JsonObject]) -> Answer:
        body = self._cache.get(key)
        if body is None:
            body = self._cache[key] = msgspec.json.encode(build())
        return Answer(200, body)

    def _index(self) -> JsonObject:
        paths: JsonObject = {}
        for group in self._registry.groups():
            for version in self._registry.versions(group):
                path = f"apis/{group}/{version}" if group else f"api/{version}"
                digest = hashlib.blake2b(f"{path}@{self._revision}".encode(), digest_size=16).hexdigest().upper()
                paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
        return {"paths": paths}

    def _version_3(self, group: str, version: str) -> JsonObject:
        served = [
            entry for entry in self._registry if (entry.resource.group, entry.resource.version) == (group, version)
        ]
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "v1"},
            "paths": _paths(served),
            "components": {"schemas": _rebased(_schemas(served), _V3_PREFIX)},
        }

    def _version_2(self) -> JsonObject:
        served = list(self._registry)
        return {
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": "v1"},
            "paths": _paths(served),
            "definitions": _schemas(served),
        }


def _paths(served: list[Served]) -> JsonObject:
    paths: JsonObject = {}
    parameters: list[JsonValue] = [
        {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
        for name in ("dryRun", "fieldManager", "fieldValidation", "force")
    ]
    for entry in served:
        resource = entry.resource
        kind: JsonObject = {"group": resource.group, "version": resource.version, "kind": resource.kind}

        def operation(action: str, kind: JsonObject = kind) -> JsonObject:
            return {
                "parameters": parameters,
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-action": action,
                "x-kubernetes-group-version-kind": kind,
            }

        middle = "/namespaces/{namespace}" if resource.namespaced else ""
        collection = f"{resource.prefix}{middle}/{resource.plural}"
        paths[collection] = {"get": operation("list"), "post": operation("post")}
        paths[collection + "/{name}"] = {
            "get": operation("get"),
            "put": operation("put"),
            "patch": operation("patch"),
            "delete": operation("delete"),
        }
    return paths


def _schemas(served: list[Served]) -> JsonObject:
    known = definitions()
    chosen: JsonObject = {}
    wanted = [_META]
    for entry in served:
        resource = entry.resource
        if resource.custom:
            name = ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])
            chosen[name] = _custom_schema(entry)
        else:
            wanted.append(resource.schema)
    while wanted:
        name = wanted.pop()
        if name not in chosen:
            chosen[name] = known[name]
            wanted += _references(known[name])
    return chosen


def _custom_schema(served: Served) -> JsonObject:
    """The CRD's schema as published: with Kubernetes' own metadata and the kind it belongs to."""
    resource, raw = served.resource, dict(served.raw_schema)
    properties = dict(cast("JsonObject", raw.get("properties") or {}))
    text: JsonObject = {"type": "string"}
    properties["apiVersion"] = {
        **text,
        "description": "APIVersion defines the versioned schema of this representation of an object.",
    }
    properties["kind"] = {**text, "description": "Kind is the REST resource that this object represents."}
    properties["metadata"] = {
        "description": "Standard object's metadata.",
        "allOf": [{"$ref": DEFINITION_PREFIX + _META}],
    }
    raw["properties"] = properties
    raw["x-kubernetes-group-version-kind"] = [
        {"group": resource.group, "version": resource.version, "kind": resource.kind}
    ]
    return raw


def _references(node: JsonValue) -> list[str]:
    if isinstance(node, list):
        return [name for entry in node for name in _references(entry)]
    if not isinstance(node, dict):
        return []
    own = node.get("$ref")
    names = [own.removeprefix(DEFINITION_PREFIX)] if isinstance(own, str) else []
    return names + [name for child in node.values() for name in _references(child)]


def _rebased(node: JsonValue, prefix: str) -> JsonValue:
    """`node` with every reference under `prefix`; a reference with siblings becomes an allOf, as v3 demands."""
    if isinstance(node, list):
        return [_rebased(entry, prefix) for entry in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str):
        target: JsonValue = {"$ref": prefix + reference.removeprefix(DEFINITION_PREFIX)}
        siblings = {name: value for name, value in node.items() if name != "$ref"}
        return {**siblings, "allOf": [target], "default": {}} if siblings else target
    return {name: _rebased(child, prefix) for name, child in node.items()}
