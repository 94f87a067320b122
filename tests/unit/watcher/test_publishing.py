"""Facts are appended once, in order, newest first, through every failure that the log can show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.codec import decode_record
from tapio_shared.errors import LogFull, LogMissing, LogUnavailable, RetryableError, TapioError
from tapio_shared.facts import ObjectGone, ObjectObserved
from tapio_shared.json import at
from tapio_shared.keys import ObjectRef, OrderingKey, object_subject
from tapio_shared.ports import NewMessage
from tapio_watcher.encoding import EncodedFact, observed_fact
from tapio_watcher.metrics import Metrics
from tapio_watcher.publishing import MOST_WAITING, FactWriter
from tests.support.eventually import eventually

KEY = OrderingKey("local", "team", "tapio")
REF = ObjectRef("", "ConfigMap", "team", "settings")
OTHER = ObjectRef("", "ConfigMap", "team", "other")
SUBJECT = object_subject(KEY, REF, 4)
GONE = None


def fact(answer: int, uid: str = "u-1") -> EncodedFact:
    return observed_fact({"answer": answer}, uid=uid, resource_version=str(answer), now=answer)


@asynccontextmanager
async def writing(log: MemoryEventLog) -> AsyncGenerator[FactWriter]:
    async with asyncio.TaskGroup() as group:
        writer = FactWriter(log, "local", 4, SystemClock(), Metrics(CollectorRegistry()), group)
        await writer.hydrate()
        yield writer


async def told(log: MemoryEventLog, subject: str = SUBJECT) -> list[object]:
    """Every fact of a subject: answers of what was observed, UIDs of what is gone."""
    last = (await log.info()).last_sequence
    found: list[object] = []
    if last == 0:
        return found
    async with log.follow(">", from_sequence=1) as messages:
        async for message in messages:
            if message.subject == subject:
                record = decode_record(message.data)
                found.append(at(record.object, "answer") if isinstance(record, ObjectObserved) else _uid(record))
            if message.sequence >= last:
                return found
    return found


def _uid(record: object) -> str:
    assert isinstance(record, ObjectGone)
    return record.uid


class Failing:
    """Fails the first operations of a kind."""

    def __init__(self, operation: str, error: TapioError, times: int) -> None:
        self.operation, self.error, self.left = operation, error, times

    def __call__(self, operation: str, _subject: str) -> TapioError | None:
        if operation != self.operation or self.left == 0:
            return None
        self.left -= 1
        return self.error


async def test_what_the_log_says_already_is_not_appended() -> None:
    log = MemoryEventLog(SystemClock(), partitions=4)
    for _ in range(2):
        async with writing(log) as writer:
            writer.observed(KEY, REF, fact(1))
            await writer.flush()
    assert await told(log) == [1]


async def test_the_end_of_what_was_never_told_is_no_news_unless_it_is_awaited() -> None:
    log = MemoryEventLog(SystemClock(), partitions=4)
    async with writing(log) as writer:
        writer.gone(REF)
        await writer.flush()
        assert await told(log) == []
        writer.gone(REF, key=KEY)
        await writer.flush()
    assert await told(log) == [""]


@pytest.mark.parametrize(
    ("before", "lost", "after", "expected"),
    [
        pytest.param([], 1, None, [1, "u-1"], id="its end, of what was never known to be told"),
        pytest.param([1], 2, None, [1, 2, "u-1"], id="its end"),
        pytest.param([1], 2, 1, [1, 2, 1], id="it is as the last fact that is known says"),
        pytest.param([1], 2, 3, [1, 2, 3], id="it is different again"),
    ],
)
async def test_what_gave_way_after_its_acknowledgement_was_lost_is_no_longer_the_last_word(
    before: list[int], lost: int, after: int | None, expected: list[object]
) -> None:
    """The log holds what the writer does not know of, so that nothing goes without saying."""
    log = MemoryEventLog(SystemClock(), partitions=4)
    async with writing(log) as writer:

        def tell(answer: int | None) -> None:
            if answer is None:
                writer.gone(REF, uid="u-1", refetch=refetch)
            else:
                writer.observed(KEY, REF, fact(answer), refetch=refetch)

        async def refetch() -> None:
            tell(after)

        for answer in before:
            tell(answer)
            await writer.flush()
        answers = [LogUnavailable("away")]

        def unanswered(operation: str, _subject: str) -> TapioError | None:
            """The append is stored and not acknowledged, and something newer is told before that is known."""
            if operation != "lost_ack" or not answers:
                return None
            tell(after)
            return answers.pop()

        log.fault = unanswered
        tell(lost)
        await writer.flush()
    assert await told(log) == expected


async def test_a_lost_acknowledgement_appends_nothing_twice() -> None:
    log = MemoryEventLog(SystemClock(), partitions=4)
    async with writing(log) as writer:
        log.fault = Failing("lost_ack", LogUnavailable("away"), 1)
        writer.observed(KEY, REF, fact(1))
        writer.observed(KEY, REF, fact(2))
        await writer.flush()
    assert await told(log) == [1, 2] or await told(log) == [2]


async def test_a_full_log_is_tried_until_it_takes_the_newest() -> None:
    log = MemoryEventLog(SystemClock(), partitions=4)
    async with writing(log) as writer:
        troubles: list[str] = []

        def full(operation: str, _subject: str) -> TapioError | None:
            """Full for three attempts; during the last one something newer is told."""
            if operation != "append" or len(troubles) == 3:
                return None
            troubles.append(writer.trouble)
            if len(troubles) == 3:
                writer.observed(KEY, REF, fact(2))
            return LogFull("no space")

        log.fault = full
        writer.observed(KEY, REF, fact(1))
        await writer.flush()
        assert troubles == ["", "no space", "no space"]
        assert writer.trouble == ""
    assert await told(log) == [2]


async def test_a_fact_that_no_server_takes_holds_nothing_up() -> None:
    log = MemoryEventLog(SystemClock(), partitions=4)
    async with writing(log) as writer:
        huge = observed_fact({"answer": "x" * (9 << 20)}, uid="u-1", resource_version="1", now=1)
        writer.observed(KEY, REF, huge)
        writer.observed(KEY, OTHER, fact(2))
        await writer.flush()
        assert await told(log) == []
        assert await told(log, object_subject(KEY, OTHER, 4)) == [2]
        writer.observed(KEY, REF, fact(3))
        await writer.flush()
    assert await told(log) == [3]


async def test_a_log_that_is_missing_ends_the_writer() -> None:
    log = MemoryEventLog(SystemClock(), partitions=4)
    writers: list[FactWriter] = []

    async def write() -> None:
        async with writing(log) as writer:
            writers.append(writer)
            log.fault = Failing("append", LogMissing("gone"), 1)
            writer.observed(KEY, REF, fact(1))
            await writer.flush()

    with pytest.raises(BaseExceptionGroup) as raised:
        await write()
    assert raised.group_contains(LogMissing)
    assert writers[0].is_broken


async def test_what_is_told_while_the_writer_ends_is_a_reason_to_begin_anew_and_no_bug() -> None:
    """The watches have not noticed yet that an append failed for good, and go on telling."""
    log = MemoryEventLog(SystemClock(), partitions=4)
    errors: list[str] = []

    async def watch(writer: FactWriter) -> None:
        try:
            await asyncio.Event().wait()
        finally:  # The first moment in which anybody is told that the group ends.
            with pytest.raises(RetryableError) as error:
                writer.observed(KEY, OTHER, fact(2))
            errors.append(str(error.value))

    async def write() -> None:
        async with asyncio.TaskGroup() as group:
            writer = FactWriter(log, "local", 4, SystemClock(), Metrics(CollectorRegistry()), group)
            group.create_task(watch(writer))
            await asyncio.sleep(0)
            log.fault = Failing("append", LogMissing("gone"), 1)
            writer.observed(KEY, REF, fact(1))

    with pytest.RaisesGroup(LogMissing):
        await write()
    told_of = object_subject(KEY, OTHER, 4)
    assert errors == [f"Facts of local are no longer appended, so {told_of} is not told; all is observed anew."]


async def test_the_end_of_another_object_of_that_name_is_not_taken_for_the_one_before() -> None:
    """A watcher that is late has to tell that u-1 ended and u-2 began; another one has told all that, and u-2's end."""
    log = MemoryEventLog(SystemClock())
    async with writing(log) as ahead:
        ahead.observed(KEY, REF, fact(1))
        await ahead.flush()
        async with writing(log) as late:
            ahead.observed(KEY, REF, fact(2, "u-2"))
            await ahead.flush()
            ahead.gone(REF, uid="u-2")
            await ahead.flush()

            async def refetch() -> None:
                late.gone(REF)

            late.observed(KEY, REF, fact(2, "u-2"), refetch=refetch)
            await late.flush()
    assert await told(log) == [1, "u-1", 2, "u-2"]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(fact(2), [GONE], id="it changed, and ended"),
        pytest.param(GONE, [fact(2, "u-2"), GONE], id="it ended, and so did the next"),
        pytest.param(fact(2), [GONE, fact(2, "u-2")], id="it changed, ended and was made anew"),
    ],
)
async def test_nothing_that_waits_is_told_after_what_somebody_else_told_meanwhile(
    first: EncodedFact | None, then: Sequence[EncodedFact | None]
) -> None:
    """A watcher that is late is about to tell more when it learns that the log knows of u-3, which came after that."""
    log = MemoryEventLog(SystemClock(), partitions=4)
    async with writing(log) as ahead, writing(log) as late:
        ahead.observed(KEY, REF, fact(1))
        await ahead.flush()
        await late.hydrate()
        left = list(then)

        async def read_again() -> None:
            late.observed(KEY, REF, fact(3, "u-3"), refetch=read_again)

        def tell(one: EncodedFact | None) -> None:
            if one is None:
                late.gone(REF, uid="u-1", key=KEY, refetch=read_again)
            else:
                late.observed(KEY, REF, one, refetch=read_again)

        def while_it_is_appended(operation: str, _subject: str) -> None:
            while operation == "append" and left:
                tell(left.pop(0))

        ahead.observed(KEY, REF, fact(3, "u-3"))
        await ahead.flush()
        log.fault = while_it_is_appended
        tell(first)
        await late.flush()
    assert await told(log) == [1, "u-1", 3]


async def test_what_a_late_watch_tells_while_the_object_can_not_be_read_is_no_newer() -> None:
    log = MemoryEventLog(SystemClock(), partitions=4)
    async with writing(log) as ahead, writing(log) as late:
        ahead.observed(KEY, REF, fact(1))
        await ahead.flush()
        await late.hydrate()
        is_away = True

        async def read_again() -> None:
            nonlocal is_away
            if is_away:
                is_away = False
                late.gone(REF, uid="u-1", refetch=read_again)
                raise LogUnavailable("the API server is away, say")
            late.observed(KEY, REF, fact(3, "u-3"), refetch=read_again)

        ahead.observed(KEY, REF, fact(3, "u-3"))
        await ahead.flush()
        late.observed(KEY, REF, fact(2), refetch=read_again)
        await late.flush()
    assert await told(log) == [1, "u-1", 3]


async def test_an_end_that_is_read_again_after_a_refused_reading_is_told() -> None:
    """The end waits behind a change that is to be read again; it takes the change's place, and then is read itself."""
    log = MemoryEventLog(SystemClock(), partitions=4)
    async with writing(log) as ahead, writing(log) as late:
        ahead.observed(KEY, REF, fact(1))
        await ahead.flush()
        await late.hydrate()
        is_refused = True

        async def read_again() -> None:
            nonlocal is_refused
            if is_refused:
                is_refused = False
                late.gone(REF, uid="u-1", refetch=read_again)
                raise LogUnavailable("the API server is away, say")
            late.gone(REF, refetch=read_again)

        ahead.observed(KEY, REF, fact(2))
        await ahead.flush()
        late.observed(KEY, REF, fact(3), refetch=read_again)
        await late.flush()
        await late.flush()
    assert await told(log) == [1, 2, ""]


async def test_what_is_read_again_is_flushed_too() -> None:
    """Or an observation would be called complete before what was made anew, and is read for that, is told."""
    log = MemoryEventLog(SystemClock(), partitions=4)
    async with writing(log) as writer:

        async def read_again() -> None:
            await asyncio.sleep(0.01)
            writer.observed(KEY, REF, fact(3, "u-2"), refetch=read_again)

        writer.observed(KEY, REF, fact(1))
        await writer.flush()
        writer.observed(KEY, REF, fact(2, "u-2"), refetch=read_again)
        log.fault = Failing("append", LogUnavailable("away"), 2)
        await writer.flush()
        assert await told(log) == [1, "u-1", 3]


async def test_on_a_conflict_the_object_is_read_again_until_that_succeeds() -> None:
    log = MemoryEventLog(SystemClock(), partitions=4)
    async with writing(log) as writer:
        tries = 0

        async def refetch() -> None:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise LogUnavailable("the API server is away, say")
            writer.observed(KEY, REF, fact(3), refetch=refetch)

        await log.append(NewMessage(subject=SUBJECT, data=fact(1).data))
        writer.observed(KEY, REF, fact(2), refetch=refetch)
        await writer.flush()
        await eventually(lambda: _is_idle(log, 3))
    assert await told(log) == [1, 3]
    assert tries == 2


NOBODY = "nobody reads it again"


@pytest.mark.parametrize(
    ("word", "found", "facts"),
    [
        pytest.param(GONE, GONE, ["u-1"], id="gone"),
        pytest.param(GONE, NOBODY, ["u-1"], id="gone, as what is counted tells"),
        pytest.param(GONE, fact(1), [1], id="there as before"),
        pytest.param(GONE, fact(1, "u-2"), ["u-1", 1], id="made anew"),
        pytest.param(fact(2), fact(3), [3], id="changed"),
        pytest.param(fact(2), GONE, ["u-1"], id="gone meanwhile"),
    ],
)
async def test_what_the_log_has_dropped_is_told_again_or_its_end(
    word: EncodedFact | None, found: EncodedFact | str | None, facts: list[object]
) -> None:
    log = MemoryEventLog(SystemClock(), partitions=4, max_bytes=10_000)
    async with writing(log) as writer:

        def tell(one: EncodedFact | str | None) -> None:
            refetch = None if found == NOBODY else read_again
            if isinstance(one, EncodedFact):
                writer.observed(KEY, REF, one, refetch=refetch)
            else:
                writer.gone(REF, uid="u-1", refetch=refetch)

        async def read_again() -> None:
            tell(found)

        writer.observed(KEY, REF, fact(1))
        await writer.flush()
        while await log.last(SUBJECT) is not None:
            await log.append(NewMessage(subject="tapio.cursor.test.filling", data=b"x" * 1_000))
        tell(word)
        await eventually(lambda: _has_told(log, facts))


async def test_too_much_that_waits_stops_the_reading() -> None:
    log = MemoryEventLog(SystemClock(), partitions=4)
    async with writing(log) as writer:
        away = Failing("append", LogUnavailable("away"), 1_000_000)
        log.fault = away
        for number in range(MOST_WAITING):
            key = OrderingKey("local", "team", f"c-{number}")
            writer.observed(key, ObjectRef("", "ConfigMap", "team", f"s-{number}"), fact(number))
        room = asyncio.create_task(writer.room())
        await eventually(lambda: _is_in_trouble(writer))
        assert not room.done()
        away.left = 0
        await room


LIVES = st.lists(st.tuples(st.sampled_from(["u-1", "u-2", "u-3"]), st.integers(0, 3) | st.none()), max_size=25)


@settings(max_examples=60, deadline=None)
@given(LIVES, st.integers(0, 3), st.booleans())
async def test_the_last_word_is_told_and_no_end_of_a_told_object_is_dropped(
    lives: list[tuple[str, int | None]], failures: int, pause: bool
) -> None:
    log = MemoryEventLog(SystemClock(), partitions=4)
    async with writing(log) as writer:
        log.fault = Failing("append", LogUnavailable("away"), failures)
        last: object = None
        for uid, answer in lives:
            if answer is None:
                writer.gone(REF, uid=uid)
                last = None
            else:
                writer.observed(KEY, REF, fact(answer, uid))
                last = answer
            if pause:
                await asyncio.sleep(0)
        await writer.flush()
    facts = await told(log)
    assert (facts[-1] if facts and not isinstance(facts[-1], str) else None) == last
    records = [decode_record(one.data) for one in (await _history(log))]
    present = ""
    for record in records:
        assert isinstance(record, ObjectObserved | ObjectGone)
        if isinstance(record, ObjectObserved):
            assert present in {"", record.uid}, "one object replaced another without its end being told"
            present = record.uid
        else:
            present = ""


async def _history(log: MemoryEventLog) -> list[NewMessage]:
    last = (await log.info()).last_sequence
    found: list[NewMessage] = []
    if last:
        async with log.follow(SUBJECT, from_sequence=1) as messages:
            async for message in messages:
                found.append(NewMessage(subject=message.subject, data=message.data))
                if message.sequence >= last:
                    break
    return found


async def _is_in_trouble(writer: FactWriter) -> bool:
    return writer.trouble != ""


async def _has_told(log: MemoryEventLog, facts: list[object]) -> bool:
    return await told(log) == facts


async def _is_idle(log: MemoryEventLog, answer: int) -> bool:
    return answer in await told(log)
