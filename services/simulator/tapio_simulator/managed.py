"""metadata.managedFields: who owns which fields, and how updates (not applies) change that.

An entry is identified by manager, operation, API version and subresource, never by its time. Follows
k8s.io/apimachinery/pkg/util/managedfields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.fieldsets import Comparison, FieldSet, compare, difference, union
from tapio_simulator.schema import Schema

_UNOWNED_META = ("name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "resourceVersion")
UNOWNED: FieldSet = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {".": {}, "f:managedFields": {}, **{f"f:{name}": {} for name in _UNOWNED_META}},
}
"""Paths that nobody owns (managedfields' stripSet)."""


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """The identity of one entry."""

    manager: str
    operation: str
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        """As conflict messages name it."""
        text = f'"{self.manager}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


@dataclass(slots=True)
class Managed:
    """The owners of one object's fields."""

    fields: dict[Owner, FieldSet]
    times: dict[Owner, str]

    def copy(self) -> Managed:
        return Managed(dict(self.fields), dict(self.times))


def read_managed(document: JsonObject) -> Managed:
    """The entries in `document`; entries without fields or of another fields type are left out."""
    managed = Managed({}, {})
    metadata = document.get("metadata")
    entries = metadata.get("managedFields") if isinstance(metadata, dict) else None
    if not isinstance(entries, list):
        return managed
    for entry in cast("list[JsonObject]", entries):
        owner = Owner(
            str(entry.get("manager", "")),
            str(entry.get("operation", "")),
            str(entry.get("apiVersion", "")),
            str(entry.get("subresource", "")),
        )
        managed.fields[owner] = cast("FieldSet", entry.get("fieldsV1") or {})
        managed.times[owner] = str(entry.get("time", ""))
    return managed


def write_managed(document: JsonObject, managed: Managed) -> None:
    """Put `managed` into `document`, sorted as the API server sorts."""
    metadata = cast("JsonObject", document["metadata"])
    order = sorted(
        (owner for owner, fields in managed.fields.items() if fields),
        key=lambda owner: (owner.operation, managed.times.get(owner, ""), owner),
    )
    if not order:
        metadata.pop("managedFields", None)
        return
    metadata["managedFields"] = [_entry(owner, managed) for owner in order]


def _entry(owner: Owner, managed: Managed) -> JsonValue:
    entry: JsonObject = {
        "manager": owner.manager,
        "operation": owner.operation,
        "apiVersion": owner.api_version,
        "time": managed.times.get(owner, ""),
        "fieldsType": "FieldsV1",
        "fieldsV1": cast("JsonValue", managed.fields[owner]),
    }
    if not entry["time"]:
        del entry["time"]
    if owner.subresource:
        entry["subresource"] = owner.subresource
    return entry


def take_away(managed: Managed, comparison: Comparison, keep: Owner | None, conflicts: FieldSet) -> None:
    """Remove from everybody but `keep` what was changed (`conflicts`) or removed."""
    for owner, fields in list(managed.fields.items()):
        if owner == keep:
            continue
        left = difference(difference(fields, conflicts), comparison.removed)
        if left:
            managed.fields[owner] = left
        else:
            del managed.fields[owner]
            managed.times.pop(owner, None)


def without_ignored(fields: FieldSet, ignored: FieldSet) -> FieldSet:
    """`fields` without the top-level fields in `ignored` and everything below them."""
    return {element: node for element, node in fields.items() if element not in ignored}


def track_update(
    before: JsonObject, after: JsonObject, schema: Schema, managed: Managed, owner: Owner, now: str, ignored: FieldSet
) -> Managed:
    """The owners after `owner` changed `before` into `after` by an update or patch.

    Both without managedFields. What the update changed is taken from everybody; an update never conflicts.
    """
    comparison = compare(before, after, schema)
    changed = comparison.changed
    result = managed.copy()
    take_away(result, comparison, None, changed)
    gained = without_ignored(difference(changed, UNOWNED), ignored)
    if gained:
        result.fields[owner] = union(result.fields.get(owner, {}), gained)
        result.times[owner] = now
    return result
