"""Server-side apply: merge, field ownership, conflicts, removal of fields no longer applied.

Follows structured-merge-diff's merge.Updater.Apply step by step; the names of its steps are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.errors import StatusError
from tapio_simulator.fieldsets import (
    FieldSet,
    compare,
    difference,
    field_set,
    indexed,
    intersection,
    is_granular,
    is_member,
    item_element,
    paths,
    union,
)
from tapio_simulator.managed import UNOWNED, Managed, Owner, take_away, without_ignored
from tapio_simulator.schema import ANY, Schema


@dataclass(frozen=True, slots=True)
class Applied:
    """The merged document, without managedFields, and its owners. `changed` is False for an apply without effect."""

    document: JsonObject
    managed: Managed
    changed: bool
    removed: bool = False
    """Whether fields were removed, which can leave maps or lists empty."""


def apply(
    live: JsonObject,
    config: JsonObject,
    schema: Schema,
    managed: Managed,
    owner: Owner,
    *,
    force: bool,
    now: str,
    ignored: FieldSet,
) -> Applied:
    """Apply `config` over `live` (both without managedFields). Raises StatusError 409 on a conflict without force."""
    previous = managed.fields.get(owner, {})
    own = without_ignored(difference(field_set(config, schema), UNOWNED), ignored)
    result = managed.copy()
    result.fields[owner] = own
    merged = merge_maps(live, config, schema)
    gone: FieldSet = {}
    if previous and previous != own:
        everybody: FieldSet = {}
        for fields in result.fields.values():
            everybody = union(everybody, fields)
        gone = _no_longer_owned(previous, everybody, schema)
        merged = remove_items(merged, gone, schema)
    if len(result.fields) > 1:
        _settle(live, merged, schema, result, owner, force)
    if not own:
        result.fields.pop(owner, None)
    same_owners = result.fields == managed.fields
    if same_owners and merged == live:
        return Applied(live, managed, changed=False)
    result.times[owner] = now
    return Applied(merged, result, changed=True, removed=bool(gone))


def _settle(live: JsonObject, merged: JsonObject, schema: Schema, managed: Managed, owner: Owner, force: bool) -> None:
    comparison = compare(live, merged, schema)
    changed = comparison.changed
    conflicts: dict[Owner, FieldSet] = {}
    for other, fields in managed.fields.items():
        if other != owner and (shared := intersection(fields, changed)):
            conflicts[other] = shared
    if conflicts and not force:
        raise conflict_error(conflicts)
    take_away(managed, comparison, owner, changed if conflicts else {})


def conflict_error(conflicts: dict[Owner, FieldSet]) -> StatusError:
    """409 with kubectl's text and one cause per field."""
    found = [(owner, path) for owner, fields in conflicts.items() for path in paths(fields)]
    causes: list[JsonValue] = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {owner}", "field": path} for owner, path in found
    ]
    if len(found) == 1:
        message = f"Apply failed with 1 conflict: conflict with {found[0][0]}: {found[0][1]}"
    else:
        lines: list[str] = []
        for owner in sorted(conflicts, key=str):
            lines.append(f"conflicts with {owner}:")
            lines += [f"- {path}" for path in paths(conflicts[owner])]
        message = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
    return StatusError(409, "Conflict", message, {"causes": causes})


def merge_maps(live: JsonObject, config: JsonObject, schema: Schema) -> JsonObject:
    """`config` laid over `live`; parts that don't change are shared with `live`."""
    merged: JsonObject | None = None
    for name, wanted in config.items():
        known = name in live
        value = merge(live[name], wanted, schema.child(name)) if known else wanted
        if not known or value is not live[name]:
            if merged is None:
                merged = dict(live)
            merged[name] = value
    return live if merged is None else merged


def merge(live: JsonValue, config: JsonValue, schema: Schema) -> JsonValue:
    if not schema.atomic:
        if isinstance(live, dict) and isinstance(config, dict) and schema.shape in ("map", "any"):
            return merge_maps(live, config, schema)
        if isinstance(live, list) and isinstance(config, list) and schema.shape == "list":
            return _merge_items(live, config, schema)
    return live if live == config and type(live) is type(config) else config


def _merge_items(live: list[JsonValue], config: list[JsonValue], schema: Schema) -> list[JsonValue]:
    """Keep live's order, but let shared items follow config's (typed.mergeListItems)."""
    if live == config:
        return live
    element = schema.element or ANY
    left_keys = [item_element(item, schema) for item in live]
    left = dict(zip(left_keys, live, strict=True))
    right = indexed(config, schema)
    right_keys = list(right)
    shared = iter([key for key in right_keys if key in left])
    next_shared = next(shared, None)
    merged_keys: set[str] = set()
    out: list[JsonValue] = []
    i = j = 0
    while i < len(left_keys) or j < len(right_keys):
        if i < len(left_keys):
            key = left_keys[i]
            if j < len(right_keys):
                if key == right_keys[j]:
                    merged_keys.add(key)
                    out.append(merge(live[i], right[key], element))
                    i, j = i + 1, j + 1
                    next_shared = next(shared, None)
                    continue
                if key in right and next_shared is not None and next_shared != key:
                    i += 1
                    continue
            if key not in right:
                out.append(live[i])
                i += 1
                continue
            if key in merged_keys:
                i += 1
                continue
        if j < len(right_keys):
            key = right_keys[j]
            merged_keys.add(key)
            out.append(merge(left[key], right[key], element) if key in left else right[key])
            j += 1
            if next_shared == key:
                next_shared = next(shared, None)
    return out


def _no_longer_owned(last: FieldSet, everybody: FieldSet, schema: Schema) -> FieldSet:
    """Paths applied last time that nobody owns now; a leaf stands for everything below it.

    A declared field counts as a member even when only fields below it are (EnsureNamedFieldsAreMembers), so that a
    struct left without owners goes as a whole; an item of a list or map goes only when it was itself owned.
    """
    gone: FieldSet = {}
    for element, node in last.items():
        if element == ".":
            continue
        name = element[2:]
        is_field = element.startswith("f:")
        declared = is_field and name in schema.fields
        kept = everybody.get(element)
        was_member = declared or is_member(node)
        if was_member and (kept is None or not (declared or is_member(kept))):
            gone[element] = {}
        elif node:
            child = schema.child(name) if is_field else (schema.element or ANY)
            below = _no_longer_owned(node, kept or {}, child)
            if below:
                gone[element] = below
    return gone


def remove_items(document: JsonObject, gone: FieldSet, schema: Schema) -> JsonObject:
    """`document` without the paths in `gone`; what isn't touched is shared."""
    if not gone:
        return document
    left: JsonObject = {}
    for name, value in document.items():
        node = gone.get("f:" + name)
        if node is None:
            left[name] = value
        elif node:
            left[name] = _without(value, node, schema.child(name))
    return left


def _without(value: JsonValue, gone: FieldSet, schema: Schema) -> JsonValue:
    if not is_granular(value, schema):
        return value
    if isinstance(value, dict):
        return remove_items(value, gone, schema)
    assert isinstance(value, list)
    element = schema.element or ANY
    left: list[JsonValue] = []
    for item in value:
        node = gone.get(item_element(item, schema))
        if node is None:
            left.append(item)
        elif node:
            left.append(_without(item, node, element))
    return left
