"""Fields of a status that the API server drops, since its CRD does not know them: one that is older than the operator.

What is dropped is never there, so the status would differ for ever, and be written again at once, for ever. What a
write came back without is recorded with its outcome (`OutcomeRecorded.dropped`), and asked for no more for a while.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#field-pruning
"""

from __future__ import annotations

from collections.abc import Iterator, Set

from tapio_reconciler.core.changes import LONGEST_UNOBSERVED, waits
from tapio_shared.facts import DroppedFields
from tapio_shared.json import JsonObject, JsonValue

_SEPARATOR = "/"


def dropped_from(written: JsonObject, made: JsonObject, now: int) -> DroppedFields | None:
    """What `made`, the API server's answer, lacks of what was `written` to it; None when that is nothing."""
    fields = sorted(set(_missing(written, made, "")))
    return DroppedFields(fields=fields, dropped_at=now) if fields else None


def as_kept(status: JsonObject, dropped: DroppedFields | None, now: int) -> tuple[JsonObject, int]:
    """`status` as it would come back, and until when to rest on that (milliseconds). Itself and 0 when nothing is
    dropped, or when that is long ago: whoever renews the CRD tells nobody."""
    if dropped is None or not waits(dropped.dropped_at, dropped.dropped_at + LONGEST_UNOBSERVED, now):
        return status, 0
    return dict(_kept(status, frozenset(dropped.fields), "")), dropped.dropped_at + LONGEST_UNOBSERVED


def _missing(written: JsonValue, made: JsonValue, path: str) -> Iterator[str]:
    if isinstance(written, dict) and isinstance(made, dict):
        for name, value in written.items():
            if name not in made:
                yield path + name
            else:
                yield from _missing(value, made[name], f"{path}{name}{_SEPARATOR}")
    elif isinstance(written, list) and isinstance(made, list) and len(written) == len(made):
        for one, other in zip(written, made, strict=True):
            yield from _missing(one, other, path)


def _kept(value: JsonObject, fields: Set[str], path: str) -> Iterator[tuple[str, JsonValue]]:
    for name, inner in value.items():
        if path + name not in fields:
            yield name, _reduced(inner, fields, f"{path}{name}{_SEPARATOR}")


def _reduced(value: JsonValue, fields: Set[str], path: str) -> JsonValue:
    if isinstance(value, dict):
        return dict(_kept(value, fields, path))
    return [_reduced(one, fields, path) for one in value] if isinstance(value, list) else value
