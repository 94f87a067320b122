"""Histories that were recorded once still come out as they were decided; the one that was tampered with does not.

One that fails says what this change of the planner would do to clusters that run. Was that meant, then
`make golden-histories` records them anew, and what `tapioctl replay` says of the old ones belongs into the review; a
change of order or of retries belongs under a new revision of the rules (ADR 0016).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from tapio_cli.history.archive import Archive
from tapio_cli.history.codes import DIVERGED, IDENTICAL
from tapio_shared.json import JsonObject, int_at, list_at, object_at, objects_at
from tests.replay.golden.__main__ import FOLDER, RECORDED, TAMPERED, USER
from tests.support.operator_in_process import NAMES


def tapioctl(*arguments: str, golden: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tapio_cli", *arguments, "--from", str(FOLDER / f"{golden}.tapio")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def decisions(path: Path) -> int:
    return sum(1 for one in Archive.open(path).messages() if one.subject.endswith(".decision"))


@pytest.mark.parametrize("golden", RECORDED)
def test_what_was_decided_is_decided_again(golden: str) -> None:
    ended = tapioctl("replay", "-o", "json", golden=golden)
    found = cast("JsonObject", json.loads(ended.stdout))
    assert objects_at(found, "divergences") == []
    assert (ended.returncode, object_at(found, "skipped")) == (IDENTICAL, {})
    assert int_at(found, "identical") == decisions(FOLDER / f"{golden}.tapio") > 0


def test_a_tampered_decision_is_found_with_the_fields_that_differ() -> None:
    ended = tapioctl("replay", "-o", "json", golden=TAMPERED)
    found = cast("JsonObject", json.loads(ended.stdout))
    assert (ended.returncode, int_at(found, "diverged")) == (DIVERGED, 1)
    assert int_at(found, "identical") == decisions(FOLDER / f"{TAMPERED}.tapio") - 1
    added = [str(line) for line in list_at(found, "divergences", 0, "differences") if str(line).startswith("+")]
    assert any(line.startswith("+- component: ") or "  component: " in line for line in added)


def test_a_person_is_shown_it_too() -> None:
    ended = tapioctl("replay", golden=TAMPERED)
    assert ended.returncode == DIVERGED
    assert "comes out differently:" in ended.stdout
    assert ended.stdout.splitlines()[-1].startswith("1 of ")


def test_whoever_asked_is_named_from_the_archive_alone() -> None:
    ended = tapioctl("history", f"default/{NAMES[0]}", "-o", "json", golden="edited-by-hand")
    events = cast("list[JsonObject]", json.loads(ended.stdout))
    assert [one["user"] for one in events if one["what"] == "admission"] == [USER, USER]
    told = tapioctl("explain", f"default/{NAMES[0]}", golden="edited-by-hand")
    assert f"by {USER} (probably: the webhook admitted this spec)" in told.stdout
