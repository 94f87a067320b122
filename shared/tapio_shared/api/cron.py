"""Cron schedules as the CronJob controller reads them: five fields, names for months and days, and the macros.

Checks, never computes: when a backup is due is CronJob's business. Refuses `TZ=` prefixes, as Kubernetes does; the
time zone has a field of its own.
"""

from __future__ import annotations

import re
from typing import Final

MACROS: Final = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")

_MONTHS: Final = {name: number for number, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
)}  # fmt: skip
_DAYS: Final = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_FIELDS: Final[tuple[tuple[str, int, int, dict[str, int]], ...]] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)
_NUMBER = re.compile(r"[0-9]{1,4}", re.ASCII)


def cron_fault(schedule: str) -> str | None:
    """What is wrong with `schedule`, as the rest of a sentence; None when it is a valid schedule."""
    if schedule.startswith("@"):
        return None if schedule in MACROS else f"{schedule} is none of {', '.join(MACROS)}"
    parts = schedule.split()
    if len(parts) != len(_FIELDS):
        return f"it has {len(parts)} fields and needs 5 (minute, hour, day of the month, month, day of the week)"
    for part, (name, low, high, names) in zip(parts, _FIELDS, strict=True):
        if not all(_is_term(term, low, high, names) for term in part.lower().split(",")):
            return f"its {name} {part!r} is not within {low}-{high}"
    return None


def _is_term(term: str, low: int, high: int, names: dict[str, int]) -> bool:
    span, slash, step = term.partition("/")
    if slash and not (_NUMBER.fullmatch(step) and int(step) > 0):
        return False
    if span in {"*", "?"}:
        return True
    first, dash, last = span.partition("-")
    start = _number(first, names)
    end = _number(last, names) if dash else start
    return start is not None and end is not None and low <= start <= end <= high


def _number(text: str, names: dict[str, int]) -> int | None:
    if text in names:
        return names[text]
    return int(text) if _NUMBER.fullmatch(text) else None
