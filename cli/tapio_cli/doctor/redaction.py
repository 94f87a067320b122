"""What leaves a cluster in a support bundle: structure, reasons and counts, and no value that could be a secret.

Secrets never enter the log. People put secrets where they don't belong all the same: into an environment variable, an
argument, an annotation, an address. Such values are replaced by rule, whether they look harmless or not.
"""

from __future__ import annotations

import re

from tapio_shared.json import JsonObject, JsonValue

REDACTED = "(redacted)"
_WHOLE = frozenset({"annotations", "podAnnotations", "args", "command", "config", "data", "stringData", "binaryData"})
"""Fields whose values, whatever they are, are left out; their names stay."""
_TELLING = re.compile(r"passw|secret|token|credential|apikey|api_key|private", re.IGNORECASE)
_REFERENCE = re.compile(r"(Ref|Name|Refs|Names|Secrets|secrets)$")
"""Fields that name a Secret, and hold none."""
_LOGIN = re.compile(r"(?<=://)[^/\s@\"']+(?=@)")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_ASSIGNED = re.compile(r"(?i)((?:passw\w*|secret|token|api_?key)[\"']?\s*[=:]\s*[\"']?)([^\s\"',}]+)")
_INVALID = re.compile(r"(Invalid value: )(\"(?:[^\"\\]|\\.)*\"|[^:\s]+)")
_PEM = re.compile(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", re.DOTALL)


def redacted(value: JsonValue, *, field: str = "") -> JsonValue:
    """`value` of the field of that name, without what could be a secret. Equal values stay equal: lists keep their
    length and objects their fields."""
    if isinstance(value, dict):
        if field in _WHOLE:
            return dict.fromkeys(value, REDACTED)
        return {name: redacted(one, field=name) for name, one in value.items() if name != "managedFields"}
    if isinstance(value, list):
        if field == "env":
            return [_variable(one) if isinstance(one, dict) else REDACTED for one in value]
        return [REDACTED if field in _WHOLE else redacted(one, field=field) for one in value]
    if isinstance(value, str):
        tells = _TELLING.search(field) and not _REFERENCE.search(field)
        return REDACTED if value and (field in _WHOLE or tells) else redacted_text(value)
    return value


def redacted_text(text: str) -> str:
    """A line of a log, or a message, without logins in addresses, tokens, passwords and keys."""
    text = _PEM.sub(REDACTED, text)
    text = _LOGIN.sub(REDACTED, text)
    text = _INVALID.sub(rf"\1{REDACTED}", text)  # An API server quotes what it refuses.
    text = _BEARER.sub(rf"\1 {REDACTED}", text)
    return _ASSIGNED.sub(rf"\1{REDACTED}", text)


def _variable(one: JsonObject) -> JsonObject:
    """An environment variable: its name, and where its value comes from; a value itself never."""
    return {name: REDACTED if name == "value" else value for name, value in one.items()}
