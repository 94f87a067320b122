"""What a person asks of a history is answered from it alone: who, what, when, and why."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import cast

import msgspec
import pytest
from rich.console import Console

from tapio_cli.history.archive import Archive
from tapio_cli.history.explaining import explain
from tapio_cli.history.exporting import or_exit
from tapio_cli.history.fields import changed_fields
from tapio_cli.history.instants import sequence_at, span
from tapio_cli.history.known import NotInWindow
from tapio_cli.history.printing import moment, print_as_of
from tapio_cli.history.snapshots import difference, snapshot
from tapio_cli.history.standing import status_of
from tapio_cli.history.story import Story, read_story
from tapio_cli.history.timeline import timeline
from tapio_shared.admissions import Admission
from tapio_shared.api.normalise import normalise_spec
from tapio_shared.codec import digest
from tapio_shared.errors import InvalidSettings
from tapio_shared.facts import DecisionRecorded, ObjectObserved
from tapio_shared.json import JsonObject, object_at, objects_at, str_at
from tapio_shared.keys import OrderingKey
from tapio_shared.ports import Message
from tests.support.operator_in_process import NAMES
from tests.support.recorded_histories import recorded_history, write_archive

KEY = OrderingKey("local", "default", NAMES[0])


@pytest.fixture(scope="module")
def history() -> list[Message]:
    return recorded_history()


@pytest.fixture(scope="module")
def archive(history: list[Message], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("history") / "a", history)


@pytest.fixture(scope="module")
def story(archive: Path) -> Story:
    return asyncio.run(read_story(Archive.open(archive), KEY))


def spec_change(story: Story) -> tuple[int, JsonObject]:
    """Where the spec was changed by hand, and to what."""
    seen = [
        (one.sequence, object_at(one.entry.record.object, "spec"))
        for one in story.own
        if isinstance(one.entry.record, ObjectObserved)
        and one.message.subject.endswith(f"TapioCluster.default.{KEY.name}")
    ]
    return next(later for earlier, later in itertools.pairwise(seen) if earlier[1] != later[1])


def test_a_cause_is_named_with_what_changed_and_who_asked(story: Story) -> None:
    sequence, spec = spec_change(story)
    asked = Admission(
        request="r",
        handler="validate",
        target="local",
        kind="TapioCluster",
        namespace="default",
        name=KEY.name,
        operation="UPDATE",
        user="alice@example.org",
        allowed=True,
        spec_digest=digest(normalise_spec("TapioCluster", spec)),
        answered_at=next(one.at for one in story.own if one.sequence == sequence),
    )
    decided = next(
        one.sequence for one in story.own if one.sequence > sequence and isinstance(one.entry.record, DecisionRecorded)
    )
    found = explain(story, [asked], until=decided, about=f"Deployment/{KEY.name}-gateway")
    assert found.answer.startswith(f"Deployment.apps default/{KEY.name}-gateway was last written by the decision at ")
    line = next(one for one in found.because if one.startswith(f"TapioCluster.tapio.io default/{KEY.name} was changed"))
    assert f"(@{sequence}) by alice@example.org (probably: the webhook admitted this spec)" in line
    assert "spec.gateway.replicas: absent → 2" in line


def test_the_answer_for_a_ready_cluster_says_so_first(story: Story) -> None:
    found = explain(story, until=story.own[-1].sequence)
    assert found.answer.startswith(f"TapioCluster default/{KEY.name} is ready since ")


def test_an_object_that_may_be_several_or_none_is_asked_for_again(story: Story) -> None:
    last = story.own[-1].sequence
    with pytest.raises(InvalidSettings, match=rf"may mean .*Deployment/{KEY.name}-gateway.*; name the kind too"):
        explain(story, until=last, about=f"{KEY.name}-gateway")
    components = "nats, streams, neo4j, correlation, gateway, kubernetes"
    with pytest.raises(
        InvalidSettings,
        match=r"Nothing is recorded of 'Deployment/gatway'; name a component, or Kind/name of an object\. "
        rf"There are components: {components}; objects: Deployment/{KEY.name}-gateway, .* and \d+ more\.",
    ):
        explain(story, until=last, about="Deployment/gatway")


def test_before_there_were_objects_none_is_offered(story: Story) -> None:
    with pytest.raises(
        InvalidSettings,
        match=rf"'gateway': TapioCluster default/{KEY.name} had no objects by then\. Name a later instant\.$",
    ):
        explain(story, until=story.own[0].sequence - 1, about="gateway")


def test_the_time_line_tells_everything_once_and_in_order(story: Story) -> None:
    events = timeline(story)
    assert [one.at for one in events] == sorted(one.at for one in events)
    assert len({one.sequence for one in events}) == len(events)
    sequence, _ = spec_change(story)
    change = next(one for one in events if one.sequence == sequence)
    assert change.about == f"TapioCluster.tapio.io default/{KEY.name}"
    assert "spec.gateway.replicas: absent → 2" in change.text
    assert {one.what for one in events} >= {"fact", "decision", "outcome"}


def test_a_snapshot_is_what_had_been_told_by_then(story: Story) -> None:
    sequence, spec = spec_change(story)
    before, after = snapshot(story, sequence - 1), snapshot(story, sequence)
    assert "gateway" not in object_at(before, "spec")
    assert object_at(after, "spec") == spec
    lines = difference(before, after)
    assert "+    replicas: 2" in lines or "+  gateway:" in lines
    assert difference(before, before) == []


def test_every_instant_tells_the_last_words_before_it(story: Story) -> None:
    """At every sequence, by another route: the last record of each subject up to there."""
    for until in range(story.own[0].sequence, story.own[-1].sequence, 7):
        expected = {one.message.subject: one.sequence for one in story.own if one.sequence <= until}
        assert {subject: entry.sequence for subject, entry in story.state(until).own.items()} == expected


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        pytest.param("soon", InvalidSettings, "'soon' is no instant; write how long ago", id="no instant"),
        pytest.param(
            "-99d", NotInWindow, "is outside of the window. The history of .* is complete from 20", id="too early"
        ),
        pytest.param("@999999", NotInWindow, "@999999 is outside of the window.", id="a revision to come"),
        pytest.param("2000-01-01", NotInWindow, "2000-01-01T00:00:00.000Z is outside of the window.", id="long ago"),
    ],
)
def test_instants_that_the_history_does_not_cover_are_refused_with_its_bounds(
    text: str, error: type[Exception], message: str, story: Story
) -> None:
    with pytest.raises(error, match=message):
        sequence_at(story, text, now=story.last_at)


def test_instants_are_found_by_time_and_by_revision(story: Story) -> None:
    last = max(one.sequence for one in (*story.own, *story.shared))
    assert sequence_at(story, "now", now=story.last_at) == last
    assert sequence_at(story, f"@{last - 5}", now=story.last_at) == last - 5
    one = story.own[len(story.own) // 2]
    ago = sequence_at(story, f"-{story.last_at - one.at}ms", now=story.last_at)
    assert ago == max(entry.sequence for entry in (*story.own, *story.shared) if entry.at <= one.at)


def test_a_history_whose_beginning_was_dropped_covers_nothing_until_it_is_vouched_for(
    history: list[Message], tmp_path: Path
) -> None:
    first = history[len(history) // 2].sequence
    kept = [message for message in history if message.sequence >= first]
    cut = asyncio.run(read_story(Archive.open(write_archive(tmp_path / "a", kept, first=first)), KEY))
    assert cut.window is None
    with pytest.raises(NotInWindow, match="is complete nowhere"):
        sequence_at(cut, "now", now=cut.last_at)


def test_the_status_names_every_component_and_the_last_change(story: Story) -> None:
    found = status_of(story, ())
    assert str_at(found, "phase") == "Ready"
    names = [str_at(one, "name") for one in objects_at(found, "components")]
    assert {"nats", "correlation", "kubernetes"} <= set(names)
    assert str_at(found, "lastChange", "decided").startswith("Decided at ")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param({"a": 1}, {"a": 2}, ["a: 1 → 2"], id="a value"),
        pytest.param({}, {"a": {"b": True}}, ["a.b: absent → true"], id="a field in an object that is new"),
        pytest.param({"a": {"b": {"c": 1}}}, {}, ["a.b.c: 1 → absent"], id="a field whose objects are gone with it"),
        pytest.param({}, {"a": {"b": 1, "c": "ä"}}, ['a: absent → {"b": 1, "c": "ä"}'], id="an object that is new"),
        pytest.param({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, ["a.c: 2 → absent"], id="a field that is gone"),
        pytest.param(
            {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"env": [{"name": "B", "value": "3"}, {"name": "A", "value": "1"}]},
            ["env[B].value: 2 → 3"],
            id="a list by name, in any order",
        ),
        pytest.param({"args": ["a", "b"]}, {"args": ["a", "c"]}, ['args: ["a", "b"] → ["a", "c"]'], id="another list"),
        pytest.param({"metadata": {"generation": 1}}, {"metadata": {"generation": 2}}, [], id="what the server counts"),
    ],
)
def test_changed_fields(before: JsonObject, after: JsonObject, expected: list[str]) -> None:
    assert [str(one) for one in changed_fields(before, after)] == expected


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tapio_cli", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param(["status"], 0, id="status of all"),
        pytest.param(["status", f"default/{KEY.name}", "-o", "json"], 0, id="status"),
        pytest.param(["history", f"default/{KEY.name}", "--since", "@10", "-o", "json"], 0, id="history"),
        pytest.param(["explain", f"default/{KEY.name}"], 0, id="explain"),
        pytest.param(["at", "@200", f"default/{KEY.name}", "-o", "json"], 0, id="at"),
        pytest.param(["diff", "@100", "@220", f"default/{KEY.name}"], 2, id="diff"),
        pytest.param(["diff", "@220", "@220", f"default/{KEY.name}"], 0, id="nothing differs"),
        pytest.param(["explain", "default/nobody"], 1, id="nobody"),
        pytest.param(["explain", "nobody"], 1, id="no namespace"),
        pytest.param(["at", "-99d", f"default/{KEY.name}"], 1, id="before the history"),
    ],
)
def test_commands_on_an_archive(arguments: list[str], code: int, archive: Path) -> None:
    ended = run_command(*arguments, "--from", str(archive))
    assert ended.returncode == code, ended.stderr
    assert (ended.stdout != "") == (code != 1)
    assert (ended.stderr.startswith("tapioctl: ")) == (code == 1)
    if "json" in arguments:
        cast("JsonObject", json.loads(ended.stdout))


def test_events_are_shown_from_the_instant_on_and_not_from_the_record_before(story: Story) -> None:
    events = timeline(story)
    middle = events[len(events) // 2]
    text = f"{moment(middle.at + 1)}"
    shown = span(story, text, "", now=story.last_at)
    assert [one for one in events if shown.holds(one)] == [one for one in events if one.at > middle.at]
    between = span(story, f"@{middle.sequence}", f"@{middle.sequence + 3}", now=story.last_at)
    found = {one.sequence for one in events if between.holds(one)}
    assert middle.sequence in found <= {middle.sequence + number for number in range(4)}
    assert (shown.remark, between.remark) == ("", "")


def test_what_was_before_the_history_began_is_told_and_the_rest_is_shown(story: Story) -> None:
    shown = span(story, "-99d", "", now=story.last_at)
    assert all(shown.holds(one) for one in timeline(story))
    assert shown.remark.startswith(f"The history of default/{KEY.name} is complete from 20")


def test_who_created_it_is_not_who_wrote_its_finalizer(story: Story) -> None:
    """The operator's own write is admitted a moment later, with the same spec."""
    created = next(one for one in story.own if one.message.subject.endswith(f"TapioCluster.default.{KEY.name}"))
    fact = created.entry.record
    assert isinstance(fact, ObjectObserved)

    def asked(user: str, operation: str, previous: str, later: int) -> Admission:
        return Admission(
            request=user,
            handler="validate",
            target="local",
            kind="TapioCluster",
            namespace="default",
            name=KEY.name,
            operation=operation,
            user=user,
            allowed=True,
            spec_digest=digest(normalise_spec("TapioCluster", object_at(fact.object, "spec"))),
            previous_version=previous,
            answered_at=created.at + later,
        )

    answers = [asked("alice", "CREATE", "", -5), asked("the operator", "UPDATE", fact.resource_version, 40)]
    found = explain(story, answers, until=created.sequence + 40)
    line = next(one for one in found.because if " was created at " in one)
    assert line.endswith("by alice (probably: the webhook admitted this spec).")


def test_what_was_there_before_was_not_created_when_it_was_first_told_of(story: Story) -> None:
    """A log that has dropped its beginning, or an operator that was installed later."""
    first = next(one for one in story.own if one.message.subject.endswith(f"TapioCluster.default.{KEY.name}"))
    fact = first.entry.record
    assert isinstance(fact, ObjectObserved)
    metadata: JsonObject = {**object_at(fact.object, "metadata"), "creationTimestamp": "2020-02-02T02:02:02Z"}
    older = msgspec.structs.replace(fact, object={**fact.object, "metadata": metadata})
    entry = msgspec.structs.replace(first.entry, record=older)
    own = tuple(replace(first, entry=entry) if one is first else one for one in story.own)
    found = explain(replace(story, own=own), until=first.sequence)
    line = next(one for one in found.because if " was created at " in one)
    begins = f"{moment(first.at)} (@{first.sequence})"
    assert line.endswith(f" was created at 2020-02-02T02:02:02Z, before the history of it begins at {begins}.")


def test_a_component_is_asked_about_by_its_name(story: Story) -> None:
    found = explain(story, until=story.own[-1].sequence, about="gateway")
    assert found.answer.startswith(f"Deployment.apps default/{KEY.name}-gateway was last written by the decision at ")


def test_of_two_long_texts_what_differs_is_shown() -> None:
    before = "[" + "a" * 100 + "before" + "z" * 100
    after = "[" + "a" * 100 + "after" + "z" * 100
    (change,) = changed_fields({"list": before}, {"list": after})
    assert str(change) == f"list: …{'a' * 15}before{'z' * 39}… → …{'a' * 15}after{'z' * 40}…"


def test_a_file_that_can_not_be_written_is_a_sentence_and_no_traceback(archive: Path, tmp_path: Path) -> None:
    where = tmp_path / "missing" / "d.tar.gz"
    command = ["tapioctl", "diagnostics", str(where), "--from", str(archive)]
    ended = subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"tapioctl: {where} can't be written: No such file or directory. Name another file.\n"


def test_an_error_of_a_file_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        or_exit(Path("/no/a.partial").read_bytes)
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "tapioctl: /no/a can't be read or written: No such file or directory. "
        "See that the folder is there, is yours and has room.\n"
    )


def test_an_instant_is_shown_as_a_tree_with_what_was_amiss(story: Story) -> None:
    created = next(
        one.sequence
        for one in story.own
        if isinstance(one.entry.record, DecisionRecorded) and len(one.entry.record.apply) > 10
    )
    console = Console(file=StringIO(), width=200, soft_wrap=True)
    for sequence in (created, story.own[-1].sequence, story.own[0].sequence - 1):
        print_as_of(snapshot(story, sequence), status_of(story, (), until=sequence), console)
    written = console.file
    assert isinstance(written, StringIO)
    lines = written.getvalue().splitlines()
    assert next(line for line in lines if line.startswith("As of ")).endswith(f"(@{created}):")
    assert any(line.startswith("  Not there: ") and line.endswith(" more.") for line in lines)
    assert any(line.startswith(f"default/{KEY.name}  Ready  ") for line in lines)
    assert f"default/{KEY.name} did not exist then, as far as the operator had been told." in lines


def test_a_change_that_nobody_decides_about_is_told_first(story: Story) -> None:
    """The reconcilers are down: the watcher goes on telling, and what stands in the status is of before."""
    sequence, _ = spec_change(story)
    changed = next(one for one in story.own if one.sequence == sequence)
    told = replace(story, own=tuple(one for one in story.own if one.sequence <= sequence), shared=())
    answer = explain(told, until=sequence, now=changed.at + 95_000).answer
    assert answer == (
        f"Nothing has been decided about TapioCluster default/{KEY.name} since it was changed at {moment(changed.at)} "
        f"(@{sequence}), 95 s ago: the operator does not work on it. tapioctl doctor says whether its workers do."
    )
    for now in (0, changed.at + 10_000):
        assert "has been decided" not in explain(told, until=sequence, now=now).answer
    ended = story.own[-1]
    assert "has been decided" not in explain(story, until=ended.sequence, now=ended.at + 95_000).answer
