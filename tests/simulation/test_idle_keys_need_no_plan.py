"""A worker that takes partitions over plans what may have something to be done, and nothing else (ADR 0031)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from tapio_reconciler.shell.partition import TELL_EVERY
from tapio_reconciler.shell.recording import advance_epoch
from tapio_shared.codec import decode_record
from tapio_shared.errors import LogUnavailable, TapioError
from tapio_shared.facts import EpochAdvanced, IdleKeys
from tapio_shared.keys import OrderingKey, epoch_subject, key_text, partition_of
from tapio_shared.kubernetes import check, object_path
from tapio_simulator.faults import Fault
from tests.support.operator_in_process import NAMES, PARTITIONS, RECONCILER, Operator, operator_in_process
from tests.support.virtual_time import run_virtually

DEV = object_path("tapio.io", "v1alpha1", "tapioclusters", "default", "dev")
KEYS = frozenset(key_text(OrderingKey("local", "default", name)) for name in NAMES)


@asynccontextmanager
async def _converged() -> AsyncGenerator[Operator]:
    """One worker whose TapioClusters have all been Ready for more than a minute."""
    async with operator_in_process(1, workers=1) as operator:
        await operator.until_converged()
        await asyncio.sleep(TELL_EVERY)
        yield operator


def _plans(operator: Operator) -> int:
    counted = (
        operator.registry.get_sample_value("tapio_reconciler_plans_total", {"result": result})
        for result in ("decided", "unchanged", "failed")
    )
    return int(sum(one or 0 for one in counted))


async def _restart(operator: Operator, *, version: str = "1") -> int:
    """Kill the worker, start it anew, and answer how many plans it has made once it is ready."""
    await operator.kill("w0")
    return await _start(operator, version=version)


async def _end(operator: Operator) -> None:
    """Have the worker hand over what it owns, and end."""
    operator.workers.pop("w0").stop()
    await operator.tasks.pop("w0")


async def _start(operator: Operator, *, version: str = "1") -> int:
    before = _plans(operator)
    operator.start_worker("w0", version=version)
    while not operator.workers["w0"].is_ready():  # noqa: ASYNC110 - virtual time
        await asyncio.sleep(0.1)
    return _plans(operator) - before


async def _told(operator: Operator) -> dict[str, IdleKeys | None]:
    """What the last epoch of each partition tells."""
    found: dict[str, IdleKeys | None] = {}
    for number in range(PARTITIONS):
        last = await operator.log.last(epoch_subject(number))
        assert last is not None
        record = decode_record(last.data)
        assert isinstance(record, EpochAdvanced)
        found[last.subject] = record.idle
    return found


def _keys(told: dict[str, IdleKeys | None]) -> frozenset[str]:
    return frozenset(key for idle in told.values() if idle is not None for key in idle.keys)


async def _have_writes_refused(operator: Operator) -> None:
    """Have what a change of `dev` asks for be refused, until the tries are five minutes apart."""
    users = frozenset({RECONCILER.name})
    operator.cluster.faults.add(Fault("refuse", verbs=frozenset({"apply", "patch"}), users=users, status=403))
    await operator.patch(DEV, {"spec": {"inheritedMetadata": {"labels": {"tier": "two"}}}})
    await asyncio.sleep(1_800)


def test_what_is_idle_is_not_planned_by_who_begins() -> None:
    async def run() -> list[int]:
        async with _converged() as operator:
            return [await _restart(operator), await _restart(operator)]  # Told on by who had learned nothing yet.

    assert run_virtually(run()) == [0, 0]


def test_what_was_deleted_while_nobody_worked_is_planned_alone_and_made_again() -> None:
    async def run() -> tuple[int, bool]:
        async with _converged() as operator:
            await operator.kill("w0")
            before = operator.objects()
            path = next(path for path in operator.paths() if "/configmaps/dev-" in path)
            check(await operator.admin.request("DELETE", path))
            await asyncio.sleep(5)
            without = operator.objects()
            planned = await _start(operator)
            await operator.until_converged()
            return planned, without != before == operator.objects()

    planned, mended = run_virtually(run())
    assert mended
    assert 0 < planned < len(NAMES)


def test_everything_is_planned_by_another_version() -> None:
    async def run() -> int:
        async with _converged() as operator:
            return await _restart(operator, version="2")

    assert run_virtually(run()) == len(NAMES)


def test_everything_is_planned_when_what_concerns_everybody_has_changed() -> None:
    async def run() -> int:
        async with _converged() as operator:
            await operator.kill("w0")
            await operator.configure("reconcileInterval: 45s\n")
            await asyncio.sleep(5)
            return await _start(operator)

    assert run_virtually(run()) == len(NAMES)


def test_everything_is_planned_when_the_log_was_lost() -> None:
    async def run() -> int:
        async with _converged() as operator:
            await operator.kill("w0")
            await operator.log.remove()
            while operator.watcher is None or not operator.watcher.is_synced:  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(0.5)
            await asyncio.sleep(30)
            planned = await _start(operator)
            await operator.until_converged()
            return planned

    assert run_virtually(run()) >= len(NAMES)


def test_a_log_that_lost_its_end_lost_the_word_of_it_too() -> None:
    """What takes the place of what was lost may get the very sequences that were told of."""

    async def run() -> bool:
        async with _converged() as operator:
            await operator.kill("w0")
            cut = min(one.revision for idle in (await _told(operator)).values() if idle for one in idle.keys.values())
            await operator.log.rewind(cut - 1)
            told = await _told(operator)
            return all(one.revision < cut for idle in told.values() if idle is not None for one in idle.keys.values())

    assert run_virtually(run())


def test_what_waits_for_a_timer_is_woken_by_it_all_the_same() -> None:
    async def run() -> tuple[int, list[str]]:
        async with operator_in_process(1, workers=1) as operator:
            await operator.until_converged()
            await _have_writes_refused(operator)
            waiting = operator.not_ready()
            await _end(operator)
            planned = await _start(operator)
            operator.cluster.faults.clear()
            await operator.until_converged()
            return planned, waiting

    planned, waiting = run_virtually(run())
    assert planned == 0
    assert waiting, "nothing was refused"


def test_a_timer_that_is_due_and_not_yet_recorded_leaves_its_key_to_be_planned() -> None:
    async def run() -> tuple[frozenset[str], frozenset[str]]:
        async with operator_in_process(1, workers=1) as operator:
            await operator.until_converged()
            await _have_writes_refused(operator)
            before, tried = _keys(await _told(operator)), asyncio.Event()

            def fault(operation: str, subject: str) -> TapioError | None:
                if operation != "append" or ".timer." not in subject:
                    return None
                tried.set()
                return LogUnavailable("no answer")

            operator.log.fault = fault
            await tried.wait()
            await asyncio.sleep(30)  # The epoch is advanced before it is tried again.
            after = _keys(await _told(operator))
            operator.log.fault = lambda _, __: None
            operator.cluster.faults.clear()
            await operator.until_converged()
            return before, after

    before, after = run_virtually(run())
    number = partition_of(OrderingKey("local", "default", "dev"), PARTITIONS)
    assert key_text(OrderingKey("local", "default", "dev")) in before, f"partition {number}"
    assert before - after == {key_text(OrderingKey("local", "default", "dev"))}


def test_who_hands_over_tells_at_once_what_is_idle() -> None:
    async def run() -> frozenset[str]:
        async with operator_in_process(1, workers=1) as operator:
            while operator.not_ready():  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(0.1)
            await asyncio.sleep(2)
            await _end(operator)
            return _keys(await _told(operator))

    assert run_virtually(run()) == KEYS


@pytest.mark.parametrize("taken", [1, 3])
def test_who_ends_before_it_knows_more_tells_on_what_it_was_told(taken: int) -> None:
    async def run() -> frozenset[str]:
        async with _converged() as operator:
            await operator.kill("w0")
            for _ in range(taken):
                for number in range(PARTITIONS):
                    await advance_epoch(
                        operator.log, number, worker="short-lived", partitions=PARTITIONS, clock=operator.clock
                    )
            return _keys(await _told(operator))

    assert run_virtually(run()) == KEYS
