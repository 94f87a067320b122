"""`BrowsableLog.as_of`: what stood last at a sequence. What is told is true; what every writer expected is told."""

from __future__ import annotations

import random
from collections.abc import Sequence, Set

from tapio_shared.ports import AsOf, BrowsableLog, Message, NewMessage

OBJECTS = [f"tapio.log.1.a.{number}" for number in range(6)]
OTHERS = ["tapio.log.1.a.decision", "tapio.log.2.b"]


async def write(log: BrowsableLog, chance: random.Random, count: int) -> list[Message]:
    """So many messages: of objects each under the expectation of the one before, of the rest without any."""
    last: dict[str, int] = {}
    for _ in range(count):
        subject = chance.choice([*OBJECTS, OBJECTS[0], *OTHERS])
        expected = last.get(subject, 0) if subject in OBJECTS else None
        appended = await log.append(NewMessage(subject, str(len(last)).encode(), expected_last=expected))
        last[subject] = appended.sequence
    return [message async for message in log.read("tapio.log.>", up_to=count)]


def check(found: AsOf, messages: Sequence[Message], sequence: int, but: Set[str]) -> None:
    """That what was told of the key `a` is so, and that all of its subjects were answered for."""
    then = {one.subject: one for one in messages if one.sequence <= sequence}
    subjects = {one.subject for one in messages if one.subject.startswith("tapio.log.1.a.")} - but
    told = {one.subject for one in found.messages}
    assert told | found.nothing | found.untold == subjects
    assert len(told) + len(found.nothing) + len(found.untold) == len(subjects)
    assert list(found.messages) == sorted((then[name] for name in told), key=lambda one: one.sequence)
    assert not found.nothing & then.keys()


async def test_what_stood_last_then_is_told_as_far_as_writers_expected_what_was_before(event_log: BrowsableLog) -> None:
    chance = random.Random(3)
    messages = await write(event_log, chance, 60)
    for sequence in (0, 1, 5, 20, 41, 59, 60, 1_000):
        but = frozenset(chance.sample(OBJECTS, 2))
        for left_out in (frozenset[str](), but):
            found = await event_log.as_of("tapio.log.1.a.>", sequence, but=left_out)
            check(found, messages, sequence, left_out)
            # The decision expects no message of its own, and of the first object there are too many to follow.
            assert found.untold <= {"tapio.log.1.a.decision", OBJECTS[0]}, sequence


async def test_a_message_names_the_one_before_it_only_where_that_was_of_its_own_subject(
    event_log: BrowsableLog,
) -> None:
    fence = (await event_log.append(NewMessage("tapio.epoch.1", b""))).sequence
    await event_log.append(NewMessage("tapio.log.1.a.decision", b"1"))
    await event_log.append(
        NewMessage("tapio.log.1.a.decision", b"2", expected_last=fence, expected_subject="tapio.epoch.1")
    )
    found = await event_log.as_of("tapio.log.1.a.>", 2)
    assert [one.data for one in found.messages] in ([b"1"], [])
    assert found.untold == (frozenset() if found.messages else {"tapio.log.1.a.decision"})
    assert (await event_log.as_of("tapio.log.1.a.>", 3)).messages[0].data == b"2"
