"""`EventLog.append` and `append_batch`: expectations, ids, atomicity."""

from __future__ import annotations

import asyncio

import pytest

from tapio_shared.errors import LogRefused, MessageTooLarge, RevisionConflict
from tapio_shared.ports import Appended, EventLog, NewMessage

FENCE = "tapio.epoch.1"
A, B, C = "tapio.log.1.a", "tapio.log.1.b", "tapio.log.1.c"


def message(subject: str, data: bytes = b"x", **more: object) -> NewMessage:
    return NewMessage(subject, data, **more)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def stored(log: EventLog) -> int:
    return (await log.info()).messages


async def test_sequences_begin_at_one_and_have_no_gaps(event_log: EventLog) -> None:
    assert [await event_log.append(message(one)) for one in (A, B, A)] == [Appended(1), Appended(2), Appended(3)]


async def test_what_was_appended_is_read_back_unchanged(event_log: EventLog) -> None:
    data, headers = bytes(range(256)), {"traceparent": "00-aa-bb-01", "Kind": "ünïcode: value"}
    await event_log.append(message(A, data, headers=headers, message_id="id-1", expected_last=0))
    found = await event_log.last(A)
    assert found is not None
    assert (found.subject, found.sequence, found.data, dict(found.headers)) == (A, 1, data, headers)
    assert found.written_at > 1_700_000_000_000


async def test_a_subject_that_never_had_a_message_has_no_last(event_log: EventLog) -> None:
    await event_log.append(message(A))
    assert await event_log.last(B) is None


@pytest.mark.parametrize(
    ("subject", "expected_last", "expected_subject", "conflict"),
    [
        pytest.param(B, 0, None, None, id="none yet, and there is none"),
        pytest.param(A, 2, None, None, id="the last one"),
        pytest.param(A, 0, None, (A, 0, 2), id="none yet, but there is one"),
        pytest.param(A, 1, None, (A, 1, 2), id="no longer the last"),
        pytest.param(A, 99, None, (A, 99, 2), id="not written yet"),
        pytest.param(B, 7, None, (B, 7, 0), id="one, but there is none"),
        pytest.param(B, 3, FENCE, None, id="another subject's last"),
        pytest.param(B, 2, FENCE, (FENCE, 2, 3), id="another subject moved on"),
        pytest.param(B, 0, "tapio.epoch.9", None, id="another subject has none yet"),
    ],
)
async def test_an_expectation_holds_or_nothing_is_appended(
    event_log: EventLog,
    subject: str,
    expected_last: int,
    expected_subject: str | None,
    conflict: tuple[str, int, int] | None,
) -> None:
    for one in (A, A, FENCE):
        await event_log.append(message(one))
    appending = event_log.append(message(subject, expected_last=expected_last, expected_subject=expected_subject))
    if conflict is None:
        assert await appending == Appended(4)
        return
    with pytest.raises(RevisionConflict) as caught:
        await appending
    assert (caught.value.subject, caught.value.expected, caught.value.actual) == conflict
    assert await stored(event_log) == 3


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(message(A, b"other", message_id="one"), id="on the same subject"),
        pytest.param(message(B, b"other", message_id="one"), id="on another subject"),
        pytest.param(message(A, b"other", message_id="one", expected_last=0), id="with an expectation that is stale"),
    ],
)
async def test_a_known_id_appends_nothing_and_answers_the_first(event_log: EventLog, again: NewMessage) -> None:
    assert await event_log.append(message(A, message_id="one", expected_last=0)) == Appended(1)
    assert await event_log.append(again) == Appended(1, duplicate=True)
    assert await stored(event_log) == 1


async def test_the_same_id_many_times_at_once_is_stored_once(event_log: EventLog) -> None:
    answers = await asyncio.gather(*(event_log.append(message(A, message_id="one")) for _ in range(20)))
    assert {answer.sequence for answer in answers} == {1}
    assert sum(not answer.duplicate for answer in answers) == 1
    assert await stored(event_log) == 1


async def test_many_in_flight_are_each_answered_with_their_own_sequence(event_log: EventLog) -> None:
    subjects = [f"tapio.log.2.{number}" for number in range(500)]
    answers = await asyncio.gather(*(event_log.append(message(one)) for one in subjects))
    assert sorted(answer.sequence for answer in answers) == list(range(1, 501))
    for index in (0, 250, 499):
        found = await event_log.last(subjects[index])
        assert found is not None
        assert found.sequence == answers[index].sequence


async def test_a_batch_takes_consecutive_sequences_in_order(event_log: EventLog) -> None:
    await event_log.append(message(FENCE))
    batch = [message(one, expected_last=1, expected_subject=FENCE) for one in (A, B, A, C)]
    assert await event_log.append_batch(batch) == Appended(5)
    found = [await event_log.last(one) for one in (A, B, C)]
    assert [one.sequence for one in found if one is not None] == [4, 3, 5]


@pytest.mark.parametrize("size", [1, 2, 1_000])
async def test_a_batch_may_hold_1_to_1000_messages(event_log: EventLog, size: int) -> None:
    assert await event_log.append_batch([message(A)] * size) == Appended(size)


@pytest.mark.parametrize(
    ("batch", "actual"),
    [
        pytest.param([message(A, expected_last=7, expected_subject=FENCE), message(B)], 1, id="by the first"),
        pytest.param([message(A), message(B, expected_last=7, expected_subject=FENCE)], 1, id="by the last"),
        pytest.param([message(A), message(B, expected_last=7), message(C)], 0, id="by one in the middle"),
    ],
)
async def test_a_batch_with_a_violated_expectation_appends_nothing(
    event_log: EventLog, batch: list[NewMessage], actual: int
) -> None:
    await event_log.append(message(FENCE))
    with pytest.raises(RevisionConflict) as caught:
        await event_log.append_batch(batch)
    assert (caught.value.expected, caught.value.actual) == (7, actual)
    assert await stored(event_log) == 1


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param([message(A, expected_last=0), message(A)], id="a subject's first message expects it"),
        pytest.param([message(A, expected_last=0, expected_subject=B), message(B)], id="a later message writes it"),
        pytest.param([message(A, expected_last=0, expected_subject=C)] * 2, id="two expect the same"),
    ],
)
async def test_a_batch_may_expect_what_it_has_not_written_yet(event_log: EventLog, batch: list[NewMessage]) -> None:
    assert await event_log.append_batch(batch) == Appended(2)


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param([], id="empty"),
        pytest.param([message(A)] * 1_001, id="1,001 messages"),
        pytest.param([message(A), message(B, message_id="one")], id="a message id"),
        pytest.param([message(A), message(A, expected_last=0)], id="expects a subject that it wrote itself"),
    ],
)
async def test_a_batch_that_can_never_succeed_is_refused(event_log: EventLog, batch: list[NewMessage]) -> None:
    with pytest.raises(LogRefused):
        await event_log.append_batch(batch)
    assert await stored(event_log) == 0


async def test_batches_under_one_fence_at_once_all_succeed(event_log: EventLog) -> None:
    """Three servers answer 10164 to those that come while one is in process, and 51 are more than they keep open."""
    await event_log.append(message(FENCE))
    batch = [message(one, expected_last=1, expected_subject=FENCE) for one in (A, B)]
    answers = await asyncio.gather(*(event_log.append_batch(batch) for _ in range(60)))
    assert sorted(answer.sequence for answer in answers) == list(range(3, 122, 2))


async def test_one_writer_of_many_wins_a_compare_and_set(event_log: EventLog) -> None:
    answers = await asyncio.gather(
        *(event_log.append(message(FENCE, expected_last=0)) for _ in range(10)), return_exceptions=True
    )
    assert [one for one in answers if isinstance(one, Appended)] == [Appended(1)]
    assert sum(isinstance(one, RevisionConflict) for one in answers) == 9


@pytest.mark.parametrize("size", [pytest.param(9 << 20, id="the data"), pytest.param((8 << 20) - 8, id="with headers")])
async def test_a_message_larger_than_the_server_takes_is_refused_by_name(event_log: EventLog, size: int) -> None:
    with pytest.raises(MessageTooLarge, match=f"{A} has .* takes 8388608"):
        await event_log.append(message(A, bytes(size)))
    with pytest.raises(MessageTooLarge, match=f"{A} has"):
        await event_log.append_batch([message(B, b"small"), message(A, bytes(size))])
    assert await stored(event_log) == 0
    assert await event_log.append(message(B, b"small")) == Appended(1)  # the connection was not lost over it
