"""What the page shows of an instant, a mark and an object is what the commands say, also while the history grows."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp
import pytest

from tapio_cli.history.archive import Archive
from tapio_cli.history.snapshots import difference, snapshot
from tapio_cli.history.source import Sources
from tapio_cli.history.story import Story, read_on, read_story
from tapio_cli.history.timeline import timeline
from tapio_cli.history.ui.api import at_of, events_of, marks_of, object_of
from tapio_cli.history.ui.chapter import Chapter
from tapio_cli.history.ui.details import details_of
from tapio_cli.history.ui.library import Library
from tapio_shared.admissions import Admission
from tapio_shared.api.normalise import normalise_spec
from tapio_shared.codec import digest
from tapio_shared.errors import InvalidSettings
from tapio_shared.facts import DecisionRecorded, ObjectObserved
from tapio_shared.json import JsonObject, JsonValue, list_at, object_at, objects_at, str_at
from tapio_shared.ports import Message
from tests.support.recorded_histories import recorded_history, write_archive
from tests.support.ui_pages import CLUSTER, KEY, TRACE, admissions_log, admitted, log_of, page_of, pods_told


@pytest.fixture(scope="module")
def history() -> list[Message]:
    return recorded_history()


@pytest.fixture(scope="module")
def archive(history: list[Message], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("history") / "a", history)


@pytest.fixture(scope="module")
def story(archive: Path) -> Story:
    return asyncio.run(read_story(Archive.open(archive), KEY))


@pytest.fixture(scope="module")
def chapter(story: Story) -> Chapter:
    return Chapter(story, [])


def spec_change(story: Story) -> tuple[int, int, JsonObject]:
    """Where the spec was changed: its sequence, its time, and the new spec."""
    seen = [
        (one.sequence, one.at, object_at(one.entry.record.object, "spec"))
        for one in story.own
        if isinstance(one.entry.record, ObjectObserved)
        and one.message.subject.endswith(f"TapioCluster.default.{KEY.name}")
    ]
    return next(later for earlier, later in itertools.pairwise(seen) if earlier[2] != later[2])


def asked(story: Story, *, request: str = "r", problems: Sequence[str] = ()) -> Admission:
    """The webhook's record of that change; refused where there are problems."""
    _, at, spec = spec_change(story)
    return Admission(
        request=request,
        handler="validate",
        target="local",
        kind="TapioCluster",
        namespace="default",
        name=KEY.name,
        operation="UPDATE",
        user="alice@example.org",
        allowed=not problems,
        problems=[*problems],
        spec_digest=digest(normalise_spec("TapioCluster", spec)),
        answered_at=at,
    )


def number_of(chapter: Chapter, sequence: int) -> int:
    return next(number for number, mark in enumerate(chapter.marks) if mark.sequence == sequence)


async def asked_of(url: str, path: str, query: Mapping[str, str], status: int = 200) -> JsonValue:
    async with aiohttp.ClientSession() as session, session.get(f"{url}api/{path}", params=query) as answer:
        assert answer.status == status, await answer.text()
        found: JsonValue = await answer.json()
        return found


def test_every_mark_is_a_line_of_the_time_line(chapter: Chapter, story: Story) -> None:
    lines = events_of(chapter, list(range(len(chapter.marks))))
    expected = timeline(story)
    assert [(str_at(one, "what"), str_at(one, "about"), str_at(one, "text")) for one in lines] == [
        (one.what, one.about, one.text) for one in expected
    ]
    columns = marks_of(chapter)
    assert columns["revision"] == [one.sequence for one in expected]
    assert columns["at"] == [one.at for one in expected]


def test_every_component_has_a_lane_with_its_facts_and_the_decisions_that_write_it(chapter: Chapter) -> None:
    lanes = {str_at(one, "name"): one for one in objects_at(marks_of(chapter), "lanes")}
    assert list(lanes)[:2] == ["TapioCluster", "operator"]
    status = object_at(snapshot(chapter.story, chapter.story.ends), "status")
    components = [str_at(one, "name") for one in objects_at(status, "components")]
    assert list(lanes)[2 : 2 + len(components)] == components
    for name in components:
        whats = {chapter.marks[number].what for number in list_at(lanes[name], "marks") if isinstance(number, int)}
        assert whats == {"fact", "decision"}, name
        assert str_at(list_at(lanes[name], "states")[-1], 1) == "Ready"
    placed = {number for lane in lanes.values() for number in list_at(lane, "marks") if isinstance(number, int)}
    assert placed == set(range(len(chapter.marks)))


def test_the_state_at_every_revision_is_that_of_the_whole_story(chapter: Chapter, story: Story) -> None:
    for until in range(story.own[0].sequence, story.ends + 1, 3):
        assert snapshot(chapter.told_by(until), until) == snapshot(story, until)


def test_the_tree_holds_every_object_of_the_snapshot_once(chapter: Chapter, story: Story) -> None:
    for until in range(story.own[0].sequence, story.ends + 1, 11):
        found = at_of(chapter, f"@{until}")
        leaves = [str_at(leaf, "ref") for branch in objects_at(found, "tree") for leaf in objects_at(branch, "objects")]
        assert sorted(leaves) == sorted(object_at(snapshot(story, until), "objects"))


def test_a_decision_is_told_with_its_cause_its_writes_its_diff_and_its_trace(
    history: list[Message], story: Story
) -> None:
    async def work() -> Chapter:
        return await Library(Sources(await log_of(history), None), "local", live=True).chapter(KEY)

    chapter = asyncio.run(work())
    changed, _, _ = spec_change(story)
    sequence, decision = next(
        (one.sequence, one.entry.record)
        for one in story.own
        if one.sequence > changed and isinstance(one.entry.record, DecisionRecorded)
    )
    found = details_of(chapter, number_of(chapter, sequence))
    assert str_at(found, "trace") == TRACE
    because = [str(line) for line in list_at(found, "because")]
    assert because[0].startswith("Decided at ")
    assert any("spec.gateway.replicas: absent → 2" in line for line in because)
    assert [str_at(one, "text") for one in objects_at(found, "writes")] == [
        *(one.reason for one in decision.apply),
        *(one.reason for one in decision.delete),
    ]
    expected = difference(snapshot(story, sequence - 1), snapshot(story, sequence))
    assert [str(line).split()[0] for line in list_at(found, "diff")] == [line.split()[0] for line in expected]
    assert f"tapioctl diff @{sequence - 1} @{sequence} {CLUSTER}" in list_at(found, "commands")


def test_a_change_of_the_spec_names_who_asked_for_it_and_the_admission_names_the_change(story: Story) -> None:
    chapter = Chapter(story, [asked(story), asked(story, request="s", problems=["spec.nats"])])
    sequence, _, _ = spec_change(story)
    fact = details_of(chapter, number_of(chapter, sequence))
    assert "by alice@example.org (probably: the webhook admitted this spec)" in str(list_at(fact, "because")[0])
    allowed, refused = (number for number, one in enumerate(chapter.marks) if one.what == "admission")
    told = details_of(chapter, allowed)
    assert (str_at(told, "user"), told["bad"], told["revision"]) == ("alice@example.org", False, 0)
    assert any(f"(@{sequence})" in str(line) for line in list_at(told, "because"))
    told = details_of(chapter, refused)
    assert told["bad"] is True
    assert list_at(told, "because")[1] == "It was refused for spec.nats."


def test_an_outcome_leads_to_its_decision(chapter: Chapter) -> None:
    number = next(number for number, mark in enumerate(chapter.marks) if mark.what == "outcome")
    because = [str(line) for line in list_at(details_of(chapter, number), "because")]
    assert because[0].startswith("It is how the decision at ")
    assert because[1].startswith("Decided at ")


def test_an_object_is_told_as_it_was_with_why(chapter: Chapter, story: Story) -> None:
    name = f"Deployment.apps default/{KEY.name}-gateway"
    sequence, _, _ = spec_change(story)
    before, now = (object_of(chapter, instant, name) for instant in (f"@{sequence}", f"@{story.ends}"))
    assert "\n  replicas: 1\n" in str_at(before, "document")
    assert "\n  replicas: 2\n" in str_at(now, "document")
    assert str(list_at(now, "because")[0]).startswith(f"{name} was last written by the decision at ")
    with pytest.raises(InvalidSettings, match=r"^Nothing was known of Job x at @"):
        object_of(chapter, f"@{story.ends}", "Job x")


def test_a_chapter_that_grew_is_the_same_as_one_that_was_read_at_once(history: list[Message], tmp_path: Path) -> None:
    def up_to(ends: int) -> Archive:
        return Archive.open(write_archive(tmp_path / str(ends), history[:ends]))

    async def work() -> tuple[Chapter, Chapter]:
        chapter = Chapter(await read_story(up_to(150), KEY), [])
        for ends in (151, 170, 171, 230, len(history)):
            chapter.grow(await read_on(up_to(ends), chapter.story), [])
        return chapter, Chapter(await read_story(up_to(len(history)), KEY), [])

    grown, whole = asyncio.run(work())
    assert grown.story == whole.story
    assert [(mark.at, mark.sequence, mark.what) for mark in grown.marks] == [
        (mark.at, mark.sequence, mark.what) for mark in whole.marks
    ]
    assert grown.states == whole.states
    assert at_of(grown, "now") == at_of(whole, "now")


async def test_the_server_answers_all_of_it(archive: Path, story: Story) -> None:
    async with page_of(Archive.open(archive)) as page:
        clusters = await asked_of(page.url, "clusters", {})
        assert CLUSTER in list_at(clusters, "clusters")
        assert object_at(clusters)["live"] is False
        found = await asked_of(page.url, "at", {"cluster": CLUSTER, "instant": f"@{story.ends}"})
        assert object_at(found, "snapshot") == json.loads(json.dumps(snapshot(story, story.ends)))
        marks = await asked_of(page.url, "marks", {"cluster": CLUSTER})
        last = len(list_at(marks, "at")) - 1
        assert len(list_at(await asked_of(page.url, "events", {"cluster": CLUSTER, "numbers": "0,1"}))) == 2
        mark = await asked_of(page.url, "mark", {"cluster": CLUSTER, "number": str(last)})
        assert object_at(mark)["number"] == last


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        pytest.param("marks", {}, "Name a TapioCluster: cluster=namespace/name.", id="no cluster"),
        pytest.param("marks", {"cluster": "default/nobody"}, "Nothing is recorded of TapioCluster", id="nobody"),
        pytest.param(
            "at", {"cluster": CLUSTER, "instant": "@999999"}, "@999999 is outside of the window. The ", id="too late"
        ),
        pytest.param("at", {"cluster": CLUSTER, "instant": "soon"}, "'soon' is no instant; write", id="no instant"),
        pytest.param("at", {"cluster": CLUSTER, "instant": "-1h"}, "'-1h' is counted from now, which", id="from now"),
        pytest.param("mark", {"cluster": CLUSTER, "number": "99999"}, "There is no mark 99999; marks", id="no mark"),
        pytest.param("mark", {"cluster": CLUSTER, "number": "x"}, "'x' is no number of a mark.", id="no number"),
        pytest.param(
            "events",
            {"cluster": CLUSTER, "numbers": ",".join(["0"] * 501)},
            "501 lines are asked for; ask for at most 500 at once.",
            id="too many lines",
        ),
    ],
)
async def test_what_can_not_be_answered_is_said_in_a_sentence(
    path: str, query: dict[str, str], message: str, archive: Path
) -> None:
    async with page_of(Archive.open(archive)) as page:
        assert str_at(await asked_of(page.url, path, query, status=422), "error").startswith(message)


async def test_what_is_recorded_while_a_page_follows_is_told_to_it(history: list[Message]) -> None:
    log = await log_of(history)
    async with page_of(log, live=True) as page, aiohttp.ClientSession() as session:
        known = len(list_at(await asked_of(page.url, "marks", {"cluster": CLUSTER}), "at"))
        query = {"cluster": CLUSTER, "after": str(known)}
        async with session.get(f"{page.url}api/follow", params=query) as stream:
            assert stream.content_type == "text/event-stream"
            appended = await log.append(pods_told(history, ready=41))
            assert await stream.content.readline() == b"event: marks\n"
            news: JsonObject = json.loads((await stream.content.readline()).removeprefix(b"data: "))
        assert (news["first"], news["revision"]) == (known, [appended.sequence])
        line = await asked_of(page.url, "events", {"cluster": CLUSTER, "numbers": str(known)})
        assert "ready: 2 → 41" in str_at(list_at(line)[0], "text")


async def test_an_answer_of_the_webhook_becomes_a_mark_while_a_page_follows(
    history: list[Message], story: Story
) -> None:
    answers = await admissions_log(asked(story))
    async with page_of(await log_of(history), answers=answers, live=True) as page:
        marks = await asked_of(page.url, "marks", {"cluster": CLUSTER})
        assert list_at(marks, "what").count(4) == 1
        await answers.append(admitted(asked(story, request="s")))
        marks = await asked_of(page.url, "marks", {"cluster": CLUSTER})
        assert list_at(marks, "what").count(4) == 2


async def test_a_log_that_went_backwards_is_read_anew(history: list[Message]) -> None:
    log = await log_of(history)
    async with page_of(log, live=True) as page:
        before = await asked_of(page.url, "marks", {"cluster": CLUSTER})
        await log.rewind(history[150].sequence)
        after = await asked_of(page.url, "marks", {"cluster": CLUSTER})
        assert 0 < len(list_at(after, "at")) < len(list_at(before, "at"))
