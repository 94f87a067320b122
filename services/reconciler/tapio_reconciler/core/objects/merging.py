"""Merging overrides into what the operator would render: objects deeply, lists of named things by name."""

from __future__ import annotations

from collections.abc import Sequence

from tapio_shared.json import JsonObject, JsonValue

_NAMED = frozenset({"containers", "initContainers", "volumes", "env", "imagePullSecrets"})
_BY_OTHER_KEY = {"volumeMounts": "mountPath", "ports": "name"}


def merged(base: JsonObject, override: JsonObject) -> JsonObject:
    """`override` over `base`: objects are merged, everything else is replaced, null takes a field away."""
    result: JsonObject = dict(base)
    for name, value in override.items():
        known = result.get(name)
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict) and isinstance(known, dict):
            result[name] = merged(known, value)
        else:
            result[name] = value
    return result


def merged_template(base: JsonObject, patch: JsonObject) -> JsonObject:
    """A pod template patched strategically: containers, volumes and variables by name, mounts by path."""
    result: JsonObject = dict(base)
    for name, value in patch.items():
        known = result.get(name)
        key = "name" if name in _NAMED else _BY_OTHER_KEY.get(name)
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict) and isinstance(known, dict):
            result[name] = merged_template(known, value)
        elif key is not None and isinstance(value, list) and isinstance(known, list):
            result[name] = _merged_lists(known, value, key)
        else:
            result[name] = value
    return result


def merged_by_name(base: Sequence[JsonObject], override: Sequence[JsonObject]) -> list[JsonObject]:
    """`base` with the entries of the same name replaced, and the others of `override` added behind."""
    replaced = {str(one.get("name")): one for one in override}
    kept = [replaced.pop(str(one.get("name")), one) for one in base]
    return [*kept, *(one for one in override if str(one.get("name")) in replaced)]


def _merged_lists(base: list[JsonValue], patch: list[JsonValue], key: str) -> list[JsonValue]:
    result: list[JsonValue] = list(base)
    for entry in patch:
        place = next(
            (
                index
                for index, one in enumerate(result)
                if isinstance(one, dict) and isinstance(entry, dict) and one.get(key) == entry.get(key)
            ),
            None,
        )
        known = None if place is None else result[place]
        if place is None:
            result.append(entry)
        elif isinstance(known, dict) and isinstance(entry, dict):
            result[place] = merged_template(known, entry)
    return result
