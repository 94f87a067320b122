"""Proof that the campaign bites: each planted bug is put into a copy of the tree, and the campaign must find it there.

`python -m tests.campaign.biting [NAME …]`; without names all of them, which takes long.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLANTED = Path(__file__).parent / "planted"
WITHIN = 500
"""Seeds within which a planted bug must be found."""
_SOURCES = (
    "shared",
    "services/watcher",
    "services/reconciler",
    "services/streams",
    "services/webhook",
    "services/simulator",
    "cli",
)
_COPIED = (*_SOURCES, "tests/campaign", "tests/support", "deploy/operator", "crds", "examples")
_FOUND = re.compile(r"^seed (\d+): BROKEN.*\n(?:  law: (.*)\n)?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Bite:
    """What the campaign made of one planted bug."""

    name: str
    seed: int | None
    """The seed that found it; None when none did."""
    law: str
    """What it broke first."""
    seconds: float


def names() -> list[str]:
    """Every planted bug."""
    return sorted(path.stem for path in PLANTED.glob("*.patch"))


def meaning_of(name: str) -> str:
    """The first line of a patch says what the bug is."""
    return (PLANTED / f"{name}.patch").read_text().partition("\n")[0]


def plant(name: str, folder: Path) -> None:
    """Put the tree with the bug into `folder`. `CalledProcessError` when the patch does not fit the source any more."""
    for source in _COPIED:
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(ROOT / source, folder / source, ignore=ignored, dirs_exist_ok=True)
    (folder / "tests/__init__.py").touch()
    command = ["git", "apply", "--whitespace=nowarn", str(PLANTED / f"{name}.patch")]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


def bite(name: str, *, first: int = 1, last: int = WITHIN, jobs: int = 1) -> Bite:
    """Run the campaign on a tree with the bug until a seed finds it: one that breaks no law where the bug is not."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=f"tapio-{name}-") as given:
        folder = Path(given)
        plant(name, folder)
        while first <= last:
            seed, law = _broken(folder, f"{first}-{last}", jobs)
            if seed is None:
                break
            if _broken(ROOT, str(seed), 1)[0] is None:
                return Bite(name, seed, law, time.perf_counter() - began)
            print(f"seed {seed} breaks a law without {name} too", file=sys.stderr, flush=True)
            first = seed + 1
    return Bite(name, None, "", time.perf_counter() - began)


def _broken(folder: Path, seeds: str, jobs: int) -> tuple[int | None, str]:
    """The first of `seeds` that breaks a law in the tree `folder`, and which law; None when none does."""
    path = os.pathsep.join(str(folder / source) for source in _SOURCES)
    ended = subprocess.run(
        [sys.executable, "-m", "tests.campaign", seeds, "--stop", "--jobs", str(jobs)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = _FOUND.search(ended.stdout)
    if found is None and "schedules in" not in ended.stdout:
        raise RuntimeError(f"The campaign itself failed in {folder}: {ended.stderr[-2_000:]}")
    return (None, "") if found is None else (int(found[1]), found[2] or "")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.biting", description=__doc__)
    parser.add_argument("names", nargs="*", help="planted bugs (default: all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--within", type=int, default=WITHIN, help=f"seeds at most (default {WITHIN})")
    given = parser.parse_args()
    chosen = given.names or names()
    missed: list[str] = []
    for number, name in enumerate(chosen, start=1):
        print(f"[{number}/{len(chosen)}] {name}: {meaning_of(name)}", file=sys.stderr, flush=True)
        found = bite(name, last=given.within, jobs=given.jobs)
        if found.seed is None:
            missed.append(name)
        result = f"not found in {given.within} seeds" if found.seed is None else f"seed {found.seed}: {found.law:.150}"
        print(f"{name:32} {found.seconds:6.0f} s  {result}", flush=True)
    if missed:
        print(f"Not found: {', '.join(missed)}. The campaign does not bite there.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
