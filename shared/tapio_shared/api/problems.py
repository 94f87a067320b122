"""What is wrong with a resource, said so that the person who wrote it can put it right at once.

A problem's message is one whole sentence with the path, the value and what is allowed. Values that may be secret
(environment variables, header values, credentials in an address) are never repeated: the message ends up in logs.
Nor is anything repeated at length: the message must fit into a condition whatever the spec holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from tapio_shared.api.reasons import Reason
from tapio_shared.json import JsonValue

MAX_PROBLEMS: Final = 200
"""Problems that one validation looks for: a hostile spec of 100,000 unknown keys must not hold up the webhook."""

MAX_SHOWN: Final = 40
"""Problems that one answer spells out; a condition's message holds at most 32,768 bytes."""

MAX_MESSAGE: Final = 700
"""Characters of one problem's sentence in an answer: MAX_SHOWN of them fit into a condition's message."""

HIDDEN: Final = "(not shown)"
_MAX_VALUE: Final = 80
_HUGE: Final = 10**20
_SECRET_LISTS: Final = ("env", "httpHeaders")
_NOT_SECRET: Final = ("name", "valueFrom")
_KEYED_BY_PEOPLE: Final = ("labels", "annotations", "podLabels", "podAnnotations", "nodeSelector", "matchLabels")
"""Where "env" is a key that somebody chose, not the list of environment variables."""
_ADDRESSES: Final = ("url", "issuerURL", "jwksURL", "otlpEndpoint", "endpoints")
_IDENTIFIER = re.compile(rf"[A-Za-z0-9_-]{{1,{_MAX_VALUE}}}", re.ASCII)
_USER_INFO = re.compile(r"://\S*@")
_USER_INFO_IN_ADDRESS = re.compile(r"((?:^|,)\s*(?:[A-Za-z]+:?//)?)[^,]*@")
"""Everything up to the last @ of each address: a password may hold any character, and the scheme may be missing."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, the value found (None when absent), a sentence, and the condition's reason."""

    path: str
    value: JsonValue
    message: str
    reason: Reason = Reason.INVALID_SPEC


Path = tuple[str | int, ...]


def problem(path: Path, value: JsonValue, allowed: str, reason: Reason = Reason.INVALID_SPEC) -> Problem:
    """The problem that the value at `path` must be something else; `allowed` ends "it must be ..."."""
    where = path_text(path)
    return Problem(where, shown(path, value), f"{where} is {value_text(path, value)}; it must be {allowed}.", reason)


def key_problem(path: Path, allowed: str) -> Problem:
    """The problem that an object has the key that `path` ends with; `allowed` ends "a key must be ..."."""
    owner, key = path_text(path[:-1]), path[-1]
    return Problem(path_text(path), key, f"{owner} has the key {value_text((), key)}; a key must be {allowed}.")


def unknown_field(path: Path, value: JsonValue, allowed: Sequence[str]) -> Problem:
    """The problem that `path` names no field; the nearest of the `allowed` names is suggested."""
    where = path_text(path)
    near = get_close_matches(str(path[-1])[:_MAX_VALUE], allowed, n=1, cutoff=0.6) or [
        name for name in allowed if name.lower() == str(path[-1]).lower().replace("_", "")
    ]
    hint = f"did you mean {near[0]}?" if near else f"allowed here: {', '.join(sorted(allowed))}."
    return Problem(
        where, shown(path, value), f"{where} is {value_text(path, value)}, but there is no such field; {hint}"
    )


def path_text(path: Path) -> str:
    """`spec.nats.env[0].name`; a key that is no plain word stands in quotes: `labels["a b"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _IDENTIFIER.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{_quoted(step)}]"
    return text


def shown(path: Path, value: JsonValue) -> JsonValue:
    """`value` as it may be repeated to people."""
    if _is_secret(path):
        return HIDDEN
    if not isinstance(value, str):
        return value
    if any(step in _ADDRESSES for step in path[-2:]):
        return _USER_INFO_IN_ADDRESS.sub(r"\1***@", value)
    return _USER_INFO.sub("://***@", value)


def value_text(path: Path, value: JsonValue) -> str:
    """`value` in a sentence: scalars as JSON, cut when long; lists and objects by their size."""
    match value:
        case list(entries):
            return f"a list of {len(entries)}"
        case dict():
            return "an object"
        case None:
            return "not set"
        case _ if _is_secret(path):
            return HIDDEN
        case str():
            return _quoted(str(shown(path, value)))
        case bool(flag):
            return "true" if flag else "false"
        case number:
            return str(number) if abs(number) < _HUGE else "a very large number"


def one_answer(problems: Iterable[Problem]) -> str:
    """All problems as one text: the webhook's denial and the condition Stalled say the same."""
    messages = [_cut(entry.message, MAX_MESSAGE) for entry in problems]
    if len(messages) <= 1:
        return "".join(messages)
    numbered = [f"({number}) {message}" for number, message in enumerate(messages[:MAX_SHOWN], start=1)]
    rest = f" … and {len(messages) - MAX_SHOWN} more." if len(messages) > MAX_SHOWN else ""
    least = "At least " if len(messages) >= MAX_PROBLEMS else ""
    return f"{least}{len(messages)} things are wrong: {' '.join(numbered)}{rest}"


def _is_secret(path: Path) -> bool:
    """Whether the value at `path` may be an environment variable's or a header's, however the list is misshapen."""
    for index, step in enumerate(path):
        if step in _SECRET_LISTS and not (index and path[index - 1] in _KEYED_BY_PEOPLE):
            field = path[index + 2 : index + 3]
            return not field or field[0] not in _NOT_SECRET
    return False


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def _quoted(text: str) -> str:
    return json.dumps(_cut(text, _MAX_VALUE), ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
