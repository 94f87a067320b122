"""A part that is asked to end does so, also when the log is lost while it ends."""

from __future__ import annotations

import asyncio

from tapio_shared.errors import LogUnavailable, TapioError
from tests.support.eventually import eventually
from tests.support.operator_in_process import Operator, documents
from tests.support.virtual_time import run_virtually

_WITHIN = 30.0
"""Seconds: the facts that wait have 5, and a released partition 10."""


def _away(operation: str, _: str) -> TapioError | None:
    return LogUnavailable("The log is away.") if operation == "append" else None


def test_a_watcher_that_ends_while_its_facts_wait_for_a_log_that_is_lost() -> None:
    """The log comes back as another one while the watcher still tries to append what it was told."""

    async def run() -> None:
        operator = Operator(1)
        await operator.prepare()
        operator.start_watcher()
        await eventually(lambda: _is_synced(operator))
        operator.log.fault = _away
        await operator.create(documents()[0])
        await eventually(lambda: _is_in_trouble(operator))
        watcher = operator.tasks.pop("watcher")
        watcher.cancel()
        await asyncio.sleep(0.5)
        await operator.log.remove()
        operator.log.fault = lambda _operation, _subject: None
        await asyncio.wait([watcher], timeout=_WITHIN)
        assert watcher.done(), "it leads again, and nobody tells it to end any more"
        assert watcher.cancelled()
        await operator.kill("controllers")

    run_virtually(run())


async def _is_synced(operator: Operator) -> bool:
    operator.raise_errors()
    return operator.watcher is not None and operator.watcher.is_synced


async def _is_in_trouble(operator: Operator) -> bool:
    return operator.watcher is not None and bool(operator.watcher.trouble)
