"""What `spec.nats.config` can say in the language of NATS' configuration, of which JSON is nearly a subset.

Says nothing of what a setting means: only the server knows its settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tapio_shared.api.problems import Path, Problem, key_problem, problem
from tapio_shared.json import JsonValue

_LARGEST = 2**63
_UNWRITABLE = re.compile(r'["\\\x00-\x1f]')
"""A key in quotes ends at the next quote, and knows no escapes."""


def config_problems(value: JsonValue, path: Path) -> Iterator[Problem]:
    """Keys and numbers under `path` that no server can read. Texts are not repeated: they may be passwords."""
    match value:
        case dict():
            for key, child in value.items():
                if _UNWRITABLE.search(key):
                    yield key_problem((*path, key), "without quotes, backslashes and line ends, which NATS can't read")
                else:
                    yield from config_problems(child, (*path, key))
        case list():
            for index, child in enumerate(value):
                yield from config_problems(child, (*path, index))
        case int() | float() if abs(value) >= _LARGEST:
            yield problem(path, value, "a number between -9223372036854775807 and 9223372036854775807")
        case _:
            pass
