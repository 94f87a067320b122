"""Judges the official fixtures of the Pod Security Standards: `make pod-security FIXTURES=FOLDER`.

No package of PyPI, npm or Debian holds them, so FOLDER is a checkout of kubernetes/pod-security-admission, or of
kubernetes/kubernetes, that somebody has.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.pod_security.fixtures import judge


def main(arguments: Sequence[str]) -> int:
    """Judge all fixtures below the given folder; 0 when there are some and each is judged as it says."""
    if len(arguments) != 1 or not arguments[0]:
        sys.stdout.write("Name a checkout of kubernetes/pod-security-admission: make pod-security FIXTURES=FOLDER\n")
        return 2
    verdict = judge(Path(arguments[0]))
    for complaint in verdict.complaints:
        sys.stdout.write(f"{complaint}\n")
    sys.stdout.write(
        f"{verdict.admitted} pods admitted and {verdict.refused} refused as the fixtures say, "
        f"{len(verdict.complaints)} otherwise.\n"
    )
    return 0 if not verdict.complaints and verdict.admitted and verdict.refused else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
