"""Reading a document by its schema: unknown fields, wrong types, nulls and canonical scalars.

What Kubernetes' decoders do to builtin kinds (unknown fields are dropped, quantities become canonical) and what
pruning does to custom resources. Which of it is an error, a warning or silence is the caller's (`fieldValidation`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tapio_shared.json import JsonValue
from tapio_simulator.quantities import canonical
from tapio_simulator.schema import Schema


@dataclass(slots=True)
class Findings:
    """What reading found: paths of unknown fields, and (path, what was expected, what was found)."""

    as_sent: bool = False
    """Whether empty maps and lists stay, and quantities as they are written: that is how appliers own and compare them,
    though it is not how they are stored."""
    unlike_stored: bool = False
    """Whether anything stayed that is stored in another form."""
    unknown: list[str] = field(default_factory=list[str])
    mistyped: list[tuple[str, str, JsonValue]] = field(default_factory=list[tuple[str, str, JsonValue]])


def read(value: JsonValue, schema: Schema, findings: Findings, path: str = "") -> JsonValue:
    """`value` without unknown fields and nulls, scalars canonical. Changes maps and lists of `value` in place."""
    shape = schema.shape
    if shape == "scalar":
        return _scalar(value, schema, findings, path)
    if shape == "map":
        if isinstance(value, dict):
            return _map(value, schema, findings, path)
    elif shape == "list":
        if isinstance(value, list):
            element = schema.element
            assert element is not None
            plain = element.shape == "scalar" and element.type == "string" and not element.format
            if plain and all(type(item) is str for item in value):
                return value
            for index, item in enumerate(value):
                value[index] = read(item, element, findings, f"{path}[{index}]")
            return value
    elif isinstance(value, dict) and schema.fields:
        return _map(value, schema, findings, path)
    else:
        return value
    findings.mistyped.append((path, "map" if shape == "map" else "list", value))
    return value


def _map(value: dict[str, JsonValue], schema: Schema, findings: Findings, path: str) -> dict[str, JsonValue]:
    fields, element = schema.fields, schema.element
    dropped: list[str] = []
    for name, entry in value.items():
        child = fields.get(name) or element
        if child is None:
            if not schema.preserve:
                findings.unknown.append(f"{path}.{name}" if path else name)
                dropped.append(name)
            continue
        if entry is None and not child.nullable:
            if child.shape != "any":
                dropped.append(name)
            continue
        if child.shape == "scalar" and child.type == "string" and not child.format and type(entry) is str:
            continue
        value[name] = read(entry, child, findings, f"{path}.{name}" if path else name)
        if child.omits_empty and not value[name]:
            if findings.as_sent:
                findings.unlike_stored = True
            else:
                dropped.append(name)
    for name in dropped:
        del value[name]
    return value


def _scalar(value: JsonValue, schema: Schema, findings: Findings, path: str) -> JsonValue:
    if value is None and schema.nullable:
        return None
    match schema.type:
        case "string":
            if schema.format == "int-or-string":
                if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
                    return value
            elif schema.format == "quantity":
                if isinstance(value, str | int | float) and not isinstance(value, bool):
                    found = canonical(str(value))
                    if found is not None and findings.as_sent and found != value:
                        findings.unlike_stored = True
                        return value
                    if found is not None:
                        return found
            elif isinstance(value, str):
                return value
        case "integer":
            if isinstance(value, int) and not isinstance(value, bool):
                return value
            if isinstance(value, float) and value.is_integer():
                return int(value)
        case "number":
            if isinstance(value, int | float) and not isinstance(value, bool):
                return value
        case "boolean":
            if isinstance(value, bool):
                return value
        case _:
            return value
    findings.mistyped.append((path, schema.format if schema.format == "quantity" else schema.type, value))
    return value
