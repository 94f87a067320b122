"""What a sweep moves, marks and vouches for, whatever is pushed out of the log meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from tapio_shared.adapters.clock import ManualClock
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.codec import decode_record
from tapio_shared.errors import LogRewound
from tapio_shared.facts import SweepMarked, Synced
from tapio_shared.keys import ObjectRef, OrderingKey, object_subject, shared_subject
from tapio_shared.ports import Appended, Message, NewMessage
from tapio_watcher.encoding import GONE, observed_fact
from tapio_watcher.guarding import LogGuard
from tapio_watcher.metrics import Metrics
from tapio_watcher.publishing import FactWriter
from tapio_watcher.shared_facts import SharedFacts

KEY = OrderingKey("local", "team", "tapio")


async def test_a_sweep_moves_what_is_live_and_marks_its_start_and_end() -> None:
    clock = ManualClock()
    log = MemoryEventLog(clock, partitions=4, max_bytes=100_000)
    refs = [ObjectRef("", "ConfigMap", "team", f"settings-{number}") for number in range(3)]
    async with asyncio.TaskGroup() as group:
        writer = FactWriter(log, "local", 4, clock, Metrics(CollectorRegistry()), group)
        shared = SharedFacts(log, "local", 4, clock)
        await shared.publish("synced", Synced(generation="1", kinds=[], synced_at=1))
        for ref in refs:
            writer.observed(KEY, ref, observed_fact({"name": ref.name}, uid="u", resource_version="1", now=1))
        await writer.flush()
        guard = LogGuard(log, await log.info(), writer, shared, clock, Metrics(CollectorRegistry()))
        marked = shared_subject(3, "local", "sweep")
        while await log.last(marked) is None:
            await log.append(NewMessage(subject="tapio.cursor.test.filling", data=b"x" * 1_000))
            await guard.look()
        mark = await log.last(marked)
        assert mark is not None
        record = decode_record(mark.data)
        assert isinstance(record, SweepMarked)
        assert record.phase == "ended"
        subjects = [object_subject(KEY, ref, 4) for ref in refs]
        subjects += [shared_subject(number, "local", "synced") for number in range(4)]
        for subject in subjects:
            last = await log.last(subject)
            assert last is not None
            assert record.below <= last.sequence < mark.sequence
        before = (await log.info()).last_sequence
        await guard.look()
        assert (await log.info()).last_sequence == before, "a sweep is not due twice"


async def test_what_was_vouched_for_is_said_again_while_the_log_begins_no_later() -> None:
    clock = ManualClock()
    log = MemoryEventLog(clock, partitions=4, max_bytes=10_000)

    async def vouched(group: asyncio.TaskGroup) -> int:
        writer = FactWriter(log, "local", 4, clock, Metrics(CollectorRegistry()), group)
        shared = SharedFacts(log, "local", 4, clock)
        guard = LogGuard(log, await log.info(), writer, shared, clock, Metrics(CollectorRegistry()))
        await writer.hydrate()
        await shared.hydrate()
        writer.observed(
            KEY, ObjectRef("", "ConfigMap", "team", "settings"), observed_fact({}, uid="u", resource_version="1", now=1)
        )
        await writer.flush()
        complete_from = guard.vouch()
        await shared.publish("synced", Synced(generation="1", kinds=[], synced_at=1, complete_from=complete_from))
        return complete_from

    async with asyncio.TaskGroup() as group:
        assert await vouched(group) == 1, "an empty log"
        assert await vouched(group) == 1
        while (await log.info()).first_sequence == 1:
            await log.append(NewMessage(subject="tapio.cursor.test.filling", data=b"x" * 1_000))
        begins = (await log.info()).first_sequence
        told = (await log.info()).last_sequence + 1
        assert await vouched(group) == begins, "the object was dropped, and is told anew; a shared fact is still there"
        assert (await log.info()).first_sequence > begins, "saying so has pushed out more"
        assert await vouched(group) == told
        assert await vouched(group) == told, "which still holds"


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_mark_vouches_for_no_less_than_the_one_before(trusted: bool) -> None:
    """The one before is another watcher's, appended since this one read the log; what a log that went back holds of
    others' words does not count."""
    clock = ManualClock()
    log = MemoryEventLog(clock, partitions=4, max_bytes=100_000)
    async with asyncio.TaskGroup() as group:
        metrics = Metrics(CollectorRegistry())
        writer, shared = FactWriter(log, "local", 4, clock, metrics, group), SharedFacts(log, "local", 4, clock)
        other = SharedFacts(log, "local", 4, clock)
        ref = ObjectRef("", "ConfigMap", "team", "settings")
        writer.observed(KEY, ref, observed_fact({}, uid="u", resource_version="1", now=1))
        await writer.flush()
        guard = LogGuard(log, await log.info(), writer, shared, clock, metrics, trusted=trusted)
        assert guard.vouch() == 1
        await other.publish("sweep", SweepMarked(phase="ended", below=120, marked_at=1, complete_from=117))
        last = await log.last(shared_subject(3, "local", "sweep"))
        assert last is not None
        theirs = last.sequence
        while last is not None and last.sequence == theirs:
            await log.append(NewMessage(subject="tapio.cursor.test.filling", data=b"x" * 1_000))
            await guard.look()
            last = await log.last(shared_subject(3, "local", "sweep"))
        assert last is not None
        record = decode_record(last.data)
        assert isinstance(record, SweepMarked)
        assert (record.phase, record.below < 117) == ("ended", True)
        assert record.complete_from == (117 if trusted else record.below)


async def _has_told(log: MemoryEventLog, clock: ManualClock, ref: ObjectRef, group: asyncio.TaskGroup) -> FactWriter:
    """A writer that has told of one object."""
    writer = FactWriter(log, "local", 4, clock, Metrics(CollectorRegistry()), group)
    writer.observed(KEY, ref, observed_fact({}, uid="u", resource_version="1", now=1))
    await writer.flush()
    return writer


async def _push_out_everything(log: MemoryEventLog) -> None:
    """Twice as much as the log may hold."""
    for _ in range(20):
        await log.append(NewMessage(subject="tapio.cursor.test.filling", data=b"x" * 1_000))


async def test_a_log_that_dropped_something_live_must_be_filled_anew() -> None:
    clock = ManualClock()
    log = MemoryEventLog(clock, partitions=4, max_bytes=10_000)
    ref = ObjectRef("", "ConfigMap", "team", "settings")
    async with asyncio.TaskGroup() as group:
        writer = FactWriter(log, "local", 4, clock, Metrics(CollectorRegistry()), group)
        shared = SharedFacts(log, "local", 4, clock)
        writer.observed(KEY, ref, observed_fact({}, uid="u", resource_version="1", now=1))
        await writer.flush()
        guard = LogGuard(log, await log.info(), writer, shared, clock, Metrics(CollectorRegistry()))
        await _push_out_everything(log)
        with pytest.raises(LogRewound, match="has dropped 1 facts that were still the last of their objects"):
            await guard.look()


async def test_what_comes_next_is_swept_when_something_live_was_dropped() -> None:
    """Or what is told again would push it out, which would be told again, and push out what comes next, and so on."""
    clock = ManualClock()
    log = MemoryEventLog(clock, partitions=4, max_bytes=20_000)
    refs = [ObjectRef("", "ConfigMap", "team", f"settings-{number}") for number in range(20)]
    subjects = [object_subject(KEY, ref, 4) for ref in refs]
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    async with asyncio.TaskGroup() as group:
        writer, shared = FactWriter(log, "local", 4, clock, metrics, group), SharedFacts(log, "local", 4, clock)
        for ref in refs:
            writer.observed(KEY, ref, observed_fact({"x": "y" * 150}, uid="u", resource_version="1", now=1))
            await writer.flush()
            await log.append(NewMessage(subject="tapio.cursor.test.filling", data=b"x" * 500))
        guard = LogGuard(log, await log.info(), writer, shared, clock, metrics)
        guard.vouch()
        while (await log.info()).first_sequence == 1:
            await log.append(NewMessage(subject="tapio.cursor.test.filling", data=b"x" * 500))
        with pytest.raises(LogRewound) as raised:
            await guard.look()
        assert str(raised.value) == (
            "The stream begins at 2 and has dropped 1 facts that were still the last of their objects; they are "
            "observed again. Raise TAPIO_LOG_MAX_BYTES when this comes again."
        )
        assert [await log.last(subject) is None for subject in subjects] == [True] + [False] * 19
        mark = await log.last(shared_subject(3, "local", "sweep"))
        assert mark is not None
        record = decode_record(mark.data)
        assert isinstance(record, SweepMarked)
        assert (record.phase, record.complete_from) == ("ended", 1), "nothing more is vouched for"
        live = sorted(one.sequence for one in writer.known.live())
        assert [one for one in live if one < record.below] == [1], "nothing else is left in the oldest quarter"
    assert registry.get_sample_value("tapio_watcher_facts_dropped_total") == 1
    assert registry.get_sample_value("tapio_watcher_log_live_ratio", {"target": "local"}) == pytest.approx(0.3355)


class _Vouched(MemoryEventLog):
    """A log of one partition. After each append: where it begins, and from where on it is vouched for by then."""

    def __init__(self, clock: ManualClock, max_bytes: int) -> None:
        super().__init__(clock, partitions=1, max_bytes=max_bytes)
        self.moments: list[tuple[int, int]] = []

    async def append_batch(self, messages: Sequence[NewMessage]) -> Appended:
        appended = await super().append_batch(messages)
        await self._note()
        return appended

    async def append(self, message: NewMessage) -> Appended:
        appended = await super().append(message)
        await self._note()
        return appended

    async def _note(self) -> None:
        words = [await self.last(shared_subject(0, "local", what)) for what in ("synced", "sweep")]
        records = [decode_record(one.data) for one in words if one is not None]
        said = max((one.complete_from for one in records if isinstance(one, Synced | SweepMarked)), default=0)
        self.moments.append(((await self.info()).first_sequence, said))


_FILLING = NewMessage(subject="tapio.cursor.test.filling", data=b"x" * 900)


async def _crowded(
    log: MemoryEventLog, clock: ManualClock, group: asyncio.TaskGroup, *, before: int, facts: int
) -> LogGuard:
    """A watcher whose log has `before` messages that nobody needs, and then `facts` that must stay."""
    writer, shared = (
        FactWriter(log, "local", 1, clock, Metrics(CollectorRegistry()), group),
        SharedFacts(log, "local", 1, clock),
    )
    guard = LogGuard(log, await log.info(), writer, shared, clock, Metrics(CollectorRegistry()))
    for _ in range(before):
        await log.append(_FILLING)
    for number in range(facts):
        ref = ObjectRef("", "ConfigMap", "team", f"settings-{number:02}")
        writer.observed(KEY, ref, observed_fact({"x": "y" * 800}, uid="u", resource_version="1", now=1))
        await writer.flush()
    await shared.publish("synced", Synced(generation="1", kinds=[], synced_at=1, complete_from=guard.vouch()))
    return guard


async def test_a_sweep_of_a_crowded_log_says_how_far_it_has_come_before_readers_doubt_the_log() -> None:
    """Who reads the log while it is swept finds it vouched for from its beginning on, and calls nothing incomplete."""
    clock = ManualClock()
    log = _Vouched(clock, max_bytes=165_000)
    async with asyncio.TaskGroup() as group:
        guard = await _crowded(log, clock, group, before=24, facts=90)
        while (await log.info()).first_sequence < 12:
            await log.append(_FILLING)
        log.moments.clear()
        await guard.look()
        assert len(log.moments) > 24, "it was swept"
        assert [(begins, said) for begins, said in log.moments if begins > said] == []
        assert log.moments[-1][0] > 25, "what was vouched for in the beginning holds no longer"


async def test_a_sweep_appends_what_is_oldest_first_whatever_it_tells_of() -> None:
    clock = ManualClock()
    log = MemoryEventLog(clock, partitions=1, max_bytes=10_000)
    async with asyncio.TaskGroup() as group:
        metrics = Metrics(CollectorRegistry())
        writer, shared = FactWriter(log, "local", 1, clock, metrics, group), SharedFacts(log, "local", 1, clock)
        await shared.publish("synced", Synced(generation="1", kinds=[], synced_at=1))
        for name in "ba":
            ref = ObjectRef("", "ConfigMap", "team", name)
            writer.observed(KEY, ref, observed_fact({}, uid="u", resource_version="1", now=1))
            await writer.flush()
        guard = LogGuard(log, await log.info(), writer, shared, clock, metrics)
        for _ in range(16):
            await log.append(replace(_FILLING, data=b"x" * 400))
        await guard.look()
        swept = [one.subject.rpartition(".")[2] async for one in log.read("tapio.>", from_sequence=20, up_to=99)]
        assert swept == ["sweep", "synced", "b", "a", "sweep"]


async def test_what_another_watcher_has_swept_is_swept_once() -> None:
    """Who went on believing that it lies where it was swept every two seconds, for ever, and vouched for nothing."""
    clock = ManualClock()
    log = MemoryEventLog(clock, partitions=1, max_bytes=60_000)
    async with asyncio.TaskGroup() as group:
        guard = await _crowded(log, clock, group, before=0, facts=20)
        other = FactWriter(log, "local", 1, clock, Metrics(CollectorRegistry()), group)
        await other.hydrate()
        for number in range(20):
            ref = ObjectRef("", "ConfigMap", "team", f"settings-{number:02}")
            other.again(object_subject(KEY, ref, 1))
        await other.flush()
        while (await log.info()).bytes < 50_000:
            await log.append(_FILLING)
        await guard.look()
        ended = await log.last(shared_subject(0, "local", "sweep"))
        assert ended is not None
        mark = decode_record(ended.data)
        assert isinstance(mark, SweepMarked)
        assert (mark.phase, mark.complete_from) == ("ended", mark.below)
        await guard.look()
        assert await log.last(shared_subject(0, "local", "sweep")) == ended


async def test_a_sweep_vouches_for_nothing_where_its_own_marks_pushed_something_out() -> None:
    clock = ManualClock()
    log = _Vouched(clock, max_bytes=50_000)
    async with asyncio.TaskGroup() as group:
        guard = await _crowded(log, clock, group, before=0, facts=30)
        while (await log.info()).bytes + 1_000 < 50_000:
            await log.append(_FILLING)
        await log.append(replace(_FILLING, data=b"x" * (50_000 - (await log.info()).bytes - 60)))
        assert (await log.info()).first_sequence == 1
        await guard.look()
        begins, said = log.moments[-1]
        assert begins > said == 1
        with pytest.raises(LogRewound, match="has dropped 1 facts that were still the last of their objects"):
            await guard.look()


class _PushesOut(MemoryEventLog):
    """A log that drops what it held right after somebody has read the subject `pushed` of it."""

    pushed = ""

    async def last(self, subject: str) -> Message | None:
        found = await super().last(subject)
        if subject == self.pushed:
            self.pushed = ""
            await _push_out_everything(self)
        return found


async def test_a_shared_fact_that_is_pushed_out_while_it_is_swept_is_appended_all_the_same() -> None:
    clock = ManualClock()
    log = _PushesOut(clock, partitions=1, max_bytes=10_000)
    subject = shared_subject(0, "local", "synced")
    shared = SharedFacts(log, "local", 1, clock)
    await shared.publish("synced", Synced(generation="1", kinds=[], synced_at=1))
    before = await log.last(subject)
    log.pushed = subject
    await shared.again(subject)
    last = await log.last(subject)
    assert before is not None
    assert last is not None
    assert (last.data, last.sequence) == (before.data, shared.known[subject].sequence)
    assert shared.below(last.sequence) == []


async def test_a_shared_fact_that_was_dropped_is_missing_until_it_is_told_again() -> None:
    """It was forgotten once: a partition held no `Synced`, which nobody noticed until all services were restarted."""
    clock = ManualClock()
    log = MemoryEventLog(clock, partitions=2, max_bytes=10_000)
    subject, fact = shared_subject(1, "local", "synced"), Synced(generation="1", kinds=[], synced_at=1)
    async with asyncio.TaskGroup() as group:
        metrics = Metrics(CollectorRegistry())
        writer, shared = FactWriter(log, "local", 2, clock, metrics, group), SharedFacts(log, "local", 2, clock)
        await shared.publish("synced", fact)
        guard = LogGuard(log, await log.info(), writer, shared, clock, metrics)
        await _push_out_everything(log)
        await shared.again(subject)
        assert await log.last(subject) is None
        with pytest.raises(LogRewound, match="has dropped 2 facts that were still the last of their objects"):
            await guard.look()
        await shared.publish("synced", fact)
        assert await log.last(subject) is not None
        await guard.look()


async def test_what_was_found_dropped_while_it_was_told_is_still_missing() -> None:
    clock = ManualClock()
    log = MemoryEventLog(clock, partitions=4, max_bytes=10_000)
    ref = ObjectRef("", "ConfigMap", "team", "settings")
    async with asyncio.TaskGroup() as group:
        writer = await _has_told(log, clock, ref, group)
        shared = SharedFacts(log, "local", 4, clock)
        guard = LogGuard(log, await log.info(), writer, shared, clock, Metrics(CollectorRegistry()), within=0.1)
        await _push_out_everything(log)
        is_read = asyncio.Event()

        async def read_again() -> None:
            """The API server does not answer."""
            is_read.set()
            await asyncio.Event().wait()

        writer.gone(ref, uid="u", refetch=read_again)
        await is_read.wait()
        with pytest.raises(LogRewound, match="has dropped 1 facts that were still the last of their objects"):
            await guard.look()
        for task in asyncio.all_tasks():
            if task.get_name().startswith("publish-"):
                task.cancel()


async def test_a_tombstone_may_age_out() -> None:
    clock = ManualClock()
    log = MemoryEventLog(clock, partitions=4, max_bytes=10_000)
    ref = ObjectRef("", "ConfigMap", "team", "settings")
    async with asyncio.TaskGroup() as group:
        writer = await _has_told(log, clock, ref, group)
        writer.gone(ref)
        await writer.flush()
        guard = LogGuard(
            log, await log.info(), writer, SharedFacts(log, "local", 4, clock), clock, Metrics(CollectorRegistry())
        )
        known = writer.known.get(object_subject(KEY, ref, 4))
        assert known is not None
        assert known.digest == GONE
        await _push_out_everything(log)
        await guard.look()
        assert len(writer.known) == 0
