"""The part of JSONPath that printer columns and scale paths use: fields, indexes, `[*]` and `[?(@.a=="b")]` filters."""

from __future__ import annotations

import re
from functools import lru_cache

from tapio_shared.json import JsonValue, at

_STEP = re.compile(
    r"""\.(?P<field>(?:[A-Za-z0-9_\-/]|\\\.)+)"""
    r"""|\[(?P<index>-?\d+)\]"""
    r"""|\[(?P<all>\*)\]"""
    r"""|\[['"](?P<quoted>[^'"]+)['"]\]"""
    r"""|\[\?\(@\.(?P<key>[A-Za-z0-9_.\-]+)\s*==\s*['"](?P<value>[^'"]*)['"]\)\]"""
)


@lru_cache(maxsize=512)
def _steps(path: str) -> tuple[re.Match[str], ...]:
    text = path.strip("{} ").removeprefix("$")
    text = text if text.startswith((".", "[")) else f".{text}"
    return tuple(_STEP.finditer(text))


def values_at(document: JsonValue, path: str) -> list[JsonValue]:
    """Every value that `path` finds, in order; empty when there is none."""
    found: list[JsonValue] = [document]
    for step in _steps(path):
        following: list[JsonValue] = []
        for node in found:
            if (name := step["field"] or step["quoted"]) is not None:
                name = name.replace("\\.", ".")
                if isinstance(node, dict) and name in node:
                    following.append(node[name])
            elif not isinstance(node, list):
                continue
            elif step["index"] is not None:
                index = int(step["index"])
                if -len(node) <= index < len(node):
                    following.append(node[index])
            elif step["all"]:
                following.extend(node)
            else:
                following.extend(item for item in node if at(item, *step["key"].split(".")) == step["value"])
        found = following
    return found
