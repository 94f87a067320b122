"""The section of docs/benchmarks.md that `make bench-peers` writes: ratios within a round, the median over rounds."""

from __future__ import annotations

import pytest

from benchmarks.peers.measuring import Measurement, Setting
from benchmarks.peers.report import BEGIN, END, Report, Run, replace_section

_SETTING = Setting(against="simulator", latency=20, clusters=200, changes=50, seconds=10, drift=0.01)
_RUN = Run(machine="a machine", cores=2, python="3.11.7", began="2026-11-29 20:00 UTC", commit="abc")


def _measured(subject: str, number: int, burst: float, cpu: dict[str, float]) -> Measurement:
    return Measurement(
        setting=_SETTING,
        subject=subject,
        round=number,
        burst=burst,
        writes=7_000,
        cpu={**cpu, "simulator": 20.0},
        steady=[0.01, 0.02, 0.03],
        steady_cpu=5.0,
        drift=[0.1, 0.2],
        restart=4.0,
        restart_writes=0,
        memory=dict.fromkeys(cpu, 80.0),
    )


_WORKERS = {"watcher": 4.0, "nats-server": 2.0, "reconciler-0": 6.0, "reconciler-1": 5.0}
_MEASURED = [
    _measured("limit", 0, 2.0, {}),
    _measured("2", 0, 3.0, _WORKERS),
    _measured("2", 1, 9.0, _WORKERS),
    _measured("limit", 1, 9.0, {}),
    _measured("limit", 2, 4.0, {}),
    _measured("2", 2, 5.0, _WORKERS),
]


def test_the_ratio_is_taken_within_a_round_and_the_middle_one_told() -> None:
    rows = Report(_RUN, _MEASURED).markdown().splitlines()
    assert rows[0] == "2026-11-29 20:00 UTC, 2 cores (a machine), Python 3.11.7, commit abc."
    assert "### 200 clusters, simulator, +20 ms; 3 rounds" in rows
    assert "| burst until all is there | 4.00 s | 5.00 s |" in rows
    assert "| **x the limit of its round** | **1.00** | **1.25** |" in rows


def test_workers_are_taken_together_and_the_api_server_is_not_the_subjects() -> None:
    rows = Report(_RUN, _MEASURED).markdown().splitlines()
    assert "| CPU per cluster |  | 17.0 ms |" in rows
    assert "| by process |  | watcher 4.0<br>nats-server 2.0<br>workers 11.0 |" in rows
    assert "| CPU of the API server per cluster | 20.0 ms | 20.0 ms |" in rows
    assert "| peak memory |  | watcher 80 MiB<br>nats-server 80 MiB<br>workers 80 MiB |" in rows


def test_only_what_is_between_the_markers_is_replaced() -> None:
    assert replace_section(f"above {BEGIN} old {END} below", "new") == f"above {BEGIN}\n\nnew\n\n{END} below"


def test_a_document_without_markers_is_left_alone() -> None:
    with pytest.raises(ValueError, match="has lost its markers"):
        replace_section("above below", "new")
