"""Recorded decisions come out of the recorded facts again: in any process, under any hash seed, never by accident."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import msgspec
import pytest

from tapio_cli.history.codes import DIVERGED, IDENTICAL, UNUSABLE
from tapio_cli.history.replay import Summary, replay
from tapio_reconciler.core.replaying import Replayer, Verdict
from tapio_shared.codec import decode_record, encode
from tapio_shared.facts import DecisionRecorded, SweepMarked
from tapio_shared.json import JsonObject
from tapio_shared.keys import OrderingKey, shared_subject
from tapio_shared.ports import Message
from tests.support.operator_in_process import NAMES, PARTITIONS
from tests.support.recorded_histories import recorded_history, write_archive


@pytest.fixture(scope="module")
def history() -> list[Message]:
    return recorded_history()


def decisions(history: list[Message]) -> list[Message]:
    return [message for message in history if message.subject.endswith(".decision")]


def test_every_decision_comes_out_identical(history: list[Message], tmp_path: Path) -> None:
    summary = replay(write_archive(tmp_path / "a", history))
    assert (summary.identical, summary.diverged, summary.keys) == (len(decisions(history)), 0, 3)
    assert summary.skipped == {}
    assert summary.code == IDENTICAL


@pytest.mark.parametrize("seed", ["0", "4711"])
def test_it_does_so_in_another_process_under_another_hash_seed(
    seed: str, history: list[Message], tmp_path: Path
) -> None:
    path = write_archive(tmp_path / "a", history)
    command = [sys.executable, "-m", "tapio_cli", "replay", "--from", str(path), "-o", "json"]
    ended = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == IDENTICAL, ended.stderr
    assert cast("JsonObject", json.loads(ended.stdout))["identical"] == len(decisions(history))


def test_a_decision_that_does_not_follow_from_the_facts_is_found_and_shown(
    history: list[Message], tmp_path: Path
) -> None:
    place = history.index(decisions(history)[2])
    record = decode_record(history[place].data)
    assert isinstance(record, DecisionRecorded)
    forged = msgspec.structs.replace(record, apply=record.apply[1:], digest="0" * 32)
    forgery = replace(history[place], data=encode(forged))
    summary = replay(write_archive(tmp_path / "a", [*history[:place], forgery, *history[place + 1 :]]))
    assert (summary.code, summary.diverged) == (DIVERGED, 1)
    one = summary.divergences[0]
    assert one.sequence == forgery.sequence
    assert any(line.startswith("+") and record.apply[0].name in line for line in one.differences)


def test_a_fact_that_was_changed_is_found(history: list[Message], tmp_path: Path) -> None:
    changed = [
        replace(message, data=message.data.replace(b'"profile":"development"', b'"profile":"production"'))
        for message in history
    ]
    assert changed != history
    assert replay(write_archive(tmp_path / "a", changed)).diverged > 0


def test_what_rests_on_a_record_that_another_one_has_replaced_is_not_called_different(
    history: list[Message], tmp_path: Path
) -> None:
    """Campaign, seed 391: a log lost its end, and grew again to where it was before the next decision."""
    decided = decisions(history)[2]
    record = decode_record(decided.data)
    assert isinstance(record, DecisionRecorded)
    newest = max(record.revision, *record.inputs.shared_revisions.values())
    replaced = [
        replace(message, data=message.data + b" ") if message.sequence == newest else message for message in history
    ]
    summary = replay(write_archive(tmp_path / "a", replaced))
    reason = f"The log went back and has grown again: what stands at {newest} is not what it rests on."
    assert list(summary.skipped) == [reason]
    assert summary.identical == len(decisions(history)) - summary.skipped[reason]

    unsaid = replace(decided, data=encode(msgspec.structs.replace(record, rests_on=0)))
    older = [unsaid if message.sequence == decided.sequence else message for message in replaced]
    assert replay(write_archive(tmp_path / "b", older)).identical == summary.identical + 1


def test_keys_that_are_named_are_replayed_alone(history: list[Message], tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a", history)
    whole, one = replay(path), replay(path, [OrderingKey("local", "default", NAMES[0])])
    assert one.keys == 1
    assert 0 < one.identical < whole.identical
    nobody = replay(path, [OrderingKey("local", "default", "nobody")])
    assert (nobody.checked, nobody.code) == (0, UNUSABLE)


def test_the_number_of_processes_changes_nothing(history: list[Message], tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a", history)
    told: list[float] = []
    assert msgspec.to_builtins(replay(path, jobs=1)) == msgspec.to_builtins(replay(path, jobs=3, progress=told.append))
    assert told == sorted(told)
    assert (told[0] >= 0.0, told[-1]) == (True, 1.0)


def test_what_rests_on_dropped_facts_is_not_checked_and_not_called_different(
    history: list[Message], tmp_path: Path
) -> None:
    first = history[len(history) // 3].sequence
    kept = [message for message in history if message.sequence >= first]
    summary: Summary = replay(write_archive(tmp_path / "a", kept, first=first))
    assert summary.checked == 0
    assert summary.code == UNUSABLE
    assert list(summary.skipped) == [
        "The history does not hold everything that it rests on: that was dropped from the log."
    ]


def test_after_a_sweep_a_shortened_history_is_checked_again(history: list[Message]) -> None:
    """Everything live is written again behind what was dropped, as the watcher and the owners do it."""
    last: dict[str, Message] = {message.subject: message for message in history}
    end = history[-1].sequence
    again = [replace(message, sequence=end + 1 + number) for number, message in enumerate(last.values())]
    begins, after = again[0].sequence, again[-1].sequence
    marks = [
        Message(
            shared_subject(number, "local", "sweep"),
            after + 1 + number,
            encode(SweepMarked(phase="ended", below=begins, marked_at=1, complete_from=begins)),
        )
        for number in range(PARTITIONS)
    ]
    replayer = Replayer(begins=begins)
    found = [replayer.feed(message) for message in (*again, *marks)]
    assert {one.verdict for one in found if one is not None} == {Verdict.SKIPPED}
