"""A watcher whose log lost its end observes everything anew, and says so under another generation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tapio_shared.codec import decode_record
from tapio_shared.facts import Synced
from tapio_shared.keys import shared_subject
from tapio_shared.ports import NewMessage
from tapio_simulator.faults import Fault
from tests.support.eventually import eventually
from tests.support.operator_in_process import WATCHER, Operator, documents
from tests.support.virtual_time import run_virtually

SYNCED = shared_subject(0, "local", "synced")


async def generation(operator: Operator) -> str:
    message = await operator.log.last(SYNCED)
    record = None if message is None else decode_record(message.data)
    return record.generation if isinstance(record, Synced) else ""


@asynccontextmanager
async def watched() -> AsyncGenerator[tuple[Operator, str]]:
    """A watcher that has observed everything, and the generation that it did it under."""
    operator = Operator(seed=1)
    await operator.prepare()
    operator.start_watcher()

    async def is_synced() -> bool:
        return operator.watcher is not None and operator.watcher.is_synced

    try:
        await eventually(is_synced, seconds=60)
        yield operator, await generation(operator)
    finally:
        for name in list(operator.tasks):
            await operator.kill(name)


async def is_another(operator: Operator, before: str) -> bool:
    return await generation(operator) not in {"", before}


def test_a_log_that_has_grown_again_is_noticed_too() -> None:
    async def run() -> None:
        async with watched() as (operator, before):
            end = (await operator.log.info()).last_sequence
            await operator.create(documents()[0])
            await asyncio.sleep(10)
            told = (await operator.log.info()).last_sequence
            assert told > end
            await operator.log.rewind(end)
            while (await operator.log.info()).last_sequence <= told:
                await operator.log.append(NewMessage("tapio.log.0.local.default.other.decision", b"{}"))
            await eventually(lambda: is_another(operator, before), seconds=60)
            subjects = [message.subject for message in (await operator.log.last_per_subject("tapio.log.>")).messages]
            assert any(".TapioCluster.default.dev" in subject for subject in subjects)

    run_virtually(run())


def test_it_is_not_forgotten_while_the_api_server_is_away() -> None:
    """The first attempts to observe everything fail, and the log has long grown again when one succeeds."""

    async def run() -> None:
        async with watched() as (operator, before):
            end = (await operator.log.info()).last_sequence
            operator.cluster.faults.add(Fault("reset", users=frozenset({WATCHER.name})))
            await operator.log.rewind(end - 1)
            await asyncio.sleep(30)
            while (await operator.log.info()).last_sequence <= end + 10:
                await operator.log.append(NewMessage("tapio.log.0.local.default.other.decision", b"{}"))
            await asyncio.sleep(30)
            assert await generation(operator) == before
            operator.cluster.faults.clear()
            await eventually(lambda: is_another(operator, before), seconds=120)

    run_virtually(run())
