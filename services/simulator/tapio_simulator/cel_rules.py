"""CEL rules of custom resources (`x-kubernetes-validations`), evaluated by the Rust implementation in `cel`.

Kubernetes adds functions of its own to CEL (quantities, URLs, IP addresses, format strings). A rule that uses one of
them fails here when it is evaluated, and says so; no rule is skipped in silence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import cel

from tapio_shared.json import JsonObject, JsonValue, objects_at, str_at
from tapio_simulator.errors import Cause

_OLD = re.compile(r"\boldSelf\b")
_RESERVED = frozenset(
    {
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    }
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule."""

    program: cel.Program
    text: str
    message: str
    message_program: cel.Program | None
    reason: str
    field_path: str
    compares: bool
    """Whether it needs the old value (a transition rule)."""
    escapes: bool
    """Whether it names a field that CEL can't spell, such as `__namespace__`."""


def compile_rules(schema: JsonObject) -> tuple[Rule, ...]:
    """The rules of one schema node. ValueError when one does not compile."""
    return tuple(_compile(rule) for rule in objects_at(schema, "x-kubernetes-validations"))


def _compile(rule: JsonObject) -> Rule:
    text, expression = str_at(rule, "rule"), str_at(rule, "messageExpression")
    return Rule(
        cel.compile(text),
        text,
        str_at(rule, "message") or f"failed rule: {text}",
        cel.compile(expression) if expression else None,
        str_at(rule, "reason", default="FieldValueInvalid"),
        str_at(rule, "fieldPath"),
        _OLD.search(text) is not None,
        "__" in text,
    )


def check_rules(rules: tuple[Rule, ...], value: JsonValue, old: JsonValue, type_: str, path: str) -> list[Cause]:
    """The rules that `value` breaks; transition rules are left out while there is no old value."""
    return [cause for rule in rules if (cause := _broken(rule, value, old, type_, path)) is not None]


def _broken(rule: Rule, value: JsonValue, old: JsonValue, type_: str, path: str) -> Cause | None:
    if rule.compares and old is None:
        return None
    names: JsonObject = {"self": _escaped(value) if rule.escapes else value}
    if rule.compares:
        names["oldSelf"] = _escaped(old) if rule.escapes else old
    where = f"{path}{rule.field_path}" if rule.field_path else path
    try:
        if rule.program.execute(names) is True:
            return None
        message = rule.message if rule.message_program is None else str(rule.message_program.execute(names))
    except (TypeError, ValueError, RuntimeError, LookupError) as err:
        # An evaluation error counts as a broken rule, as in the API server.
        return Cause(where, f'Invalid value: "{type_}": {err} evaluating rule: {rule.message}')
    if rule.reason == "FieldValueForbidden":
        return Cause(where, f"Forbidden: {message}", rule.reason)
    if rule.reason == "FieldValueRequired":
        return Cause(where, f"Required value: {message}", rule.reason)
    return Cause(where, f'Invalid value: "{type_}": {message}', rule.reason)


def _escaped(value: JsonValue) -> JsonValue:
    """`value` with its keys as CEL rules spell them (kubernetes/cel's Escape)."""
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, dict):
        return {_escape(name): _escaped(entry) for name, entry in value.items()}
    return value


def _escape(name: str) -> str:
    if name in _RESERVED:
        return f"__{name}__"
    text = name.replace("__", "__underscores__").replace(".", "__dot__")
    return text.replace("-", "__dash__").replace("/", "__slash__")
