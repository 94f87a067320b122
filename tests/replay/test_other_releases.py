"""Another release plans the same history in a process of its own: nothing of this one takes part."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from tapio_cli.history.codes import DIVERGED, IDENTICAL, UNUSABLE
from tapio_shared.json import JsonObject, int_at, list_at, objects_at, str_at
from tests.support.operator_in_process import NAMES
from tests.support.recorded_histories import recorded_history, write_archive

ROOT = Path(__file__).parents[2]
PLANNER = Path("services/reconciler/tapio_reconciler/core/planning.py")
NEXT = "0.2.0"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("history") / "a", recorded_history())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def wheel(folder: Path, *changes: tuple[Path, str, str]) -> Path:
    """A wheel of this tree with each first text replaced by the second."""
    tree = folder / "tree"
    for part in ("shared", "services", "cli", "pyproject.toml", "README.md"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tree / part if (ROOT / part).is_dir() else tree)
    for path, old, new in changes:
        text = (tree / path).read_text()
        assert text.count(old) == 1, f"{path} holds {old!r} {text.count(old)} times"
        (tree / path).write_text(text.replace(old, new))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(tree)], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def this_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel(tmp_path_factory.mktemp("this"))


@pytest.fixture(scope="module")
def next_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with another word for what is waited for."""
    return wheel(
        tmp_path_factory.mktemp("next"),
        (PLANNER, ' is ready."', ' has become ready."'),
        (Path("pyproject.toml"), 'version = "0.1.0"', f'version = "{NEXT}"'),
    )


def replay(
    release: str | Path, archive: Path, cache: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    # Asked from a folder that holds the code of this release, which must not get in the way of another's.
    command = [sys.executable, "-m", "tapio_cli", "replay", *arguments, "--from", str(archive)]
    command += ["--with", str(release), "--cache", str(cache), "-o", "json"]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, cwd=ROOT / "cli"
    )


def verdict(ended: subprocess.CompletedProcess[str]) -> JsonObject:
    return cast("JsonObject", json.loads(ended.stdout))


def test_the_wheel_of_this_tree_comes_to_the_same(archive: Path, cache: Path, this_release: Path) -> None:
    ended = replay(this_release, archive, cache)
    assert ended.returncode == IDENTICAL, ended.stderr
    found = verdict(ended)
    assert int_at(found, "identical") == int_at(found, "checked") > 0
    assert str_at(found, "planned_by") == "0.1.0"


def test_the_next_release_shows_what_it_would_have_decided_otherwise(
    archive: Path, cache: Path, next_release: Path
) -> None:
    ended = replay(next_release, archive, cache)
    assert ended.returncode == DIVERGED, ended.stderr
    found = verdict(ended)
    assert str_at(found, "planned_by") == NEXT
    first = objects_at(found, "divergences")[0]
    assert str_at(first, "key") in {f"local/default/{name}" for name in NAMES}
    lines = [str(line) for line in list_at(first, "differences")]
    assert any(line.startswith("-") and line.endswith(" is ready.") for line in lines)
    assert any(line.startswith("+") and line.endswith(" has become ready.") for line in lines)


def test_one_cluster_alone_is_asked_about(archive: Path, cache: Path, next_release: Path) -> None:
    found = verdict(replay(next_release, archive, cache, f"default/{NAMES[0]}"))
    assert int_at(found, "keys") == 1


def test_a_version_is_installed_from_the_index_of_pip(archive: Path, tmp_path: Path, next_release: Path) -> None:
    ended = replay(NEXT, archive, tmp_path, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(next_release.parent))
    assert ended.returncode == DIVERGED, ended.stderr
    again = replay(NEXT, archive, tmp_path, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    assert again.stdout == ended.stdout, "it stays installed, so the index is not asked again"


@pytest.mark.parametrize(
    ("release", "message"),
    [
        pytest.param("missing.whl", "There is no file missing.whl.", id="a wheel that is not there"),
        pytest.param("; rm -rf /", "'; rm -rf /' is no version.", id="no version"),
        pytest.param("99.0.0", "99.0.0 can't be installed. pip says:", id="a version that nobody has"),
    ],
)
def test_a_release_that_can_not_be_had_is_no_verdict(release: str, message: str, archive: Path, tmp_path: Path) -> None:
    ended = replay(release, archive, tmp_path, PIP_NO_INDEX="1")
    assert (ended.returncode, ended.stdout) == (UNUSABLE, "")
    assert ended.stderr.startswith(f"tapioctl: {message}")
