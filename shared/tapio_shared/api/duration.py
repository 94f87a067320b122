"""Durations as Kubernetes users write them: Go's notation, `30s`, `24h`, `1h30m`.

Refuses signs, fractions and units below the millisecond: no setting of this API has a use for them, and Prometheus,
which is handed some of these texts, refuses them too.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

DURATION_PATTERN: Final = r"^([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?$"
"""Also stands in the CRDs. Each unit once, the largest first, as Prometheus has it."""

MAX_LENGTH: Final = 32

_PART = re.compile(r"([0-9]{1,9})(ms|h|m|s)", re.ASCII)
_WHOLE = re.compile(DURATION_PATTERN, re.ASCII)
_UNIT: Final = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


def parse_duration(text: str) -> timedelta:
    """The span that `text` names. Raises ValueError when it is no duration of this notation."""
    if not text or len(text) > MAX_LENGTH or _WHOLE.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a duration such as 30s, 15m or 1h30m.")
    return timedelta(milliseconds=sum(int(count) * _UNIT[unit] for count, unit in _PART.findall(text)))


def is_duration(text: str) -> bool:
    """Whether `parse_duration` can read it."""
    try:
        parse_duration(text)
    except (ValueError, OverflowError):
        return False
    return True
