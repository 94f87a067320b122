"""The log says by which rules decisions are made, and each is planned again by those it was made by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tapio_cli.history.replay import replay
from tapio_reconciler.core.rules import NEWEST
from tapio_shared.codec import decode_record, encode
from tapio_shared.facts import DecisionRecorded
from tapio_shared.ports import Message
from tests.support.recorded_histories import history_of_new_rules, write_archive


@pytest.fixture(scope="module")
def history() -> list[Message]:
    return history_of_new_rules()


def decisions(history: list[Message]) -> list[tuple[int, DecisionRecorded]]:
    """Every decision with its place in the history."""
    found: list[tuple[int, DecisionRecorded]] = []
    for place, message in enumerate(history):
        if message.subject.endswith(".decision"):
            record = decode_record(message.data)
            assert isinstance(record, DecisionRecorded)
            found.append((place, record))
    return found


def under(history: list[Message], place: int, record: DecisionRecorded, logic: int) -> list[Message]:
    """The same history, with a decision that says that it was made by other rules."""
    inputs = msgspec.structs.replace(record.inputs, logic=logic)
    forged = replace(history[place], data=encode(msgspec.structs.replace(record, inputs=inputs)))
    return [*history[:place], forged, *history[place + 1 :]]


def test_workers_go_on_by_the_recorded_rules_until_the_log_says_otherwise(history: list[Message]) -> None:
    told = next(place for place, one in enumerate(history) if b'"plannerLogic":2' in one.data)
    made = decisions(history)
    assert {record.inputs.logic for place, record in made if place < told} == {1}
    assert {record.inputs.logic for place, record in made if place > told} == {2}


def test_an_end_is_in_order_by_the_new_rules_alone(history: list[Message]) -> None:
    ends = [record for _, record in decisions(history) if len(record.delete) > 3]
    phases = {record.inputs.logic: [action.phase for action in record.delete] for record in ends}
    assert set(phases[1]) == {0}
    assert phases[2] == sorted(phases[2])
    assert set(phases[2]) >= {1, 2}


def test_old_and_new_decisions_replay_by_the_rules_they_were_made_by(history: list[Message], tmp_path: Path) -> None:
    summary = replay(write_archive(tmp_path / "a", history))
    assert (summary.identical, summary.diverged, summary.skipped) == (len(decisions(history)), 0, {})


@pytest.mark.parametrize(
    ("made_by", "replayed_by"), [pytest.param(1, 2, id="old by new"), pytest.param(2, 1, id="new by old")]
)
def test_by_other_rules_an_end_comes_out_differently(
    made_by: int, replayed_by: int, history: list[Message], tmp_path: Path
) -> None:
    place, record = next(
        (place, record)
        for place, record in decisions(history)
        if record.inputs.logic == made_by and len(record.delete) > 3
    )
    summary = replay(write_archive(tmp_path / "a", under(history, place, record, replayed_by)))
    assert summary.diverged == 1
    assert any(line.strip("+- ").startswith("phase: ") for line in summary.divergences[0].differences)


def test_rules_of_a_later_release_are_told_and_not_guessed(history: list[Message], tmp_path: Path) -> None:
    place, record = decisions(history)[-1]
    summary = replay(write_archive(tmp_path / "a", under(history, place, record, NEWEST + 1)))
    assert summary.diverged == 0
    assert summary.skipped == {
        f"It was made under rules {NEWEST + 1}, and this version knows 1 to {NEWEST}: replay it with the version that "
        "made it, or a newer one.": 1
    }
