"""A long log is not read whole for a question, and the answer is the one that all of it gives."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence, Set
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import msgspec
import pytest

from benchmarks.lives import Months
from tapio_cli.history.ahead import ahead
from tapio_cli.history.archive import Archive
from tapio_cli.history.asking import events_between, planned
from tapio_cli.history.explaining import explain
from tapio_cli.history.following import follow
from tapio_cli.history.instants import Position, position, sequence_at, span
from tapio_cli.history.known import NotInWindow, recorded_keys
from tapio_cli.history.looking_back import Steps, answered, latest
from tapio_cli.history.options import Where
from tapio_cli.history.snapshots import snapshot
from tapio_cli.history.source import Sources
from tapio_cli.history.standing import status_of
from tapio_cli.history.story import OlderNeeded, Story, read_story
from tapio_cli.history.timeline import Event, timeline
from tapio_cli.history.where import Live
from tapio_reconciler.core.state import State
from tapio_shared.api.names import cluster_ref
from tapio_shared.errors import InvalidSettings
from tapio_shared.json import JsonObject, JsonValue, object_at
from tapio_shared.keys import OrderingKey, decision_subject, subject_matches
from tapio_shared.ports import AsOf, LogInfo, Message, View
from tests.support.incidents import KEY, incident
from tests.support.planned_world import PARTITIONS
from tests.support.virtual_time import run_virtually

T = TypeVar("T")
GOLDEN = Path(__file__).parent / "golden"
STEPS = Steps(read_whole=0, first=0.02)
"""Short ones, so that a short history takes as many as a long one would."""


_matches = lru_cache(maxsize=None)(subject_matches)


def _is_linked(subject: str) -> bool:
    """Whether each message of a subject names the one before it: of every third."""
    return not crc32(subject.encode()) % 3


def _linked(messages: Sequence[Message]) -> Iterator[Message]:
    last: dict[str, int] = {}
    for one in messages:
        yield replace(one, previous=last.get(one.subject, 0)) if _is_linked(one.subject) else one
        last[one.subject] = one.sequence


class Log:
    """Recorded messages in memory. Counts the places that it was led through."""

    def __init__(self, info: LogInfo, messages: Sequence[Message]) -> None:
        self._info, self.messages = info, list(_linked(messages))
        self.looked_through = 0

    async def read(self, filter_subject: str, *, from_sequence: int = 1, up_to: int) -> AsyncIterator[Message]:
        self.looked_through += max(up_to - max(from_sequence, self._info.first_sequence) + 1, 0)
        for one in self.messages:
            if from_sequence <= one.sequence <= up_to and _matches(filter_subject, one.subject):
                yield one

    async def earliest(self, filter_subject: str, *, from_sequence: int = 1, written_from: int = 0) -> Message | None:
        for one in self.messages:
            begun = one.written_at >= written_from if written_from else one.sequence >= from_sequence
            if begun and _matches(filter_subject, one.subject):
                return one
        return None

    async def as_of(self, filter_subject: str, sequence: int, *, but: Set[str] = frozenset()) -> AsOf:
        """Of subjects whose messages don't name the one before, it can't tell what was before their last."""
        matching = [one for one in self.messages if _matches(filter_subject, one.subject) and one.subject not in but]
        then = {one.subject: one for one in matching if one.sequence <= sequence}
        lasts = {one.subject: one for one in matching}
        hidden = {name for name, one in lasts.items() if one.sequence > sequence and not _is_linked(name)}
        messages = tuple(one for name, one in then.items() if name not in hidden)
        return AsOf(messages=messages, nothing=frozenset(lasts) - then.keys() - hidden, untold=frozenset(hidden))

    async def last_per_subject(self, *filters: str, at_least: int = 0) -> View:
        found = {one.subject: one for one in self.messages if any(_matches(each, one.subject) for each in filters)}
        return View(tuple(sorted(found.values(), key=lambda one: one.sequence)), self._info.last_sequence)

    async def info(self) -> LogInfo:
        return self._info

    def grow(self, messages: Sequence[Message]) -> None:
        """Hold all of these, which begin with those that are there."""
        self.messages = list(_linked(messages))
        self._info = replace(self._info, last_sequence=messages[-1].sequence, messages=len(messages))


def log_of(messages: Sequence[Message], partitions: int = PARTITIONS) -> Log:
    info = LogInfo(
        created_at="",
        first_sequence=messages[0].sequence,
        last_sequence=messages[-1].sequence,
        messages=len(messages),
        bytes=0,
        max_bytes=-1,
        max_age=0.0,
        partitions=partitions,
    )
    return Log(info, messages)


def of_archive(name: str) -> Log:
    archive = Archive.open(GOLDEN / f"{name}.tapio")
    return Log(asyncio.run(archive.info()), list(archive.messages()))


Ask = Callable[[Story], JsonValue]


def asked_of(text: str, now: int, about: str) -> dict[str, Ask]:
    """Everything that is asked about an instant."""

    def of(question: Callable[[Story, int], T]) -> Callable[[Story], T]:
        return lambda story: question(story, sequence_at(story, text, now=now))

    return {
        "explain": of(lambda story, until: msgspec.to_builtins(explain(story, until=until, about=about))),
        "explain now": of(lambda story, until: msgspec.to_builtins(explain(story, until=until, about=about, now=now))),
        "at": of(snapshot),
        "status then": of(lambda story, until: status_of(story, (), until=until, is_whole=False)),
    }


def told_whole(story: Story, ask: Ask) -> JsonValue:
    try:
        return ask(story)
    except (NotInWindow, InvalidSettings) as err:
        return str(err)


async def told_looking_back(log: Log, key: OrderingKey, ask: Ask, *texts: str, now: int) -> JsonValue:
    try:
        story = await latest(log, key, [position(one, now=now) for one in texts], steps=STEPS)
        return await answered(log, story, ask, steps=STEPS)
    except (NotInWindow, InvalidSettings) as err:
        return str(err)


def about_which(story: Story, chance: random.Random) -> str:
    """Nothing, or an object, of one that does not exist too."""
    refs = [f"{ref.kind}/{ref.name}" for ref in story.state(story.ends).seen()]
    return chance.choice(["", "", "gateway", "nothing-of-that-name", *refs])


def instants_of(story: Story, chance: random.Random, count: int) -> Iterator[str]:
    """Revisions and times, from before the history begins to after its end."""
    yield "@1"
    yield f"@{story.ends}"
    yield f"@{story.ends + 1}"
    for _ in range(count):
        yield f"@{chance.randint(1, story.ends)}"
        one = chance.choice((*story.own, *story.shared))
        yield f"-{story.last_at + 10 - one.at}ms"


async def compare(log: Log, key: OrderingKey, *, count: int, seed: int = 1) -> int:
    """Ask about random instants in both ways; answers how many questions that were."""
    chance = random.Random(seed)
    story = await read_story(log, key)
    now, asked = story.last_at + 10, 0
    for text in instants_of(story, chance, count):
        about = about_which(story, chance)
        for name, ask in chance.sample(sorted(asked_of(text, now, about).items()), 2):
            found = await told_looking_back(log, key, ask, text, now=now)
            assert found == told_whole(story, ask), (str(key), name, text, about)
            asked += 1
    assert await told_looking_back(log, key, status_of_now, now=now) == status_of_now(story)
    return asked


def status_of_now(story: Story) -> JsonValue:
    return status_of(story, ())


@pytest.mark.parametrize("name", ["a-pause", "a-bad-image", "edited-by-hand", "new-rules"])
def test_golden_histories_give_the_same_answers(name: str) -> None:
    log = of_archive(name)
    keys = asyncio.run(recorded_keys(log, "local"))
    assert keys
    for key in keys:
        asyncio.run(compare(log, key, count=6))


def test_what_was_not_read_is_not_taken_for_nothing() -> None:
    log = of_archive("a-pause")
    key = asyncio.run(recorded_keys(log, "local"))[0]
    story = asyncio.run(latest(log, key, [Position(sequence=60)], steps=STEPS))
    assert story.part is not None
    assert (story.part.read_from, story.part.read_to) == (61, 60)
    decisions = decision_subject(key, story.partitions)
    rests_on_more: dict[str, Callable[[], object]] = {
        "the newest": lambda: story.newest(lambda one: one.sequence <= 60),
        "the window": lambda: story.window,
        "whether it is complete": lambda: story.is_complete(lambda one: one.sequence <= 0),
        "a state": lambda: story.state(60),
        "one subject": lambda: list(story.backwards(decisions, 60)),
        "a stretch": lambda: story.between(10, 60, lambda _: True),
        "a place": lambda: story.at(50),
    }
    for what, ask in rests_on_more.items():
        with pytest.raises(OlderNeeded):
            raise AssertionError(f"{what} was told: {ask()}")


@pytest.fixture(scope="module")
def lives() -> Log:
    """Three TapioClusters, to which happens what the benchmark lets happen."""
    return log_of(list(islice(Months(5_000, 3).told(), 5_000)))


def test_generated_lives_give_the_same_answers(lives: Log) -> None:
    asyncio.run(compare(lives, asyncio.run(recorded_keys(lives, "local"))[1], count=8))


def test_a_log_that_has_dropped_its_beginning_gives_the_same_answers() -> None:
    async def lived() -> Log:
        async with incident(log_max_bytes=900_000) as one:
            for number in range(25):
                note: dict[str, JsonValue] = {"podAnnotations": {"note": str(number)}}
                await one.edit(f"user-{number}@example.org", {"spec": {"nats": note}})
                await asyncio.sleep(one.operator.random.uniform(1.0, 60.0))
            info = await one.operator.log.info()
            assert info.first_sequence > 1
            messages = one.operator.log.read("tapio.log.>", up_to=info.last_sequence)
            return Log(info, [message async for message in messages])

    asyncio.run(compare(run_virtually(lived()), KEY, count=20))


def test_a_question_about_now_leads_through_a_part_of_the_log(lives: Log) -> None:
    """What a person asks is mostly answered by what came last, however long the log is."""
    key = asyncio.run(recorded_keys(lives, "local"))[0]
    for ask, share in ((explained_now, 0.5), (status_of_now, 0.5), (snapshot_now, 0.0)):
        lives.looked_through = 0
        asyncio.run(told_looking_back(lives, key, ask, now=0))
        # Of its own records, and of the shared ones.
        assert lives.looked_through <= 2 * share * 5_000, ask.__name__


def explained_now(story: Story) -> JsonValue:
    found: JsonValue = msgspec.to_builtins(explain(story, until=story.ends))
    return found


def snapshot_now(story: Story) -> JsonValue:
    return snapshot(story, story.ends)


def test_messages_that_name_the_one_before_them_are_followed_and_nothing_is_looked_through(lives: Log) -> None:
    key = asyncio.run(recorded_keys(lives, "local"))[0]
    whole = asyncio.run(read_story(lives, key))
    subjects = [one for one in {one.message.subject for one in whole.own} if _is_linked(one)]
    assert len(subjects) > 5
    lives.looked_through = 0
    for subject in subjects:
        expected = [one.sequence for one in whole.own if one.message.subject == subject]

        def told(story: Story, subject: str = subject) -> JsonValue:
            return [one.sequence for one in story.backwards(subject, story.ends)]

        found = asyncio.run(told_looking_back(lives, key, told, now=0))
        assert found == expected[::-1], subject
    assert lives.looked_through == 0


def test_what_files_would_do_follows_from_the_newest_records_alone(lives: Log) -> None:
    key = asyncio.run(recorded_keys(lives, "local"))[0]
    story = asyncio.run(read_story(lives, key))
    newest = story.state(story.ends)
    document = copy.deepcopy(newest.seen()[cluster_ref(key.namespace, key.name)].document or {})
    object_at(document, "spec", "nats")["podAnnotations"] = {"asked": "for"}
    stranger: JsonObject = {**document, "metadata": {"namespace": key.namespace, "name": "another"}}

    @asynccontextmanager
    async def connect(_: Live) -> AsyncGenerator[Sources]:
        yield Sources(lives, None)

    lives.looked_through = 0
    where = Where(url="nats://127.0.0.1:4222")
    unknown, known = asyncio.run(planned(connect, [document, stranger], where, 0))
    assert lives.looked_through == 0
    assert known == ahead(newest, [document], partitions=PARTITIONS, now=0)
    assert [one.workload for one in known.restarts] == [f"StatefulSet.apps {key.namespace}/{key.name}-nats"]
    alone = State(OrderingKey("local", key.namespace, "another"), shared=newest.shared)
    assert {one.action for one in unknown.changes} == {"create"}
    assert unknown == ahead(alone, [stranger], partitions=PARTITIONS, now=0)


async def compare_stretches(log: Log, key: OrderingKey, *, count: int) -> None:
    """Ask what happened from random instants on, and between two, in both ways."""
    chance = random.Random(7)
    story = await read_story(log, key)
    now, sources = story.last_at + 10, Sources(log, None)
    late = [f"@{chance.randint(story.ends * 3 // 4, story.ends)}" for _ in range(count)]
    for since in (*late, *instants_of(story, chance, count // 4)):
        until = chance.choice(["", "", "", *instants_of(story, chance, 1)])
        about = "" if since in late else about_which(story, chance)
        found: list[tuple[Sequence[Event], str]] = []
        for is_live in (True, False):
            try:
                one = await events_between(
                    sources, key, since, until, about=about, now=now, is_live=is_live, steps=STEPS
                )
                found.append((one.events, one.span.remark))
            except (NotInWindow, InvalidSettings) as err:
                found.append(((), str(err)))
        assert found[0] == found[1], (str(key), since, until, about)
        if isinstance(found[1][0], list):
            whole = [one for one in timeline(story) if span(story, since, until, now=now).holds(one)]
            assert [one for one in whole if about.lower() in one.about.lower()] == found[1][0]


@pytest.mark.parametrize("name", ["a-pause", "a-bad-image", "edited-by-hand", "new-rules"])
def test_golden_histories_tell_the_same_of_a_stretch(name: str) -> None:
    log = of_archive(name)
    for key in asyncio.run(recorded_keys(log, "local")):
        asyncio.run(compare_stretches(log, key, count=8))


def test_generated_lives_tell_the_same_of_a_stretch(lives: Log) -> None:
    asyncio.run(compare_stretches(lives, asyncio.run(recorded_keys(lives, "local"))[1], count=3))


def test_what_happened_since_leads_through_that_and_what_it_compares_with(lives: Log) -> None:
    key = asyncio.run(recorded_keys(lives, "local"))[0]
    story = asyncio.run(read_story(lives, key))
    # The last two hundred sequences, and of an object what it was like before; of nothing that there is, those alone.
    for about, most in (("", 1_500), ("nothing-of-that-name", 2 * 200)):
        lives.looked_through = 0
        found = events_between(
            Sources(lives, None), key, f"@{story.ends - 199}", about=about, now=story.last_at, steps=STEPS
        )
        assert (not asyncio.run(found).events) == bool(about)
        assert lives.looked_through <= 2 * most, about


def test_what_comes_is_followed_from_an_instant_on(lives: Log) -> None:
    """What was before is read no more than for the events since, and what comes is compared with the newest records."""
    key = asyncio.run(recorded_keys(lives, "local"))[0]
    whole = asyncio.run(read_story(lives, key))
    sequences = [one.sequence for one in whole.own]
    first, last = sequences[-40], sequences[-20]
    growing = log_of([one for one in lives.messages if one.sequence <= last])

    async def followed() -> list[Event]:
        events: list[Event] = []
        async with aclosing(follow(Sources(growing, None), key, f"@{first}", now=whole.last_at, steps=STEPS)) as looks:
            async for look in looks:
                events += look
                growing.grow(lives.messages)
                if events[-1].sequence > last:
                    return events
        return events

    expected = [one for one in timeline(whole) if one.sequence >= first]
    assert run_virtually(followed()) == expected


def test_nobody_is_told_of_whom_nothing_is_recorded() -> None:
    log = of_archive("a-pause")
    with pytest.raises(NotInWindow, match=r"Nothing is recorded of TapioCluster default/nobody of local\. There are: "):
        asyncio.run(latest(log, OrderingKey("local", "default", "nobody"), steps=STEPS))
