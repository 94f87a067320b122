"""Every history that a test run records is planned again at its end: in other processes, under two hash seeds.

A plugin of pytest, loaded by tests/conftest.py; a decision that does not come out again fails the run. As a module it
is such a process.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tapio_cli.history.replay import Summary, replay
from tests.support.kept import HISTORIES
from tests.support.recorded_histories import write_archive

ROOT = Path(__file__).parents[2]
HASH_SEEDS = ("0", "4711")


@pytest.fixture(scope="session", autouse=True)
def every_recorded_decision_replays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Replay all that was kept, once under each hash seed, when everything else is done."""
    yield
    paths = _archives(tmp_path_factory.mktemp("histories"))
    started = [_replaying(paths, seed) for seed in HASH_SEEDS if paths]
    for process, seed in zip(started, HASH_SEEDS, strict=False):
        answer, _ = process.communicate()
        assert process.returncode == 0, f"the replay under PYTHONHASHSEED={seed} ended with {process.returncode}"
        found = msgspec.json.decode(answer, type=list[Summary])
        different = [one.divergences for one in found if one.diverged]
        assert not different, f"under PYTHONHASHSEED={seed} decisions came out differently: {different}"
        assert sum(one.identical for one in found) > 0, "nothing of what was recorded could be checked"


def _archives(folder: Path) -> list[str]:
    """What was kept as archives; the same history is recorded by several modules and replayed once."""
    known: dict[str, str] = {}
    for number, messages in enumerate(HISTORIES):
        if any(message.subject.endswith(".decision") for message in messages):
            path = write_archive(folder / f"{number}.tapio", messages)
            known.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), str(path))
    return list(known.values())


def _replaying(paths: list[str], seed: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.support.replayed_everywhere", *paths]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode([replay(Path(path), jobs=1) for path in sys.argv[1:]]))
