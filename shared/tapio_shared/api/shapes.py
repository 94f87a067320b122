"""Whether an opaque field has the structure of the Kubernetes type that it holds.

The CRDs leave probes, affinity, podTemplate and the like open, to stay small; a typo in one would otherwise be found
by the API server only when the workload is applied. Checks keys and types, never meaning: that is the API server's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Final, NamedTuple

from tapio_shared.api.kubernetes_types import KUBERNETES_TYPES
from tapio_shared.api.problems import Path, Problem, path_text, problem, unknown_field
from tapio_shared.api.quantity import is_quantity
from tapio_shared.json import JsonObject, JsonValue

DIRECTIVE: Final = "$patch"
"""In an overlay, as in a strategic merge patch: `delete` takes an entry of a list, or an object, away, `replace` puts
the patch in the place of what there is."""
DIRECTIVES: Final = ("delete", "replace")

_MAX_PROBLEMS: Final = 50


class _Field(NamedTuple):
    type: str
    required: bool


_SCALARS: Final[Mapping[str, str]] = {
    "string": "a text",
    "int": "a whole number",
    "bool": "true or false",
    "number": "a number",
    "quantity": "a Kubernetes quantity such as 500m, 2 or 10Gi",
    "intstr": "a whole number or a text",
}


def shape_problems(kind: str, value: JsonValue, path: Path, *, overlay: bool = False) -> Iterator[Problem]:
    """Where `value` differs from the Kubernetes type `kind`. `overlay`: fields that it requires may be absent.

    In an overlay, entries of lists that are merged by name still need the name.
    """
    yield from islice(_value_problems(kind, value, path, overlay=overlay), _MAX_PROBLEMS)


def exactly_one(value: JsonObject, names: tuple[str, ...], path: Path) -> Iterator[Problem]:
    """A problem unless exactly one of `names` is set in `value`."""
    present = [name for name in names if value.get(name) is not None]
    if len(present) != 1:
        where = path_text(path)
        found = " and ".join(present) if present else "none of them"
        yield Problem(where, value, f"{where} must hold exactly one of {', '.join(names)}, but holds {found}.")


@cache
def _fields(kind: str) -> Mapping[str, _Field]:
    fields: dict[str, _Field] = {}
    for text in KUBERNETES_TYPES[kind].split():
        name, _, rest = text.partition(":")
        fields[name] = _Field(rest.rstrip("!"), rest.endswith("!"))
    return fields


def _value_problems(kind: str, value: JsonValue, path: Path, *, overlay: bool) -> Iterator[Problem]:
    if value is None or kind == "any":
        return
    if kind.startswith("["):
        if not isinstance(value, list):
            yield problem(path, value, "a list")
            return
        for index, entry in enumerate(value):
            yield from _value_problems(kind[1:-1], entry, (*path, index), overlay=overlay)
    elif kind.startswith("{"):
        if not isinstance(value, dict):
            yield problem(path, value, "an object")
            return
        for key, entry in value.items():
            yield from _value_problems(kind[1:-1], entry, (*path, key), overlay=overlay)
    elif kind in _SCALARS:
        if not _is_scalar(kind, value):
            yield problem(path, value, _SCALARS[kind])
    else:
        yield from _object_problems(kind, value, path, overlay=overlay)


def _object_problems(kind: str, value: JsonValue, path: Path, *, overlay: bool) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield problem(path, value, f"an object (a Kubernetes {kind})")
        return
    fields = _fields(kind)
    for key, entry in value.items():
        if overlay and key == DIRECTIVE:
            if entry not in DIRECTIVES:
                yield problem((*path, key), entry, f"one of {', '.join(DIRECTIVES)}")
        elif key in fields:
            yield from _value_problems(fields[key].type, entry, (*path, key), overlay=overlay)
        else:
            yield unknown_field((*path, key), entry, tuple(fields))
    merged_by_name = overlay and bool(path) and isinstance(path[-1], int) and value.get(DIRECTIVE) != "replace"
    for name, field in fields.items():
        needed = field.required and (not overlay or (merged_by_name and name == "name"))
        if needed and value.get(name) is None:
            where = path_text((*path, name))
            yield Problem(where, None, f"{where} is missing; a Kubernetes {kind} needs it.")


def _is_scalar(kind: str, value: JsonValue) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "intstr":
            return isinstance(value, int | str) and not isinstance(value, bool)
        case _:
            return isinstance(value, int | float | str) and not isinstance(value, bool) and is_quantity(str(value))
