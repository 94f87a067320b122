"""Typed JSON documents and total accessors for them.

Kubernetes objects are kept as plain JSON documents: builders write them, facts carry them, nobody needs a class per
kind. The accessors never raise: a field that is absent or of another type is answered by an empty value, since a
foreign object may hold anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:
    JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
    JsonObject: TypeAlias = "dict[str, JsonValue]"
else:
    # At run time msgspec and pydantic read annotations, and neither knows recursive aliases.
    JsonValue = Any
    JsonObject = dict[str, Any]


_field = cast("Callable[[JsonObject, str | int], JsonValue]", dict[str, JsonValue].get)
"""The field of an object with a name; None for a number, which names none."""


def at(document: JsonValue | Mapping[str, JsonValue], *path: str | int) -> JsonValue:
    """The value at `path`, or None when any step is missing or of another type."""
    node = cast("JsonValue", document)
    for step in path:
        if isinstance(node, dict):
            node = _field(node, step)
        elif isinstance(node, list) and isinstance(step, int) and -len(node) <= step < len(node):
            node = node[step]
        else:
            return None
    return node


def object_at(document: JsonValue | Mapping[str, JsonValue], *path: str | int) -> JsonObject:
    """The object at `path`, or a new empty one."""
    node = at(document, *path)
    return node if isinstance(node, dict) else {}


def list_at(document: JsonValue | Mapping[str, JsonValue], *path: str | int) -> list[JsonValue]:
    """The list at `path`, or a new empty one."""
    node = at(document, *path)
    return node if isinstance(node, list) else []


def objects_at(document: JsonValue | Mapping[str, JsonValue], *path: str | int) -> list[JsonObject]:
    """The objects in the list at `path`; entries of other types are left out."""
    return [entry for entry in list_at(document, *path) if isinstance(entry, dict)]


def str_at(document: JsonValue | Mapping[str, JsonValue], *path: str | int, default: str = "") -> str:
    """The string at `path`, or `default`."""
    node = document
    for step in path:  # As `at`, which is not called: this is asked a hundred times for every plan.
        if isinstance(node, dict):
            node = _field(node, step)
        elif isinstance(node, list):
            node = at(node, step)
        else:
            return default
    return node if isinstance(node, str) else default


def int_at(document: JsonValue | Mapping[str, JsonValue], *path: str | int, default: int = 0) -> int:
    """The whole number at `path`, or `default`."""
    node = at(document, *path)
    return node if isinstance(node, int) and not isinstance(node, bool) else default


def bool_at(document: JsonValue | Mapping[str, JsonValue], *path: str | int, default: bool = False) -> bool:
    """The boolean at `path`, or `default`."""
    node = at(document, *path)
    return node if isinstance(node, bool) else default


def strings_at(document: JsonValue | Mapping[str, JsonValue], *path: str | int) -> dict[str, str]:
    """The string entries of the object at `path` (labels, annotations)."""
    return {name: value for name, value in object_at(document, *path).items() if isinstance(value, str)}


def is_deeper(value: JsonValue, levels: int) -> bool:
    """Whether objects and lists are nested in `value` more than `levels` deep. Without recursion, so for any depth."""
    layer: list[JsonValue] = [value]
    for _ in range(levels + 1):
        layer = [
            child
            for node in layer
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not layer:
            return False
    return True
