"""The log in memory produces, on demand, everything that the real one can do to its callers.

What both do alike is the contract suite's (tests/contract/event_log).
"""

from __future__ import annotations

import asyncio

import pytest

from tapio_shared.adapters.clock import ManualClock
from tapio_shared.adapters.memory_log import Fault, MemoryEventLog
from tapio_shared.errors import LogFull, LogMissing, LogRewound, LogUnavailable, RevisionConflict, TapioError
from tapio_shared.keys import subject_matches
from tapio_shared.ports import Appended, NewMessage

A, B = "tapio.log.1.a", "tapio.log.1.b"


def failing(operation: str, error: TapioError, *, times: int = 1) -> Fault:
    """A fault that hits the next `times` operations of a kind."""
    left = times

    def fault(asked: str, _: str) -> TapioError | None:
        nonlocal left
        if asked != operation or left == 0:
            return None
        left -= 1
        return error

    return fault


async def filled(log: MemoryEventLog, count: int) -> MemoryEventLog:
    for number in range(count):
        await log.append(NewMessage(A, str(number).encode()))
    return log


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def log(clock: ManualClock) -> MemoryEventLog:
    return MemoryEventLog(clock)


@pytest.mark.parametrize(
    ("operation", "error", "stored"),
    [
        pytest.param("append", LogUnavailable("No answer."), 0, id="an append that never arrives"),
        pytest.param("lost_ack", LogUnavailable("No answer."), 1, id="an append whose answer is lost"),
        pytest.param("append", RevisionConflict(A, 0, 7), 0, id="somebody else was first"),
        pytest.param("append", LogFull("The disk is full."), 0, id="a full disk"),
        pytest.param("append", LogMissing("No stream."), 0, id="no stream"),
    ],
)
async def test_an_append_can_fail_in_every_way(
    log: MemoryEventLog, operation: str, error: TapioError, stored: int
) -> None:
    log.fault = failing(operation, error)
    with pytest.raises(type(error)) as caught:
        await log.append(NewMessage(A, b"x"))
    assert caught.value is error
    assert (await log.info()).messages == stored


async def test_a_lost_answer_is_found_by_repeating_under_the_same_id(log: MemoryEventLog) -> None:
    log.fault = failing("lost_ack", LogUnavailable("No answer."))
    message = NewMessage(A, b"x", expected_last=0, message_id="one")
    with pytest.raises(LogUnavailable):
        await log.append(message)
    assert await log.append(message) == Appended(1, duplicate=True)


async def test_a_lost_answer_without_an_id_shows_as_a_conflict(log: MemoryEventLog) -> None:
    log.fault = failing("lost_ack", LogUnavailable("No answer."))
    message = NewMessage(A, b"x", expected_last=0)
    with pytest.raises(LogUnavailable):
        await log.append(message)
    with pytest.raises(RevisionConflict):
        await log.append(message)


async def test_an_id_is_forgotten_after_two_minutes(log: MemoryEventLog, clock: ManualClock) -> None:
    message = NewMessage(A, b"x", message_id="one")
    await log.append(message)
    clock.advance(120)
    assert await log.append(message) == Appended(1, duplicate=True)
    clock.advance(0.001)
    assert await log.append(message) == Appended(2)


async def test_a_replica_that_lags_answers_an_older_view_unless_more_is_asked_for(log: MemoryEventLog) -> None:
    await filled(log, 5)
    await log.append(NewMessage(B, b"new"))
    log.lag = 2
    stale = await log.last_per_subject("tapio.log.>")
    assert ([(one.subject, one.sequence) for one in stale.messages], stale.revision) == ([(A, 4)], 4)
    fresh = await log.last_per_subject("tapio.log.>", at_least=6)
    assert ([(one.subject, one.sequence) for one in fresh.messages], fresh.revision) == ([(A, 5), (B, 6)], 6)
    last = await log.last(B)
    assert last is not None, "The leader answers for one subject."


async def test_an_empty_answer_of_a_replica_is_never_believed(log: MemoryEventLog) -> None:
    await log.append(NewMessage(A, b"x"))
    log.lag = 1
    assert [message.sequence for message in (await log.last_per_subject(A)).messages] == [1]


async def test_a_full_stream_drops_its_oldest_or_refuses(clock: ManualClock) -> None:
    log = MemoryEventLog(clock, max_bytes=300)
    fence = (await log.append(NewMessage("tapio.epoch.1", b""))).sequence
    await filled(log, 10)
    info = await log.info()
    assert info.bytes <= 300
    assert info.first_sequence > fence
    with pytest.raises(RevisionConflict) as caught:
        await log.append(NewMessage(A, b"x", expected_last=fence, expected_subject="tapio.epoch.1"))
    assert caught.value.actual == 0
    log.refuse_when_full = True
    with pytest.raises(LogFull):
        await log.append(NewMessage(A, bytes(200)))


async def test_messages_age_out(clock: ManualClock) -> None:
    log = await filled(MemoryEventLog(clock, max_age=60.0), 2)
    clock.advance(59)
    assert (await log.info()).messages == 2
    clock.advance(2)
    await log.append(NewMessage(B, b"x"))
    info = await log.info()
    assert (info.messages, info.first_sequence, info.last_sequence) == (1, 3, 3)
    assert await log.last(A) is None


async def test_a_follower_is_told_when_the_log_is_rewound(log: MemoryEventLog) -> None:
    await filled(log, 5)
    async with log.follow("tapio.log.>", from_sequence=4) as messages:
        assert [(await anext(messages)).sequence for _ in range(2)] == [4, 5]
        await log.rewind(3)
        with pytest.raises(LogRewound, match="it ends at 3, and 5 was seen"):
            await anext(messages)
    assert await log.append(NewMessage(A, b"again", expected_last=3)) == Appended(4)


async def test_a_follower_is_told_when_the_log_has_grown_again_before_it_looks(log: MemoryEventLog) -> None:
    await filled(log, 5)
    async with log.follow("tapio.log.>", from_sequence=4) as messages:
        assert [(await anext(messages)).sequence for _ in range(2)] == [4, 5]
        await log.rewind(3)
        await filled(log, 4)
        with pytest.raises(LogRewound, match="has grown again: what stands at 5 is not what was seen there"):
            await anext(messages)


async def test_a_loss_of_what_was_not_followed_yet_ends_nothing(log: MemoryEventLog) -> None:
    await filled(log, 5)
    async with log.follow("tapio.log.>", from_sequence=3) as messages:
        assert (await anext(messages)).sequence == 3
        await log.rewind(3)
        await filled(log, 1)
        assert (await anext(messages)).sequence == 4


async def test_a_follower_is_told_when_the_log_is_lost_and_made_anew(log: MemoryEventLog) -> None:
    await filled(log, 2)
    created = (await log.info()).created_at
    async with log.follow("tapio.log.>", from_sequence=3) as messages:
        waiting = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        await log.remove()
        with pytest.raises(LogMissing):
            await waiting
    for work in (log.append(NewMessage(A, b"")), log.last(A), log.last_per_subject(A), log.info()):
        with pytest.raises(LogMissing):
            await work
    await log.make()
    assert (await log.info()).created_at != created
    assert await log.append(NewMessage(A, b"")) == Appended(1)


async def test_a_follower_of_a_log_that_was_made_anew_does_not_mistake_it(log: MemoryEventLog) -> None:
    await filled(log, 2)
    async with log.follow("tapio.log.>", from_sequence=1) as messages:
        await anext(messages)
        await log.remove()
        await log.make()
        await filled(log, 5)
        with pytest.raises(LogRewound):
            await anext(messages)


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        pytest.param("a.b", "a.b", True, id="itself"),
        pytest.param("a.*", "a.b", True, id="one token"),
        pytest.param("a.*", "a.b.c", False, id="one token is not two"),
        pytest.param("a.>", "a.b.c", True, id="the rest"),
        pytest.param("a.>", "a", False, id="the rest is at least one"),
        pytest.param("*.b.>", "a.b.c.d", True, id="both"),
        pytest.param("a.b.c", "a.b", False, id="too short"),
    ],
)
def test_filters(pattern: str, subject: str, expected: bool) -> None:
    assert subject_matches(pattern, subject) is expected
