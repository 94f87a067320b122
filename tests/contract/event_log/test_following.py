"""`EventLog.follow`: everything, in order, without gaps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tapio_shared.errors import LogRewound
from tapio_shared.ports import EventLog, Message, NewMessage

A, B = "tapio.log.1.a", "tapio.log.2.b"


async def take(messages: AsyncIterator[Message], count: int) -> list[tuple[str, int, bytes]]:
    taken: list[tuple[str, int, bytes]] = []
    async with asyncio.timeout(20):
        async for message in messages:
            taken.append((message.subject, message.sequence, message.data))
            if len(taken) == count:
                break
    return taken


async def test_what_is_there_then_what_comes(event_log: EventLog) -> None:
    await event_log.append(NewMessage(A, b"1"))
    await event_log.append(NewMessage(B, b"2"))
    async with event_log.follow("tapio.log.1.>", from_sequence=1) as messages:
        assert await take(messages, 1) == [(A, 1, b"1")]
        await event_log.append(NewMessage(B, b"3"))
        await event_log.append(NewMessage(A, b"4", headers={"traceparent": "00-aa"}, message_id="id"))
        message = await anext(messages)
        assert (message.sequence, dict(message.headers)) == (4, {"traceparent": "00-aa"})
        assert message.written_at > 1_700_000_000_000


async def test_it_begins_where_it_is_told(event_log: EventLog) -> None:
    await event_log.append_batch([NewMessage(A, str(number).encode()) for number in range(10)])
    async with event_log.follow("tapio.log.>", from_sequence=8) as messages:
        assert await take(messages, 3) == [(A, 8, b"7"), (A, 9, b"8"), (A, 10, b"9")]


async def test_it_may_begin_right_after_the_end(event_log: EventLog) -> None:
    await event_log.append(NewMessage(A, b"1"))
    async with event_log.follow("tapio.log.>", from_sequence=2) as messages:
        await event_log.append(NewMessage(A, b"2"))
        assert await take(messages, 1) == [(A, 2, b"2")]


async def test_many_are_delivered_in_order_to_a_slow_follower(event_log: EventLog) -> None:
    """More bytes than flow control lets the server send ahead."""
    count, data = 3_000, bytes(2_000)
    for _ in range(count // 500):
        await asyncio.gather(*(event_log.append(NewMessage(A, data)) for _ in range(500)))
    async with event_log.follow("tapio.log.>", from_sequence=1) as messages:
        sequences: list[int] = []
        async with asyncio.timeout(60):
            async for message in messages:
                sequences.append(message.sequence)
                if len(sequences) == count:
                    break
                if len(sequences) % 100 == 0:
                    await asyncio.sleep(0.001)
    assert sequences == list(range(1, count + 1))


async def test_several_followers_see_the_same(event_log: EventLog) -> None:
    async def read() -> list[tuple[str, int, bytes]]:
        async with event_log.follow("tapio.log.>", from_sequence=1) as messages:
            return await take(messages, 20)

    readers = [asyncio.create_task(read()) for _ in range(3)]
    for number in range(20):
        await event_log.append(NewMessage(A, str(number).encode()))
    seen = await asyncio.gather(*readers)
    assert seen[0] == [(A, number + 1, str(number).encode()) for number in range(20)]
    assert seen[1] == seen[0]
    assert seen[2] == seen[0]


async def test_a_log_that_ends_before_what_was_seen_has_been_rewound(event_log: EventLog) -> None:
    await event_log.append(NewMessage(A, b"1"))
    with pytest.raises(LogRewound):
        async with event_log.follow("tapio.log.>", from_sequence=3):
            pytest.fail("A log that went backwards can't be followed.")


async def test_what_was_read_before_must_still_stand(event_log: EventLog) -> None:
    first = (await event_log.append(NewMessage(A, b"1"))).sequence
    await event_log.append(NewMessage(B, b"2"))
    (there,) = (await event_log.last_per_subject(A)).messages
    async with event_log.follow("tapio.log.>", from_sequence=2, seen=there) as messages:
        assert await take(messages, 1) == [(B, first + 1, b"2")]
    never = Message(B, first, b"lost", written_at=there.written_at)
    with pytest.raises(LogRewound, match=f"has grown again: what stands at {first} is not what was seen there"):
        async with event_log.follow("tapio.log.>", from_sequence=2, seen=never) as messages:
            await take(messages, 1)
