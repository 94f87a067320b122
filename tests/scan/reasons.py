"""Why a failed check of the scan may fail: skips.yaml, and what is left when it is applied."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import yaml

SKIPS: Final = Path(__file__).parent / "skips.yaml"


@dataclass(frozen=True, slots=True)
class Failure:
    """A check that failed: its identifier, what it wants, on what (Kind/component), in which example."""

    check: str
    wants: str
    where: str
    example: str


@dataclass(frozen=True, slots=True)
class Skip:
    """A check that may fail where a pattern matches, and why."""

    check: str
    where: str
    reason: str

    def covers(self, failure: Failure) -> bool:
        """Whether this is the reason of `failure`."""
        return failure.check == self.check and re.fullmatch(self.where, failure.where) is not None


def read_skips(path: Path) -> list[Skip]:
    """The skips in a file. Each must give a reason of some length."""
    entries = cast("list[dict[str, str]]", yaml.safe_load(path.read_text()))
    skips = [Skip(one["check"], one["where"], one["reason"].strip()) for one in entries]
    for skip in skips:
        if len(skip.reason.split()) < 5:
            raise ValueError(f"{path.name}: {skip.check} on {skip.where} is skipped without a reason.")
    return skips


def judged(failures: Sequence[Failure], skips: Sequence[Skip]) -> list[str]:
    """A sentence for each failure without a reason, and for each reason that no failure needs."""
    unexplained = [
        f"{one.example}: {one.where} fails {one.check} ({one.wants}). Mend it, or give a reason in {SKIPS.name}."
        for one in failures
        if not any(skip.covers(one) for skip in skips)
    ]
    stale = [
        f"{SKIPS.name}: nothing fails {skip.check} on {skip.where} any more. Remove the line."
        for skip in skips
        if not any(skip.covers(one) for one in failures)
    ]
    return unexplained + stale
