"""One compiled form of types, for builtin kinds (data/openapi.json) and custom resources (their CRD) alike.

It answers what server-side apply, patches and decoding need: what is a map, a list, an atom; which keys identify the
items of a list; which fields exist. Value rules of custom resources (patterns, ranges, CEL) are crd_validation.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal, cast

import msgspec

from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.cel_rules import Rule, compile_rules

Shape = Literal["map", "list", "scalar", "any"]
DEFINITION_PREFIX = "#/definitions/"

# The API server's models carry these as Go defaults, which the published schema lost: they belong to list keys.
_KEY_DEFAULTS: Mapping[tuple[str, ...], Mapping[str, JsonValue]] = {
    ("containerPort", "protocol"): {"protocol": "TCP"},
    ("port", "protocol"): {"protocol": "TCP"},
}


class Schema:
    """One node. `fields` are declared names; `element` is the type of other map values or of list items."""

    __slots__ = (
        "atomic",
        "default",
        "element",
        "fields",
        "format",
        "has_default",
        "key_defaults",
        "keys",
        "merge_key",
        "nullable",
        "omits_empty",
        "preserve",
        "ruled",
        "rules",
        "shape",
        "strategic_merge",
        "type",
    )

    def __init__(self, shape: Shape, type_: str = "") -> None:
        self.shape: Shape = shape
        self.type = type_
        self.format = ""
        self.fields: dict[str, Schema] = {}
        self.element: Schema | None = None
        self.atomic = False
        self.keys: tuple[str, ...] = ()
        self.key_defaults: Mapping[str, JsonValue] = {}
        self.preserve = False
        self.nullable = False
        self.omits_empty = False
        """Whether an empty value is the same as none: maps and lists of Go types (`omitempty`)."""
        self.has_default = False
        self.default: JsonValue = None
        self.merge_key = ""
        self.strategic_merge = False
        self.rules: tuple[Rule, ...] = ()
        self.ruled = False
        """Whether this node or one below it has CEL rules."""

    def child(self, name: str) -> Schema:
        """The type of map entry `name`; ANY when it isn't declared."""
        return self.fields.get(name) or self.element or ANY


ANY = Schema("any")
ANY.preserve = True


@cache
def document() -> JsonObject:
    """data/openapi.json: `version` and `definitions`."""
    return cast("JsonObject", msgspec.json.decode((files("tapio_simulator") / "data" / "openapi.json").read_bytes()))


def definitions() -> JsonObject:
    return cast("JsonObject", document()["definitions"])


@cache
def builtin(name: str) -> Schema:
    """The compiled definition `name`, e.g. `io.k8s.api.apps.v1.Deployment`."""
    return _compile_definition(name, {})


def _compile_definition(name: str, open_: dict[str, Schema]) -> Schema:
    if name in open_:
        return open_[name]
    raw = cast("JsonObject", definitions()[name])
    node = _shape_of(raw)
    open_[name] = node
    _fill(node, raw, open_)
    return node


def _shape_of(raw: Mapping[str, JsonValue]) -> Schema:
    match raw.get("type"):
        case "object":
            granular = "properties" in raw or "additionalProperties" in raw
            return Schema("map", "object") if granular else Schema("any", "object")
        case "array":
            return Schema("list", "array")
        case str() as scalar:
            node = Schema("scalar", scalar)
            node.format = str(raw.get("format", ""))
            return node
        case _:
            return Schema("any")


def _resolve(raw: JsonObject, open_: dict[str, Schema]) -> Schema:
    reference = raw.get("$ref")
    if not isinstance(reference, str):
        node = _shape_of(raw)
        _fill(node, raw, open_)
        return node
    target = _compile_definition(reference.removeprefix(DEFINITION_PREFIX), open_)
    extra = {key: value for key, value in raw.items() if key.startswith("x-kubernetes-")}
    if not extra:
        return target
    # Extensions beside a $ref (patch strategy, map type) belong to the field, not to the shared definition.
    node = Schema(target.shape, target.type)
    for slot in Schema.__slots__:
        setattr(node, slot, getattr(target, slot))
    _fill_extensions(node, extra)
    return node


def _fill(node: Schema, raw: JsonObject, open_: dict[str, Schema]) -> None:
    properties = raw.get("properties")
    if isinstance(properties, dict):
        for name, child in properties.items():
            node.fields[name] = _resolve(cast("JsonObject", child), open_)
    element = raw.get("additionalProperties") if node.shape == "map" else raw.get("items")
    if isinstance(element, dict):
        node.element = _resolve(element, open_)
    if node.shape == "any":
        node.preserve = True
    node.omits_empty = node.shape == "list" or (node.shape == "map" and not node.fields)
    _fill_extensions(node, raw)


def _fill_extensions(node: Schema, raw: Mapping[str, JsonValue]) -> None:
    """List and map types; a list without one follows its patch strategy (kube-openapi's schemaconv)."""
    if raw.get("x-kubernetes-map-type") == "atomic":
        node.atomic = True
    strategy = str(raw.get("x-kubernetes-patch-strategy", ""))
    node.strategic_merge = "merge" in strategy.split(",") or node.strategic_merge
    node.merge_key = str(raw.get("x-kubernetes-patch-merge-key", node.merge_key))
    if node.shape != "list":
        return
    match raw.get("x-kubernetes-list-type"):
        case "map":
            keys = cast("list[str]", raw.get("x-kubernetes-list-map-keys") or [])
            node.keys = tuple(keys)
            node.key_defaults = _KEY_DEFAULTS.get(node.keys, {})
        case "set":
            pass
        case None if node.strategic_merge:
            node.keys = (node.merge_key,) if node.merge_key else ()
        case _:
            node.atomic = True


def object_meta() -> Schema:
    return builtin("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")


def compile_custom(raw: JsonObject) -> Schema:
    """The compiled `openAPIV3Schema` of a custom resource, with Kubernetes' own metadata.

    ValueError when one of its CEL rules does not compile.
    """
    root = _custom(raw)
    root.shape = "map"
    root.fields = {**root.fields, **_type_meta(), "metadata": object_meta()}
    return root


def _type_meta() -> dict[str, Schema]:
    return {"apiVersion": Schema("scalar", "string"), "kind": Schema("scalar", "string")}


def _custom(raw: JsonObject) -> Schema:
    preserve = raw.get("x-kubernetes-preserve-unknown-fields") is True
    properties, element = raw.get("properties"), raw.get("additionalProperties")
    type_ = str(raw.get("type", ""))
    if raw.get("x-kubernetes-int-or-string") is True:
        node = Schema("scalar", "string")
        node.format = "int-or-string"
    elif type_ == "object":
        granular = bool(properties) or isinstance(element, dict) or not (preserve or element is True)
        node = Schema("map" if granular else "any", "object")
    elif type_ == "array":
        node = Schema("list", "array")
    elif type_:
        node = Schema("scalar", type_)
        node.format = str(raw.get("format", ""))
    else:
        node = Schema("any")  # Without a type: any value; a map is still checked by its properties.
    node.preserve = preserve or node.shape == "any" or element is True
    node.nullable = raw.get("nullable") is True
    if "default" in raw:
        node.has_default, node.default = True, raw["default"]
    if isinstance(properties, dict):
        node.fields = {name: _custom(cast("JsonObject", child)) for name, child in properties.items()}
    if type_ == "object" and isinstance(element, dict):
        node.element = _custom(element)
    items = raw.get("items")
    if type_ == "array":
        node.element = _custom(items) if isinstance(items, dict) else ANY
        match raw.get("x-kubernetes-list-type"):
            case "map":
                node.keys = tuple(cast("list[str]", raw.get("x-kubernetes-list-map-keys") or []))
                node.key_defaults = {
                    key: node.element.fields[key].default
                    for key in node.keys
                    if key in node.element.fields and node.element.fields[key].has_default
                }
            case "set":
                pass
            case _:
                node.atomic = True
    if raw.get("x-kubernetes-map-type") == "atomic":
        node.atomic = True
    if raw.get("x-kubernetes-embedded-resource") is True:
        node.fields = {**node.fields, **_type_meta(), "metadata": object_meta()}
    node.rules = compile_rules(raw)
    below = (*node.fields.values(), *((node.element,) if node.element else ()))
    node.ruled = bool(node.rules) or any(child.ruled for child in below)
    return node
