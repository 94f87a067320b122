"""What the official fixtures of the Pod Security Standards say, beside what `tapio_simulator.pod_security` says.

A fixture is a pod in `<level>/v1.<minor>/{pass,fail}/<rule><number>.yaml`. One that fails is to be refused by the rule
that it is named after, or by the stricter one that stands in for it at its level.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml

from tapio_shared.json import JsonObject, object_at
from tapio_simulator.pod_security import NEWEST, OLDEST, violations

_LEVELS = ("baseline", "restricted")
_STANDS_IN = {
    "capabilities_baseline": "capabilities_restricted",
    "hostpathvolumes": "restrictedvolumes",
    "procmount": "procmount_restricted",
    "seccompprofile_baseline": "seccompprofile_restricted",
}
"""Rule of `baseline` -> the one that `restricted` judges by instead."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many fixtures are judged as they say, and a sentence for each that is not."""

    admitted: int
    refused: int
    complaints: tuple[str, ...]


def judge(checkout: Path) -> Verdict:
    """Judge every fixture of the versions that are supported, wherever below `checkout` they are."""
    admitted = refused = 0
    complaints: list[str] = []
    for level, minor, path in _fixtures(checkout):
        pod = cast("JsonObject", yaml.safe_load(path.read_text()))
        found = {
            one.rule.lower()
            for one in violations(level, f"v1.{minor}", object_at(pod, "spec"), object_at(pod, "metadata"))
        }
        rule = path.stem.rstrip("0123456789")
        where = f"{level}/v1.{minor}/{path.parent.name}/{path.name}"
        if path.parent.name == "pass":
            admitted += not found
            if found:
                complaints.append(f"{where} is refused by {', '.join(sorted(found))}, and is to be admitted.")
        elif {rule, _STANDS_IN.get(rule, rule)} & found:
            refused += 1
        else:
            by = f"refused by {', '.join(sorted(found))} alone" if found else "admitted"
            complaints.append(f"{where} is {by}, and is to be refused by {rule}.")
    return Verdict(admitted, refused, tuple(complaints))


def _fixtures(checkout: Path) -> Iterator[tuple[str, int, Path]]:
    """(level, minor version, file) of each fixture."""
    for folder in sorted(checkout.rglob("test/testdata")):
        for level in _LEVELS:
            for minor in range(OLDEST, NEWEST + 1):
                for path in sorted((folder / level / f"v1.{minor}").glob("*/*.yaml")):
                    yield level, minor, path
