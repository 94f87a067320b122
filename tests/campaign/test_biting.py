"""The planted bugs still fit the source, and some that are quickly found are found (`make campaign-bites`: all)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.campaign.biting import PLANTED, ROOT, WITHIN, bite, meaning_of, names, plant

LEAST = 12
QUICK = {
    "apply-before-the-decision": "not recorded before: PATCH local /apis/tapio.io/v1alpha1/",
    "no-fencing": "was recorded under epoch",
}


@pytest.mark.parametrize("name", names())
def test_a_planted_bug_still_fits_the_source(name: str) -> None:
    assert meaning_of(name).endswith("."), "the first line says what the bug is"
    command = ["git", "apply", "--check", str(PLANTED / f"{name}.patch")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{name} does not fit any more; plant it anew.\n{ended.stderr}"


def test_there_are_enough_of_them() -> None:
    assert len(names()) >= LEAST


def test_a_patch_that_does_not_fit_fails_loudly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rotten = tmp_path / "planted"
    rotten.mkdir()
    text = (PLANTED / "no-fencing.patch").read_text().replace("expected_last", "expected_first")
    (rotten / "no-fencing.patch").write_text(text)
    monkeypatch.setattr("tests.campaign.biting.PLANTED", rotten)
    with pytest.raises(subprocess.CalledProcessError):
        plant("no-fencing", tmp_path / "tree")


@pytest.mark.parametrize("name", sorted(QUICK))
def test_a_planted_bug_is_found(name: str) -> None:
    found = bite(name, last=6)
    assert found.seed is not None, f"not found in 6 seeds: {name}"
    assert QUICK[name] in found.law


@pytest.mark.campaign
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", names())
def test_campaign_each_planted_bug_is_found(name: str) -> None:
    assert bite(name).seed is not None, f"not found in {WITHIN} seeds"
