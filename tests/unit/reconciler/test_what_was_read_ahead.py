"""What a decision rests on and was read before it was followed: following tells it, or the log has lost it."""

from __future__ import annotations

import asyncio

import pytest

from tapio_reconciler.core.reading import checksum_of
from tapio_reconciler.shell.following import Progress
from tapio_shared.ports import Message

READ = Message("tapio.log.0.local.default.a.object.a", 20, b"as it was read")


def following(at: int) -> Progress:
    progress = Progress()
    progress.advance(at)
    progress.expect(READ.sequence, checksum_of(READ))
    return progress


@pytest.mark.parametrize(
    ("told", "missed"),
    [
        pytest.param(Message("tapio.log.0.x", 19, b"before it"), 0, id="it is yet to come"),
        pytest.param(READ, 0, id="it is told"),
        pytest.param(Message(READ.subject, 20, b"another"), 20, id="another one of the object stands there"),
        pytest.param(Message("tapio.log.0.x", 20, READ.data), 20, id="one of something else stands there"),
        pytest.param(Message("tapio.log.0.x", 21, b"after it"), 20, id="one of another partition stands there"),
    ],
)
def test_what_was_read_is_told_or_missed(told: Message, missed: int) -> None:
    assert following(18).missed(told) == missed


def test_what_was_missed_is_said_once() -> None:
    progress = following(18)
    assert progress.missed(Message("tapio.log.0.x", 21, b"")) == 20
    assert progress.missed(Message("tapio.log.0.x", 22, b"")) == 0


def test_what_was_followed_already_is_not_expected() -> None:
    assert following(20).missed(Message("tapio.log.0.x", 21, b"")) == 0


async def test_who_waits_is_told_when_it_is_reached() -> None:
    progress = following(18)
    waiting = asyncio.create_task(progress.reached(20))
    await asyncio.sleep(0)
    assert not waiting.done()
    progress.advance(21)
    await waiting
