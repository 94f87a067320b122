"""A log that was restored from a backup says that it is complete, and is not: a worker that knew more waits."""

from __future__ import annotations

import asyncio

from tapio_reconciler.shell.states import States
from tapio_reconciler.shell.trust import Trust
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.codec import encode
from tapio_shared.facts import Synced
from tapio_shared.keys import shared_subject
from tapio_shared.ports import Message
from tests.support.virtual_time import VirtualClock, run_virtually

SUBJECT = shared_subject(0, "local", "synced")


def synced(sequence: int, generation: str) -> Message:
    return Message(SUBJECT, sequence, encode(Synced(generation=generation, kinds=[], synced_at=1)))


def states(trust: Trust) -> States:
    return States(MemoryEventLog(VirtualClock(), partitions=1), 1, 0, trust=trust)


def test_the_word_of_before_is_withheld_until_there_is_a_newer_one() -> None:
    trust = Trust()
    assert not trust.taken_over(10)
    before = states(trust)
    before.fold(synced(5, "a"))
    assert "synced" in before.shared["local"]
    trust.told(900)

    assert trust.taken_over(40), "the log ends at 40, and 900 was seen"
    restored = states(trust)
    assert restored.fold(synced(5, "a"))[1] is False
    assert restored.shared.get("local", {}) == {}
    assert restored.fold(synced(60, "b"))[1] is True
    assert restored.shared["local"]["synced"].sequence == 60
    assert restored.withheld == {}

    trust.told(61)
    assert not trust.taken_over(70), "the next partition is taken over in the same log"
    assert states(trust).fold(synced(60, "b"))[1] is True


def test_a_worker_that_has_seen_nothing_takes_the_log_as_it_is() -> None:
    trust = Trust()
    assert not trust.taken_over(40)
    assert states(trust).fold(synced(5, "a"))[1] is True


def test_after_a_while_the_old_word_counts_again() -> None:
    async def run() -> None:
        trust = Trust(known={"a"})
        trust.went_back()
        owner = states(trust)
        assert owner.fold(synced(5, "a"))[1] is False
        await asyncio.sleep(0)
        trust.give_in()
        (message,) = owner.withheld.values()
        assert owner.fold(message)[1] is True

    run_virtually(run())
