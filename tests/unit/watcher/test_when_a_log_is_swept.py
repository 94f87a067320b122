"""When a sweep is due, how much it takes at once, and which log it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tapio_shared.facts import Synced
from tapio_shared.ports import LogInfo
from tapio_watcher.entries import Known
from tapio_watcher.generation import Remembered, generation_of, went_backwards
from tapio_watcher.sweeping import at_once, lost_below, sweep_below

DAY = 86_400_000

INFO = LogInfo(
    created_at="2026",
    first_sequence=1_001,
    last_sequence=2_000,
    messages=1_000,
    bytes=80,
    max_bytes=100,
    max_age=30 * DAY / 1000,
    partitions=4,
)


def live(sequence: int, age_in_days: float = 0.0) -> Known:
    return Known(sequence, b"digest", "u-1", int((100 - age_in_days) * DAY))


@pytest.mark.parametrize(
    ("given_info", "facts", "below"),
    [
        pytest.param(INFO, [], 0, id="nothing lives"),
        pytest.param(replace(INFO, bytes=70), [live(1_001)], 0, id="there is room"),
        pytest.param(INFO, [live(1_001), live(1_900)], 1_251, id="the oldest eighth holds something live"),
        pytest.param(INFO, [live(1_200)], 0, id="the oldest quarter alone does not hurry"),
        pytest.param(replace(INFO, max_bytes=-1), [live(1_001)], 0, id="no limit of bytes"),
        pytest.param(
            replace(INFO, bytes=1), [live(1_001, 27), live(1_100, 23), live(1_500, 1)], 1_101, id="old by age"
        ),
        pytest.param(replace(INFO, bytes=1), [live(1_001, 23)], 0, id="not old enough"),
        pytest.param(replace(INFO, bytes=1, max_age=0), [live(1_001, 90)], 0, id="no limit of age"),
    ],
)
def test_when_a_sweep_is_due(given_info: LogInfo, facts: list[Known], below: int) -> None:
    assert sweep_below(given_info, facts, 100 * DAY) == below


@pytest.mark.parametrize(
    ("first", "complete_from", "below"),
    [
        pytest.param(1_001, 1_126, 0, id="an eighth ahead"),
        pytest.param(1_001, 1_125, 1_251, id="the log's beginning comes near"),
        pytest.param(1_001, 1_000, 1_251, id="the log has passed it"),
        pytest.param(1, 1, 0, id="nothing was ever dropped"),
    ],
)
def test_what_is_vouched_for_stays_ahead_of_the_beginning_of_the_log(
    first: int, complete_from: int, below: int
) -> None:
    log = replace(INFO, first_sequence=first, last_sequence=first + 999, max_bytes=-1)
    assert sweep_below(log, [live(log.last_sequence)], 100 * DAY, complete_from=complete_from) == below


@pytest.mark.parametrize(
    ("given_info", "complete_from", "facts"),
    [
        pytest.param(replace(INFO, bytes=100), 1_126, 62, id="full: half of those before what is vouched for"),
        pytest.param(replace(INFO, bytes=80_000, max_bytes=100_000), 1_126, 187, id="and of those that still fit"),
        pytest.param(replace(INFO, bytes=100, partitions=32), 1_003, 64, id="hardly any room: twice as many as marks"),
        pytest.param(replace(INFO, bytes=100, partitions=1), 1_000, 8, id="none, and one partition"),
        pytest.param(replace(INFO, max_bytes=-1), 1_126, 500, id="no limit of bytes"),
    ],
)
def test_how_much_a_sweep_appends_before_it_says_how_far_it_has_come(
    given_info: LogInfo, complete_from: int, facts: int
) -> None:
    assert at_once(given_info, complete_from) == facts


def test_what_was_pushed_out_is_counted() -> None:
    assert lost_below(INFO, [live(1_000), live(1_001)]) == 1


@pytest.mark.parametrize(
    ("remembered", "backwards"),
    [
        pytest.param(None, False, id="never seen"),
        pytest.param(Remembered("2026", 1_999), False, id="grown"),
        pytest.param(Remembered("2026", 2_001), True, id="shorter"),
        pytest.param(Remembered("2025", 1), True, id="another stream"),
    ],
)
def test_whether_a_log_went_backwards(remembered: Remembered | None, backwards: bool) -> None:
    assert bool(went_backwards(remembered, INFO)) == backwards


@pytest.mark.parametrize(
    ("told", "backwards", "generation"),
    [
        pytest.param(None, False, "2026/7", id="a new log"),
        pytest.param(Synced(generation="2026/3", kinds=[], synced_at=1), False, "2026/3", id="the same log"),
        pytest.param(Synced(generation="2026/3", kinds=[], synced_at=1), True, "2026/7", id="the log went backwards"),
        pytest.param(Synced(generation="2025/3", kinds=[], synced_at=1), False, "2026/7", id="a restored message"),
    ],
)
def test_the_generation(told: Synced | None, backwards: bool, generation: str) -> None:
    assert generation_of(INFO, told, backwards=backwards, now=7) == generation
