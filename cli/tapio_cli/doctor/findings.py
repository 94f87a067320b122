"""One check's answer."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

AREA = "operator"
"""What the checks of the operator itself are about."""


class Verdict(StrEnum):
    """What a check comes to. `unknown` is never taken for `ok`."""

    OK = "ok"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, what was found, and what to do about it: empty when there is nothing to do."""

    area: str
    check: str
    verdict: Verdict
    evidence: str
    next_step: str = ""


def finding(area: str, check: str, problems: Sequence[str], *, ok: str, next_step: str) -> Finding:
    """A problem with everything that was found, or `ok`."""
    if problems:
        evidence = " ".join(problems)
        return Finding(area=area, check=check, verdict=Verdict.PROBLEM, evidence=evidence, next_step=next_step)
    return Finding(area=area, check=check, verdict=Verdict.OK, evidence=ok)


def unknown(area: str, check: str, why: str, next_step: str = "") -> Finding:
    """A check that could not be made."""
    return Finding(area=area, check=check, verdict=Verdict.UNKNOWN, evidence=why, next_step=next_step)
