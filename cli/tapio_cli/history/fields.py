"""Which fields of a document changed, as paths with their values; entries of named lists by their names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from tapio_shared.json import JsonObject, JsonValue

_LONGEST = 60
_BEFORE = 15
_NOISE = frozenset({"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"})


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field: a value, a whole object or a whole list, None where it is absent.

    An object that came or went with a single field in it is told by that field.
    """

    path: str
    before: JsonValue
    after: JsonValue

    def __str__(self) -> str:
        before, after = _text(self.before), _text(self.after)
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))
        # Of two long texts that begin alike, what is shown begins shortly before they differ.
        begin = alike - _BEFORE if alike > _LONGEST // 2 and max(len(before), len(after)) > _LONGEST else 0
        return f"{self.path}: {_short(before, begin)} → {_short(after, begin)}"


def changed_fields(before: JsonObject, after: JsonObject) -> list[FieldChange]:
    """Every field that differs, in the order of paths; what the API server counts by itself is left out."""
    return list(_changes("", before, after))


def _changes(path: str, before: JsonValue, after: JsonValue) -> Iterator[FieldChange]:
    if isinstance(before, list) and isinstance(after, list):
        named = _by_name(before), _by_name(after)
        if named[0] is not None and named[1] is not None:
            yield from _of_objects(path, named[0], named[1], "[{}]")
            return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _of_objects(path, before, after, ".{}")
    elif before is None and isinstance(after, dict) and len(after) == 1:
        yield from _of_objects(path, {}, after, ".{}")
    elif after is None and isinstance(before, dict) and len(before) == 1:
        yield from _of_objects(path, before, {}, ".{}")
    elif before != after:
        yield FieldChange(path or ".", before, after)


def _of_objects(path: str, before: JsonObject, after: JsonObject, step: str) -> Iterator[FieldChange]:
    for name in sorted({*before, *after}):
        if name in _NOISE and path.endswith("metadata"):
            continue
        where = step.format(name) if path or step != ".{}" else name
        yield from _changes(f"{path}{where}", before.get(name), after.get(name))


def _by_name(values: list[JsonValue]) -> JsonObject | None:
    """A list of objects that all have a name of their own, as an object; None for any other list."""
    found: JsonObject = {}
    for one in values:
        name = (one.get("name") or one.get("type")) if isinstance(one, dict) else None
        if not isinstance(name, str) or name in found:
            return None
        found[name] = one
    return found


def _text(value: JsonValue) -> str:
    if value is None:
        return "absent"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _short(text: str, begin: int) -> str:
    shown = text[begin : begin + _LONGEST]
    return f"{'…' if begin else ''}{shown}{'…' if begin + _LONGEST < len(text) else ''}"
