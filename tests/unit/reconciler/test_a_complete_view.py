"""No key is planned from a log that may have dropped what it was told: absence is no evidence there."""

from __future__ import annotations

import asyncio

import pytest

from tapio_reconciler.core.planning import plan
from tapio_reconciler.shell.beginning import Beginning
from tapio_reconciler.shell.states import States
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.codec import encode
from tapio_shared.facts import Inputs, ObjectObserved, SweepMarked, Synced
from tapio_shared.json import objects_at, str_at
from tapio_shared.keys import ObjectRef, OrderingKey, object_subject, shared_subject
from tapio_shared.ports import LogInfo, NewMessage
from tests.support.planned_world import PARTITIONS, START, World, example
from tests.support.virtual_time import VirtualClock

KEY = OrderingKey("local", "default", "a")


@pytest.mark.parametrize(
    ("synced", "swept", "begins", "is_complete"),
    [
        pytest.param(50, 0, 50, True, id="it-begins-where-it-is-vouched-for"),
        pytest.param(50, 0, 51, False, id="it-begins-later"),
        pytest.param(50, 60, 60, True, id="a-sweep-vouches-for-less"),
        pytest.param(50, 60, 61, False, id="it-begins-after-the-sweep"),
        pytest.param(70, 60, 65, True, id="the-later-word-counts"),
        pytest.param(0, 0, 99, True, id="a-writer-that-did-not-say"),
        pytest.param(50, 0, 0, True, id="nothing-was-ever-dropped"),
    ],
)
def test_a_log_that_begins_after_what_is_vouched_for_is_not_planned_from(
    synced: int, swept: int, begins: int, is_complete: bool
) -> None:
    world = World.of(example("development"))
    world.share("synced", Synced(generation="g", kinds=[], synced_at=START, complete_from=synced))
    if swept:
        world.share("sweep", SweepMarked(phase="ended", below=swept, marked_at=START, complete_from=swept))

    decision = plan(world.state, Inputs(now=START, operator_version="1", log_begins=begins)).decision

    assert bool(decision.apply) is is_complete
    ready = next(one for one in objects_at(decision.status, "conditions") if str_at(one, "type") == "Ready")
    assert (str_at(ready, "reason") == "Resynchronising") is not is_complete
    if not is_complete:
        complete = max(synced, swept)
        assert decision.waiting == [
            f"The event log begins at {begins} and is vouched for from {complete} on: "
            "what it has dropped is told again first."
        ]


async def test_a_state_knows_where_the_log_began_after_it_was_read() -> None:
    clock = VirtualClock()
    log = MemoryEventLog(clock, partitions=PARTITIONS, max_bytes=10_000)
    kept, dropped = (object_subject(KEY, ObjectRef("", "ConfigMap", "default", name), PARTITIONS) for name in "kd")
    fact = encode(ObjectObserved(uid="u", resource_version="1", object={"noise": "x" * 1_000}, observed_at=1))
    await log.append(NewMessage(dropped, fact))
    while (await log.info()).first_sequence == 1:
        await log.append(NewMessage(kept, fact))

    state = await States(log, PARTITIONS).state(KEY)

    assert list(state.own) == [kept]
    assert state.log_begins == (await log.info()).first_sequence == 2


@pytest.mark.parametrize(
    "had_word", [pytest.param(True, id="another word than before"), pytest.param(False, id="the word before was lost")]
)
async def test_what_the_log_has_dropped_is_in_no_state_once_the_log_is_vouched_for_anew(had_word: bool) -> None:
    """Else a deletion waits for ever for the end of an object that nobody tells of any more."""
    log = MemoryEventLog(VirtualClock(), partitions=1, max_bytes=10_000)
    kept, dropped = (object_subject(KEY, ObjectRef("", "ConfigMap", "default", name), 1) for name in "kd")
    fact = encode(ObjectObserved(uid="u", resource_version="1", object={"noise": "x" * 1_000}, observed_at=1))
    states = States(log, 1)

    async def append(subject: str, record: bytes) -> None:
        await log.append(NewMessage(subject, record))
        last = await log.last(subject)
        assert last is not None
        states.fold(last)

    def word(complete_from: int) -> bytes:
        return encode(Synced(generation="g", kinds=[], synced_at=START, complete_from=complete_from))

    if had_word:
        await append(shared_subject(0, "local", "synced"), word(1))
    await append(dropped, fact)
    assert list((await states.state(KEY)).own) == [dropped]
    while await log.last(dropped) is not None:
        await append(kept, fact)
    assert sorted((await states.state(KEY)).own) == [dropped, kept], "it is at hand"

    await append(shared_subject(0, "local", "synced"), word((await log.info()).last_sequence + 1))

    assert list((await states.state(KEY)).own) == [kept]


class _SlowLog(MemoryEventLog):
    """Answers `info` only when told to, with what was so when it was asked."""

    def __init__(self) -> None:
        super().__init__(VirtualClock(), partitions=1, max_bytes=3_000)
        self.asked = 0
        self.go_on = asyncio.Event()

    async def info(self) -> LogInfo:
        self.asked += 1
        found = await super().info()
        await self.go_on.wait()
        return found


async def test_who_asks_while_somebody_waits_for_an_answer_gets_a_later_one() -> None:
    log = _SlowLog()
    beginning = Beginning(log)
    first = asyncio.create_task(beginning.sequence())
    await asyncio.sleep(0)
    for _ in range(5):
        await log.append(NewMessage("tapio.cursor.a.b", b"x" * 1_000))
    later = [asyncio.create_task(beginning.sequence()) for _ in range(3)]
    await asyncio.sleep(0)
    log.go_on.set()

    assert await first == 0
    assert await asyncio.gather(*later) == [4, 4, 4]
    assert log.asked == 2, "the three share one question"
