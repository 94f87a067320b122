"""Appending under an epoch: a former owner records nothing, and a lost answer is resolved by reading back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from tapio_reconciler.shell.recording import Recorder, advance_epoch
from tapio_shared.adapters.clock import ManualClock
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.errors import Fenced, LogFull, LogUnavailable, MessageTooLarge, RevisionConflict, TapioError
from tapio_shared.keys import epoch_subject
from tapio_shared.ports import Appended, NewMessage

SUBJECT = "tapio.log.3.local.default.a.decision"


@asynccontextmanager
async def recording(log: MemoryEventLog, worker: str) -> AsyncGenerator[Recorder]:
    clock = ManualClock()
    token = (await advance_epoch(log, 3, worker=worker, partitions=32, clock=clock)).token
    recorder = Recorder(log, 3, token, worker=worker, partitions=32, clock=clock)
    task = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def fail_once(operation: str, error: TapioError) -> Callable[[str, str], TapioError | None]:
    left = [error]

    def fault(asked: str, subject: str) -> TapioError | None:
        return left.pop() if asked == operation and subject.startswith("tapio.log") and left else None

    return fault


async def test_records_stand_in_the_order_in_which_they_were_handed_in() -> None:
    log = MemoryEventLog(ManualClock())
    async with recording(log, "a") as recorder:
        sequences = await asyncio.gather(*(recorder.record(f"{SUBJECT}{n}", b"%d" % n) for n in range(250)))
    assert sequences == sorted(sequences)
    last = await log.last(f"{SUBJECT}249")
    assert last is not None
    assert last.sequence == sequences[-1]


async def test_an_epoch_of_another_with_the_number_of_ours_is_not_ours() -> None:
    """The log lost its end, and has grown again to where it was."""
    log = MemoryEventLog(ManualClock())
    async with recording(log, "a") as former:
        assert former.token == 1
        await log.rewind(0)
        async with recording(log, "b") as owner:
            assert owner.token == 1
            with pytest.raises(Fenced):
                await former.check()
            await owner.check()


async def test_a_former_owner_records_nothing() -> None:
    log = MemoryEventLog(ManualClock())
    async with recording(log, "a") as former, recording(log, "b") as owner:
        with pytest.raises(Fenced):
            await former.record(SUBJECT, b"stale")
        with pytest.raises(Fenced):
            await former.check()
        await owner.check()
        assert await owner.record(SUBJECT, b"new") > 0
    last = await log.last(SUBJECT)
    assert last is not None
    assert last.data == b"new"


@pytest.mark.timeout(5)
async def test_a_recorder_that_has_ended_keeps_nobody_waiting() -> None:
    """A partition that is lost while it is handed over: the hand-over of all others waited for this one's."""
    log = MemoryEventLog(ManualClock())
    async with recording(log, "a") as former:
        await former.reassert()
    with pytest.raises(Fenced):
        await former.reassert()
    async with recording(log, "b") as former, recording(log, "c"):
        # More than wait in its queue: some are yet to be put there when it ends.
        answers = await asyncio.gather(
            *(former.record(f"{SUBJECT}{n}", b"late") for n in range(2_500)), return_exceptions=True
        )
    assert all(isinstance(answer, Fenced) for answer in answers)


async def test_a_lost_answer_does_not_double_a_record() -> None:
    log = MemoryEventLog(ManualClock())
    async with recording(log, "a") as recorder:
        log.fault = fail_once("lost_ack", LogUnavailable("the answer was lost"))
        sequence = await recorder.record(SUBJECT, b"once")
    info = await log.info()
    stored = [one async for one in log.read(SUBJECT, up_to=info.last_sequence)]
    assert [(one.sequence, one.data) for one in stored] == [(sequence, b"once")]


class SlowLog(MemoryEventLog):
    """The first append of a record gets no answer, and is still on its way."""

    on_its_way: NewMessage | None = None

    async def append(self, message: NewMessage) -> Appended:
        if self.on_its_way is None and message.subject == SUBJECT:
            self.on_its_way = message
            raise LogUnavailable("no answer in time")
        return await super().append(message)


async def test_an_append_that_lands_late_is_refused() -> None:
    """Campaign, seed 1097: it stood in the log behind decisions that had been taken since."""
    log = SlowLog(ManualClock())
    async with recording(log, "a") as recorder:
        sequence = await recorder.record(SUBJECT, b"once")
        assert log.on_its_way is not None
        with pytest.raises(RevisionConflict):
            await log.append(log.on_its_way)
        assert await recorder.record(SUBJECT, b"next") > sequence


@pytest.mark.parametrize(
    "error", [pytest.param(LogUnavailable("away"), id="away"), pytest.param(LogFull("full"), id="full")]
)
async def test_a_record_waits_for_the_log(error: TapioError) -> None:
    log = MemoryEventLog(ManualClock())
    async with recording(log, "a") as recorder:
        log.fault = fail_once("append", error)
        assert await recorder.record(SUBJECT, b"later") > 0


async def test_a_record_that_is_too_large_fails_alone() -> None:
    log = MemoryEventLog(ManualClock())
    async with recording(log, "a") as recorder:
        subjects = [f"{SUBJECT}{number}" for number in range(5)]
        data = [bytes(9 << 20) if number in {1, 3} else b"small" for number in range(5)]
        records = [recorder.record(subject, one) for subject, one in zip(subjects, data, strict=True)]
        answers = await asyncio.gather(*records, return_exceptions=True)
        assert [isinstance(one, MessageTooLarge) for one in answers] == [False, True, False, True, False]
        assert await recorder.record(SUBJECT, b"next") > 0


async def test_a_re_asserted_epoch_is_newer_and_still_ours() -> None:
    log = MemoryEventLog(ManualClock())
    async with recording(log, "a") as recorder:
        before = recorder.token
        await recorder.record(SUBJECT, b"1")
        await recorder.reassert()
        assert recorder.token > before
        await recorder.record(SUBJECT, b"2")
        last = await log.last(epoch_subject(3))
        assert last is not None
        assert last.sequence == recorder.token
