"""`replay --with`: the same archive, planned again by another release of the operator, in a process of its own.

A release is a wheel, or a version that pip finds in the index it is set to. Each is installed once, in an environment
that sees the packages of this one: pip adds what the release needs beyond them. What passes between the two processes
is an archive, the arguments of `tapioctl replay` and its JSON, so that a release needs to know nothing of this one.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tapio_cli.history.replay import Summary
from tapio_shared.errors import InvalidSettings, TerminalError
from tapio_shared.keys import OrderingKey

PACKAGE = "tapio-operator"
_VERSION = re.compile(r"[0-9][0-9a-zA-Z.!+-]*", re.ASCII)
_INSTALLED = "installed"
"""A file in an environment that is complete."""
_LAST_LINES = 5


class ReleaseUnusable(TerminalError):
    """A release can't be installed, or did not answer; the sentence says why."""


def replay_with(
    release: str, path: Path, keys: Sequence[OrderingKey], *, target: str, jobs: int, cache: Path
) -> Summary:
    """What `release` makes of the archive in `path`; installed under `cache` when it is not there yet."""
    python = _installed(release, cache)
    command = [str(python), "-I", "-m", "tapio_cli", "replay", *(f"{one.namespace}/{one.name}" for one in keys)]
    command += ["--from", str(path.resolve()), "--target", target, "--jobs", str(jobs), "--output", "json"]
    # Its progress and its errors are shown as they come; its answer is ours to show.
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    try:
        return msgspec.json.decode(ended.stdout, type=Summary)
    except msgspec.DecodeError as err:
        raise ReleaseUnusable(
            f"{release} gave no verdict (exit code {ended.returncode}); what it said stands above. A release reads "
            "archives of its own time and older ones."
        ) from err


def _installed(release: str, cache: Path) -> Path:
    """The Python of an environment that holds `release`."""
    requirement, name = _requirement(release)
    folder = cache / "releases" / f"{name}-py{sysconfig.get_python_version()}"
    python = folder / "bin" / "python"
    if (folder / _INSTALLED).is_file():
        return python
    shutil.rmtree(folder, ignore_errors=True)  # One that was not finished.
    venv.create(folder, with_pip=False, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--disable-pip-version-check",
        requirement,
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        said = "\n".join((ended.stderr or ended.stdout).strip().splitlines()[-_LAST_LINES:])
        raise ReleaseUnusable(f"{release} can't be installed. pip says:\n{said}\nName a wheel, or set pip's index.")
    (folder / _INSTALLED).touch()
    return python


def _requirement(release: str) -> tuple[str, str]:
    """What pip is asked for, and the name of the environment: a wheel's by its content, so that none is taken for
    another of the same version."""
    path = Path(release)
    if release.endswith(".whl"):
        if not path.is_file():
            raise InvalidSettings(f"There is no file {release}. Name a wheel of {PACKAGE}, or a version such as 0.2.0.")
        return str(path.resolve()), f"wheel-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    if _VERSION.fullmatch(release) is None:
        raise InvalidSettings(f"{release!r} is no version. Name one, such as 0.2.0, or the file of a wheel.")
    return f"{PACKAGE}=={release}", release
