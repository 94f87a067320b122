"""Value rules of structural schemas, with the API server's texts (kube-openapi's validate package).

Types were read before (decode.py); this checks required fields, enumerations, ranges, lengths, patterns, formats and
the logical junctors. CEL rules (`x-kubernetes-validations`) are cel_rules.py's.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.errors import Cause


def check(value: JsonValue, schema: JsonObject, path: str, causes: list[Cause], *, root: bool = False) -> None:
    """Append every violation of `schema` by `value` to `causes`."""
    if value is None:
        if schema.get("nullable") is not True and schema.get("type"):
            causes.append(_wrong_type(value, schema, path))
        return
    if not _type_fits(value, schema):
        causes.append(_wrong_type(value, schema, path))
        return
    _check_enum(value, schema, path, causes)
    if isinstance(value, dict):
        _check_object(value, schema, path, causes, root=root)
    elif isinstance(value, list):
        _check_array(value, schema, path, causes)
    elif isinstance(value, str):
        _check_string(value, schema, path, causes)
    elif not isinstance(value, bool):
        _check_number(value, schema, path, causes)
    _check_junctors(value, schema, path, causes)


def _type_fits(value: JsonValue, schema: JsonObject) -> bool:
    if schema.get("x-kubernetes-int-or-string") is True:
        return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
    match schema.get("type"):
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return (isinstance(value, int) and not isinstance(value, bool)) or (
                isinstance(value, float) and value.is_integer()
            )
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return True


def _wrong_type(value: JsonValue, schema: JsonObject, path: str) -> Cause:
    name = _type_name(value)
    expected = schema.get("type") or "integer,string"
    return Cause(
        path, f'Invalid value: "{name}": {path} in body must be of type {expected}: "{name}"', "FieldValueTypeInvalid"
    )


def _type_name(value: JsonValue) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def shown(value: JsonValue) -> str:
    return msgspec.json.encode(value).decode()


def _check_enum(value: JsonValue, schema: JsonObject, path: str, causes: list[Cause]) -> None:
    allowed = schema.get("enum")
    if isinstance(allowed, list) and value not in allowed:
        texts = ", ".join(shown(entry) for entry in allowed)
        causes.append(
            Cause(path, f"Unsupported value: {shown(value)}: supported values: {texts}", "FieldValueNotSupported")
        )


def _check_object(value: JsonObject, schema: JsonObject, path: str, causes: list[Cause], *, root: bool) -> None:
    required = schema.get("required")
    causes += [
        Cause(f"{path}.{name}" if path else str(name), "Required value", "FieldValueRequired")
        for name in (required if isinstance(required, list) else [])
        if name not in value
    ]
    least, most = schema.get("minProperties"), schema.get("maxProperties")
    if isinstance(least, int) and len(value) < least:
        causes.append(
            Cause(path, f"Invalid value: {len(value)}: {path} in body should have at least {least} properties")
        )
    if isinstance(most, int) and len(value) > most:
        causes.append(Cause(path, f"Too many: {len(value)}: must have at most {most} items", "FieldValueTooMany"))
    properties, element = schema.get("properties"), schema.get("additionalProperties")
    known = properties if isinstance(properties, dict) else {}
    for name, entry in value.items():
        if root and name in ("metadata", "apiVersion", "kind"):
            continue
        child = known.get(name, element)
        if isinstance(child, dict):
            if entry is None and child.get("nullable") is not True and "default" not in child:
                continue
            check(entry, child, f"{path}.{name}" if path else name, causes)


def _check_array(value: list[JsonValue], schema: JsonObject, path: str, causes: list[Cause]) -> None:
    least, most = schema.get("minItems"), schema.get("maxItems")
    if isinstance(least, int) and len(value) < least:
        causes.append(Cause(path, f"Invalid value: {len(value)}: {path} in body should have at least {least} items"))
    if isinstance(most, int) and len(value) > most:
        causes.append(Cause(path, f"Too many: {len(value)}: must have at most {most} items", "FieldValueTooMany"))
    items = schema.get("items")
    if isinstance(items, dict):
        for index, item in enumerate(value):
            check(item, items, f"{path}[{index}]", causes)


def _check_string(value: str, schema: JsonObject, path: str, causes: list[Cause]) -> None:
    least, most, pattern = schema.get("minLength"), schema.get("maxLength"), schema.get("pattern")
    if isinstance(least, int) and len(value) < least:
        causes.append(
            Cause(path, f"Invalid value: {shown(value)}: {path} in body should be at least {least} chars long")
        )
    if isinstance(most, int) and len(value) > most:
        causes.append(Cause(path, f"Too long: may not be more than {most} bytes", "FieldValueTooLong"))
    if isinstance(pattern, str) and _compiled(pattern).search(value) is None:
        causes.append(Cause(path, f"Invalid value: {shown(value)}: {path} in body should match '{pattern}'"))
    format_ = schema.get("format")
    if isinstance(format_, str) and not _format_fits(value, format_):
        causes.append(
            Cause(path, f"Invalid value: {shown(value)}: {path} in body must be of type {format_}: {shown(value)}")
        )


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    # RE2's \z is Python's \Z; the rest of what schemas use is written the same.
    return re.compile(pattern.replace("\\z", "\\Z"))


_FORMATS = {
    "date-time": re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)"),
    "date": re.compile(r"\d{4}-\d\d-\d\d"),
    "uuid": re.compile(r"(?i)[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}"),
    "ipv4": re.compile(r"(\d{1,3}\.){3}\d{1,3}"),
    "byte": re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"),
    "duration": re.compile(r"[+-]?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h|d|w))+|0"),
}


def _format_fits(value: str, format_: str) -> bool:
    pattern = _FORMATS.get(format_)
    return pattern is None or pattern.fullmatch(value) is not None


def _check_number(value: float, schema: JsonObject, path: str, causes: list[Cause]) -> None:
    least, most, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    text = shown(value)
    if isinstance(least, int | float):
        if schema.get("exclusiveMinimum") is True and value <= least:
            causes.append(Cause(path, f"Invalid value: {text}: {path} in body should be greater than {least}"))
        elif value < least:
            causes.append(
                Cause(path, f"Invalid value: {text}: {path} in body should be greater than or equal to {least}")
            )
    if isinstance(most, int | float):
        if schema.get("exclusiveMaximum") is True and value >= most:
            causes.append(Cause(path, f"Invalid value: {text}: {path} in body should be less than {most}"))
        elif value > most:
            causes.append(Cause(path, f"Invalid value: {text}: {path} in body should be less than or equal to {most}"))
    if isinstance(step, int | float) and step and value % step:
        causes.append(Cause(path, f"Invalid value: {text}: {path} in body should be a multiple of {step}"))


def _check_junctors(value: JsonValue, schema: JsonObject, path: str, causes: list[Cause]) -> None:
    for branch in _branches(schema, "allOf"):
        check(value, branch, path, causes)
    if (branches := _branches(schema, "anyOf")) and not any(_fits(value, branch) for branch in branches):
        causes.append(
            Cause(path, f"Invalid value: {shown(value)}: {path} in body must validate at least one schema (anyOf)")
        )
    if (branches := _branches(schema, "oneOf")) and sum(_fits(value, branch) for branch in branches) != 1:
        causes.append(
            Cause(path, f"Invalid value: {shown(value)}: {path} in body must validate one and only one schema (oneOf)")
        )
    negated = schema.get("not")
    if isinstance(negated, dict) and _fits(value, negated):
        causes.append(Cause(path, f"Invalid value: {shown(value)}: {path} in body must not validate the schema (not)"))


def _branches(schema: JsonObject, name: str) -> list[JsonObject]:
    found = schema.get(name)
    return [branch for branch in found if isinstance(branch, dict)] if isinstance(found, list) else []


def _fits(value: JsonValue, schema: JsonObject) -> bool:
    causes: list[Cause] = []
    check(value, schema, "", causes)
    return not causes
