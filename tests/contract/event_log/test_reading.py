"""`EventLog.last_per_subject` and `info`."""

from __future__ import annotations

import asyncio

import pytest

from tapio_shared.errors import LogUnavailable
from tapio_shared.ports import BrowsableLog, EventLog, NewMessage, View
from tests.contract.event_log.conftest import MAX_BYTES
from tests.support.nats_servers import PARTITIONS


async def fill(log: EventLog, *subjects: str) -> None:
    for subject in subjects:
        await log.append(NewMessage(subject, subject.encode()))


def found(view: View) -> list[tuple[str, int]]:
    return [(message.subject, message.sequence) for message in view.messages]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param(["tapio.log.1.a"], [("tapio.log.1.a", 4)], id="one subject"),
        pytest.param(["tapio.log.1.>"], [("tapio.log.1.b.c", 2), ("tapio.log.1.a", 4)], id="everything below"),
        pytest.param(["tapio.log.*.a"], [("tapio.log.2.a", 3), ("tapio.log.1.a", 4)], id="any token"),
        pytest.param(
            ["tapio.log.1.>", "tapio.log.1.a", "tapio.epoch.1"],
            [("tapio.log.1.b.c", 2), ("tapio.log.1.a", 4), ("tapio.epoch.1", 5)],
            id="overlapping filters, each subject once",
        ),
        pytest.param(["tapio.log.3.>"], [], id="nothing"),
    ],
)
async def test_the_last_of_each_subject_in_sequence_order(
    event_log: EventLog, filters: list[str], expected: list[tuple[str, int]]
) -> None:
    await fill(event_log, "tapio.log.1.a", "tapio.log.1.b.c", "tapio.log.2.a", "tapio.log.1.a", "tapio.epoch.1")
    view = await event_log.last_per_subject(*filters, at_least=5)
    assert found(view) == expected
    assert [message.data.decode() for message in view.messages] == [subject for subject, _ in expected]
    assert view.revision == 5


async def test_an_empty_log_answers_revision_zero(event_log: EventLog) -> None:
    assert await event_log.last_per_subject("tapio.log.1.>") == View((), 0)


async def test_a_sequence_that_is_not_written_yet_is_not_waited_for(event_log: EventLog) -> None:
    await fill(event_log, "tapio.log.1.a")
    with pytest.raises(LogUnavailable):
        await event_log.last_per_subject("tapio.log.1.>", at_least=2)


async def test_own_appends_are_seen_at_once(event_log: EventLog) -> None:
    for _ in range(50):
        sequence = (await event_log.append(NewMessage("tapio.log.1.a", b""))).sequence
        view = await event_log.last_per_subject("tapio.log.1.>", at_least=sequence)
        assert found(view) == [("tapio.log.1.a", sequence)]


async def test_more_subjects_than_one_answer_holds(event_log: EventLog) -> None:
    """Beyond 1,024 subjects a direct get answers 413, and a consumer reads them."""
    subjects = [f"tapio.log.1.{number}" for number in range(1_500)]
    await asyncio.gather(*(event_log.append(NewMessage(subject, b"old")) for subject in subjects))
    await event_log.append_batch([NewMessage(subject, b"new") for subject in subjects[:1_000]])
    await fill(event_log, "tapio.log.2.other")
    view = await event_log.last_per_subject("tapio.log.1.>", at_least=2_501)
    assert sorted(message.subject for message in view.messages) == sorted(subjects)
    assert sum(message.data == b"new" for message in view.messages) == 1_000
    assert [message.sequence for message in view.messages] == sorted(message.sequence for message in view.messages)
    assert view.revision >= 2_501


async def test_the_log_tells_its_limits_and_partitions(event_log: EventLog) -> None:
    await fill(event_log, "tapio.log.1.a", "tapio.log.1.b")
    info = await event_log.info()
    assert (info.first_sequence, info.last_sequence, info.messages) == (1, 2, 2)
    assert (info.max_bytes, info.max_age, info.partitions) == (MAX_BYTES, 30 * 86_400.0, PARTITIONS)
    assert 0 < info.bytes < 500
    assert info.created_at != ""


async def test_reading_ends_where_it_was_asked_to(event_log: EventLog) -> None:
    await fill(event_log, "tapio.log.1.a", "tapio.log.2.b", "tapio.log.1.a", "tapio.log.1.c", "tapio.log.2.b")

    async def read(filter_subject: str, from_sequence: int, up_to: int) -> list[tuple[str, int]]:
        messages = event_log.read(filter_subject, from_sequence=from_sequence, up_to=up_to)
        return [(message.subject, message.sequence) async for message in messages]

    assert await read("tapio.log.1.>", 1, 5) == [("tapio.log.1.a", 1), ("tapio.log.1.a", 3), ("tapio.log.1.c", 4)]
    assert await read("tapio.log.1.>", 2, 3) == [("tapio.log.1.a", 3)]
    assert await read("tapio.log.3.>", 1, 5) == []
    assert await read("tapio.log.>", 4, 3) == []


async def test_many_messages_in_the_middle_are_all_read(event_log: EventLog) -> None:
    """Few are asked for one by one, and a consumer reads what turns out to be more than that."""
    for _ in range(5):
        await event_log.append_batch([NewMessage("tapio.log.1.a", b""), NewMessage("tapio.log.2.b", b"")] * 500)
    for lower, upper in ((2, 5_000), (1_001, 1_040), (4_990, 5_000), (4_999, 6_000), (17, 17), (18, 18)):
        messages = event_log.read("tapio.log.1.>", from_sequence=lower, up_to=upper)
        odd = [number for number in range(lower, min(upper, 5_000) + 1) if number % 2]
        assert [message.sequence async for message in messages] == odd, (lower, upper)


@pytest.mark.parametrize(
    ("filter_subject", "from_sequence", "expected"),
    [
        pytest.param("tapio.log.1.>", 1, ("tapio.log.1.a", 1), id="the very first"),
        pytest.param("tapio.log.1.>", 2, ("tapio.log.1.c", 3), id="from the middle on"),
        pytest.param("tapio.log.1.a", 2, ("tapio.log.1.a", 4), id="of one subject"),
        pytest.param("tapio.log.1.a", 4, ("tapio.log.1.a", 4), id="what stands there itself"),
        pytest.param("tapio.log.1.a", 5, None, id="none any more"),
        pytest.param("tapio.log.>", 9, None, id="beyond the end"),
        pytest.param("tapio.log.3.>", 1, None, id="none at all"),
    ],
)
async def test_the_first_message_from_a_place_on(
    event_log: BrowsableLog, filter_subject: str, from_sequence: int, expected: tuple[str, int] | None
) -> None:
    await fill(event_log, "tapio.log.1.a", "tapio.log.2.b", "tapio.log.1.c", "tapio.log.1.a")
    message = await event_log.earliest(filter_subject, from_sequence=from_sequence)
    assert (None if message is None else (message.subject, message.sequence)) == expected
    if message is not None:
        assert message.data.decode() == message.subject


async def test_the_first_message_that_was_written_at_an_instant_or_later(event_log: BrowsableLog) -> None:
    for _ in range(3):
        await fill(event_log, "tapio.log.1.a", "tapio.log.2.b")
        await asyncio.sleep(0.01)
    written = [message.written_at async for message in event_log.read("tapio.log.1.>", up_to=6)]
    assert written[0] < written[1] < written[2]
    for place, at in enumerate(written):
        found = await event_log.earliest("tapio.log.1.>", written_from=at)
        assert found is not None
        assert (found.sequence, found.written_at) == (2 * place + 1, at)
    assert await event_log.earliest("tapio.log.1.>", written_from=written[-1] + 60_000) is None


async def test_the_last_of_every_subject_one_after_the_other(event_log: EventLog) -> None:
    await fill(event_log, "tapio.log.1.a", "tapio.log.2.b", "tapio.log.1.a", "tapio.log.1.c", "tapio.log.2.b")

    async def read(filter_subject: str, at_least: int = 0) -> list[tuple[str, int]]:
        messages = event_log.each_last(filter_subject, at_least=at_least)
        return [(message.subject, message.sequence) async for message in messages]

    assert await read("tapio.log.1.>", at_least=5) == [("tapio.log.1.a", 3), ("tapio.log.1.c", 4)]
    assert await read("tapio.log.*.b") == [("tapio.log.2.b", 5)]
    assert await read("tapio.log.3.>", at_least=5) == []
