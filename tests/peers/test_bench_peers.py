"""`make bench-peers` at its smallest: every subject does the same work, to the last child, and none of it twice."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.peers.measuring import Measurement
from benchmarks.peers.report import Run

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]
_CLUSTERS = 4


async def test_every_subject_writes_the_same_and_nothing_after_a_restart(tmp_path: Path) -> None:
    kept = tmp_path / "measured.jsonl"
    options = f"--clusters {_CLUSTERS} --latency 5 --workers 2 --seconds 1 --changes 4 --drift 0.1 --no-write"
    command = [sys.executable, "-m", "benchmarks.peers", "--python", os.environ["TAPIO_PEERS_PYTHON"]]
    process = await asyncio.create_subprocess_exec(*command, *options.split(), "--keep", str(kept))
    assert await process.wait() == 0
    run, *lines = kept.read_bytes().splitlines()
    assert msgspec.json.decode(run, type=Run).cores == os.cpu_count()
    measured = {one.subject: one for one in (msgspec.json.decode(line, type=Measurement) for line in lines)}
    assert list(measured) == ["limit", "kopf", "2"]
    # Creation, 31 children, finalizer and status; kopf's annotation and our second status come on top.
    assert measured["limit"].writes == 34 * _CLUSTERS
    assert measured["kopf"].writes == 35 * _CLUSTERS
    assert 34 * _CLUSTERS < measured["2"].writes <= 36 * _CLUSTERS
    for subject in ("kopf", "2"):
        assert measured[subject].restart_writes == 0, subject
        assert len(measured[subject].steady) == 4
        assert len(measured[subject].drift) == len(measured["limit"].drift) > 0
    assert set(measured["kopf"].memory) == {"kopf"}
    assert set(measured["2"].memory) == {"nats-server", "watcher", "reconciler-0", "reconciler-1"}
