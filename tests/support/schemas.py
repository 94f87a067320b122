"""Kubernetes' own strict schemas, compiled once: 20 times as fast as reading them every time.

They are those that the library kubernetes-validate brings (an unknown field is an error). Of custom resources it knows
nothing: those of the Prometheus operator, the Gateway API and the vertical autoscaler are judged by `make
custom-resources`, with the schemas that packages of npm bring.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Protocol, cast

import jsonschema
import kubernetes_validate  # pyright: ignore[reportMissingTypeStubs]
import msgspec
from referencing import Registry, Resource

from tapio_shared.codec import digest
from tapio_shared.json import JsonObject, JsonValue, str_at

_SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
CUSTOM = frozenset({"monitoring.coreos.com", "gateway.networking.k8s.io", "autoscaling.k8s.io"})
OLDEST = "1.25"
NEWEST = max(
    (path.name.removeprefix("v").partition(".0-")[0] for path in _SCHEMAS.iterdir()),
    key=lambda version: [int(part) for part in version.split(".")],
)


class _Error(Protocol):
    json_path: str
    message: str


class _Validator(Protocol):
    def iter_errors(self, instance: JsonValue) -> Iterable[_Error]: ...


class _Make(Protocol):
    def __call__(self, schema: JsonValue, *, registry: Registry[JsonObject]) -> _Validator: ...


_MAKE = cast("_Make", jsonschema.Draft202012Validator)
_valid: set[tuple[str, str]] = set()
"""Digest and version of what was found valid: most objects of two combinations are the same."""


def violations(document: JsonObject, kubernetes: str) -> list[str]:
    """What `document`, made for a version of Kubernetes, breaks of its own schemas and of the newest ones.

    Fields of a newer version must not be used, and those of an older one stay. Schemas begin with 1.25.
    """
    api_version, kind = str_at(document, "apiVersion"), str_at(document, "kind")
    group = api_version.rpartition("/")[0]
    if group in CUSTOM:
        return []
    if (kind, api_version) in {("PodDisruptionBudget", "policy/v1beta1"), ("CronJob", "batch/v1beta1")}:
        # Served up to 1.24, so no schema knows it; what we use of it is as in v1.
        return violations({**document, "apiVersion": f"{group}/v1"}, kubernetes)
    own = max(kubernetes, OLDEST, key=_order)
    found = {version: _built_in_validator(version, kind, api_version) for version in (own, NEWEST)}
    known = {version: validator for version, validator in found.items() if validator is not None}
    if not known:
        return [f"{kind} of {api_version} has no schema in Kubernetes {own} or {NEWEST}"]
    return [error for version, validator in known.items() for error in _errors(document, validator, version)]


@cache
def published(version: str) -> frozenset[str]:
    """Names of the schemas that Kubernetes published with a version: `<kind>-<group>-<version>.json`."""
    return frozenset(path.name for path in (_SCHEMAS / f"v{version}.0-local-strict").iterdir())


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _errors(document: JsonObject, validator: _Validator, version: str) -> list[str]:
    key = (digest(document), version)
    if key in _valid:
        return []
    name = f"{str_at(document, 'kind')} {str_at(document, 'metadata', 'name')}"
    errors = [f"{version}: {name}: {one.json_path}: {one.message}" for one in validator.iter_errors(document)]
    if not errors:
        _valid.add(key)
    return errors


@cache
def _built_in_validator(version: str, kind: str, api_version: str) -> _Validator | None:
    folder = _SCHEMAS / f"v{version}.0-local-strict"
    name = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    path = folder / f"{kind.lower()}-{name}.json"
    if not path.exists():
        return None
    schema = _json(path)
    registry = Resource.from_contents(schema) @ _definitions(version)
    return _MAKE(schema, registry=registry)


@cache
def _definitions(version: str) -> Registry[JsonObject]:
    contents = _json(_SCHEMAS / f"v{version}.0-local-strict" / "_definitions.json")
    empty: Registry[JsonObject] = Registry()
    return Resource.from_contents(contents) @ empty


def _json(path: Path) -> JsonObject:
    return cast("JsonObject", msgspec.json.decode(path.read_bytes()))
