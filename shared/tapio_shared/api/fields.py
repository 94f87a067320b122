"""Whether each field of a spec, on its own, holds what its model allows.

Runs the models and turns pydantic's errors into problems. Refuses to look at two fields at once: rules.py does that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tapio_shared.api.base import ApiModel
from tapio_shared.api.problems import MAX_PROBLEMS, Path, Problem, key_problem, path_text, problem, unknown_field
from tapio_shared.api.scalars import NOT_ALLOWED
from tapio_shared.api.schema import child_schema, field_names
from tapio_shared.json import JsonObject, JsonValue, list_at, str_at

_EXPECTED: Final = {
    "string_type": "a text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "dict_type": "an object",
    "model_type": "an object",
    "tuple_type": "a list",
    "string_unicode": "a text of valid Unicode",
}


def field_problems(model: type[ApiModel], schema: JsonObject, value: JsonValue, base: Path) -> Iterator[Problem]:
    """The problems of every field of `value`, a normalised document of `model`. Never raises on a JSON value."""
    try:
        model.from_document(value)
    except ValidationError as err:
        for error in err.errors(include_url=False)[:MAX_PROBLEMS]:
            if not _is_long_enough(error):
                yield _problem(error, schema, base)


def _is_long_enough(error: ErrorDetails) -> bool:
    """Whether a list is called too short for its wrong entries alone, which are told one by one."""
    entries = cast("JsonValue", error["input"])
    least = error.get("ctx", {}).get("min_length")
    return (
        error["type"] == "too_short" and isinstance(entries, list) and isinstance(least, int) and len(entries) >= least
    )


def _problem(error: ErrorDetails, schema: JsonObject, base: Path) -> Problem:
    steps = error["loc"]
    value = cast("JsonValue", error["input"])
    if steps and steps[-1] == "[key]":
        return key_problem((*base, *steps[:-1]), _allowed(error, {}, value))
    path: Path = (*base, *steps)
    if error["type"] == "extra_forbidden":
        return unknown_field(path, value, field_names(_schema_at(schema, steps[:-1])))
    node = _schema_at(schema, steps)
    if error["type"] == "missing":
        where = path_text(path)
        meaning = str_at(node, "description").rstrip(".")
        return Problem(where, None, f"{where} is missing; it must be set ({meaning}).")
    return problem(path, value, _allowed(error, node, value))


def _schema_at(schema: JsonObject, steps: tuple[str | int, ...]) -> JsonObject:
    for step in steps:
        schema = child_schema(schema, step)
    return schema


def _allowed(error: ErrorDetails, node: JsonObject, value: JsonValue) -> str:
    """What is allowed instead, as the rest of the sentence "it must be ..."."""
    context = error.get("ctx", {})
    kind = error["type"]
    if kind == NOT_ALLOWED:
        return str(context["allowed"])
    if kind == "literal_error":
        quoted = ", ".join(_quoted(choice) for choice in list_at(node, "enum"))
        hint = "; in quotes, since YAML reads a bare yes as true" if isinstance(value, bool) else ""
        return f"one of {quoted}{hint}"
    if kind == "string_type" and isinstance(value, int | float):
        return "a text: write it in quotes"
    if kind in {"model_type", "dict_type"} and "x-tapio-shorthand" in node:
        return "true, false or an object"
    if kind in {"int_type", "int_from_float"}:
        return _range(node) or _EXPECTED["int_type"]
    if kind in {"greater_than_equal", "less_than_equal"}:
        return _range(node)
    if kind == "too_long":
        return f"a list of at most {context['max_length']} entries"
    if kind == "too_short":
        return f"a list of at least {context['min_length']} entries"
    if kind == "string_too_long":
        return f"at most {context['max_length']} characters long"
    if kind == "string_too_short":
        return f"at least {context['min_length']} characters long"
    return _EXPECTED.get(kind, f"valid ({error['msg']})")


def _range(node: JsonObject) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        return f"a whole number between {low} and {high}"
    return f"a whole number of at least {low}" if low is not None else ""


def _quoted(choice: JsonValue) -> str:
    return '""' if choice == "" else str(choice)
