"""Sets of field paths in the form that managedFields carries (FieldsV1), and the algebra over them.

The JSON form itself is the data structure: `{"f:spec": {"f:replicas": {}}}`. A node without children is a member; one
with children is a member when it holds ".". Follows structured-merge-diff's fieldpath and typed packages.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias, cast

import msgspec

from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.schema import ANY, Schema

FieldSet: TypeAlias = "dict[str, FieldSet]"

_encode = msgspec.json.Encoder(order="sorted").encode


class _Missing:
    """A value that isn't there, told apart from null."""


MISSING = _Missing()


class ListKeyError(Exception):
    """Items of a keyed list are no objects, lack a key, or appear twice. The message is the API server's."""


def is_member(node: FieldSet) -> bool:
    return not node or "." in node


def item_element(item: JsonValue, schema: Schema) -> str:
    """The path element of one item of an associative list: `k:{…}` by its keys, or `v:…` by its value."""
    if not schema.keys:
        return "v:" + _encode(item).decode()
    if not isinstance(item, dict):
        raise ListKeyError("associative list with keys may not contain non-map elements")
    key: JsonObject = {}
    for name in schema.keys:
        if name in item:
            key[name] = item[name]
        elif name in schema.key_defaults:
            key[name] = schema.key_defaults[name]
    if not key:
        names = ", ".join(f'"{name}"' for name in schema.keys)
        raise ListKeyError(
            f"associative list with keys has an element that omits key field {names} (and doesn't have default value)"
        )
    return "k:" + _encode(key).decode()


def indexed(items: list[JsonValue], schema: Schema) -> dict[str, JsonValue]:
    """Items by path element, in order. ListKeyError when one appears twice."""
    found: dict[str, JsonValue] = {}
    for item in items:
        element = item_element(item, schema)
        if element in found:
            raise ListKeyError(f"duplicate entries for key [{element_text(element)[1:-1]}]")
        found[element] = item
    return found


def is_granular(value: JsonValue | _Missing, schema: Schema) -> bool:
    """Whether `value` is owned field by field (or item by item) rather than as a whole."""
    if schema.atomic:
        return False
    if isinstance(value, dict):
        return schema.shape in ("map", "any")
    return isinstance(value, list) and schema.shape == "list"


def field_set(document: JsonObject, schema: Schema) -> FieldSet:
    """Every path of `document`, as an applier comes to own them (typed.ToFieldSet)."""
    return _map_set(document, schema)


def _map_set(value: JsonObject, schema: Schema) -> FieldSet:
    paths: FieldSet = {}
    fields, element = schema.fields, schema.element or ANY
    for name, entry in value.items():
        declared = fields.get(name)
        child = declared or element
        below = _value_set(entry, child)
        if below is None:
            paths["f:" + name] = {}
            continue
        if declared is None or entry is None or entry == {}:
            below = {".": {}, **below} if below else {}
            paths["f:" + name] = below
        elif below:
            paths["f:" + name] = below
    return paths


def _value_set(value: JsonValue, schema: Schema) -> FieldSet | None:
    """Paths below `value`; None when it is a leaf."""
    if isinstance(value, dict):
        if schema.atomic or schema.shape not in ("map", "any"):
            return None
        return _map_set(value, schema)
    if isinstance(value, list) and schema.shape == "list" and not schema.atomic:
        element = schema.element or ANY
        paths: FieldSet = {}
        for key, item in indexed(value, schema).items():
            below = _value_set(item, element)
            paths[key] = {".": {}, **below} if below else {}
        return paths
    return None


def union(first: FieldSet, second: FieldSet) -> FieldSet:
    if not first:
        return second
    if not second:
        return first
    merged = dict(first)
    for element, node in second.items():
        if element == ".":
            merged["."] = {}
            continue
        known = merged.get(element)
        if known is None:
            merged[element] = node
        elif known is not node and known != node:
            merged[element] = _joined(known, node)
    return merged


def _joined(first: FieldSet, second: FieldSet) -> FieldSet:
    member = is_member(first) or is_member(second)
    children = union(_children(first), _children(second))
    return {".": {}, **children} if member and children else children


def _children(node: FieldSet) -> FieldSet:
    if "." not in node:
        return node
    return {element: below for element, below in node.items() if element != "."}


def difference(first: FieldSet, second: FieldSet) -> FieldSet:
    """Members of `first` that aren't members of `second`."""
    if not second:
        return first
    left: FieldSet = {}
    for element, node in first.items():
        other = second.get(element)
        if other is None:
            left[element] = node
            continue
        if element == ".":
            continue
        member = is_member(node) and not is_member(other)
        children = difference(_children(node), _children(other))
        if children:
            left[element] = {".": {}, **children} if member else children
        elif member:
            left[element] = {}
    return left


def intersection(first: FieldSet, second: FieldSet) -> FieldSet:
    """Members of both."""
    shared: FieldSet = {}
    for element, node in first.items():
        other = second.get(element)
        if other is None or element == ".":
            continue
        member = is_member(node) and is_member(other)
        children = intersection(_children(node), _children(other))
        if children:
            shared[element] = {".": {}, **children} if member else children
        elif member:
            shared[element] = {}
    return shared


class Comparison:
    """What changed between two versions of a document."""

    __slots__ = ("added", "modified", "removed")

    def __init__(self) -> None:
        self.added: FieldSet = {}
        self.modified: FieldSet = {}
        self.removed: FieldSet = {}

    @property
    def changed(self) -> FieldSet:
        return union(self.added, self.modified)


def compare(before: JsonObject, after: JsonObject, schema: Schema) -> Comparison:
    """typed.Compare: added, modified and removed paths."""
    result = Comparison()
    _compare_entries(before, after, schema, result)
    return result


def _compare_entries(before: JsonObject, after: JsonObject, schema: Schema, into: Comparison) -> None:
    for name, old in before.items():
        new = after.get(name, MISSING)
        if new is old or new == old:
            continue
        _compare(old, new, schema.child(name), "f:" + name, into)
    for name, new in after.items():
        if name not in before:
            _compare(MISSING, new, schema.child(name), "f:" + name, into)


def _compare(
    old: JsonValue | _Missing, new: JsonValue | _Missing, schema: Schema, element: str, into: Comparison
) -> None:
    old_granular, new_granular = is_granular(old, schema), is_granular(new, schema)
    same_kind = isinstance(old, dict) == isinstance(new, dict) or old is MISSING or new is MISSING
    if (
        (old_granular or new_granular)
        and same_kind
        and (old or new)
        and not ((old is MISSING and not new) or (new is MISSING and not old))
    ):
        below = Comparison()
        if schema.shape == "list":
            _compare_items(
                old if isinstance(old, list) else [],
                new if isinstance(new, list) else [],
                schema,
                below,
            )
        else:
            _compare_entries(old if isinstance(old, dict) else {}, new if isinstance(new, dict) else {}, schema, below)
        if old is MISSING:
            below.added["."] = {}
        if new is MISSING:
            below.removed["."] = {}
        _attach(into.added, element, below.added)
        _attach(into.modified, element, below.modified)
        _attach(into.removed, element, below.removed)
    elif old is MISSING:
        if new or not schema.omits_empty:  # What is stored as nothing is no change, and nobody's conflict.
            into.added[element] = {}
    elif new is MISSING:
        into.removed[element] = {}
    else:
        into.modified[element] = {}


def _attach(into: FieldSet, element: str, below: FieldSet) -> None:
    if below:
        into[element] = {} if len(below) == 1 and "." in below else below


def _compare_items(before: list[JsonValue], after: list[JsonValue], schema: Schema, into: Comparison) -> None:
    element_type = schema.element or ANY
    old_items, new_items = _last_wins(before, schema), _last_wins(after, schema)
    for key, old in old_items.items():
        new = new_items.get(key, MISSING)
        if new is not old and new != old:
            _compare(old, new, element_type, key, into)
    for key, new in new_items.items():
        if key not in old_items:
            _compare(MISSING, new, element_type, key, into)


def _last_wins(items: list[JsonValue], schema: Schema) -> dict[str, JsonValue]:
    """Items by path element. Updates, unlike applies, may hold a key twice (two env entries of one name)."""
    found: dict[str, JsonValue] = {}
    for index, item in enumerate(items):
        try:
            found[item_element(item, schema)] = item
        except ListKeyError:
            found[f"i:{index}"] = item  # Not valid, but that is for validation to say.
    return found


def element_text(element: str) -> str:
    """A path element as error messages write it: `.spec`, `[name="web"]`, `[="finalizer"]`."""
    kind, _, rest = element.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        keys = cast("JsonObject", msgspec.json.decode(rest))
        return "[" + ",".join(f"{name}={_encode(value).decode()}" for name, value in sorted(keys.items())) + "]"
    if kind == "v":
        return f"[={rest}]"
    return f"[{rest}]"


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """Every member as text, in the API server's order."""
    for element in sorted(fields):
        if element == ".":
            continue
        node = fields[element]
        text = prefix + element_text(element)
        if is_member(node):
            yield text
        yield from paths(node, text)
