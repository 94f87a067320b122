"""A log in which most must stay: what it drops of that is told again, and then there is rest."""

from __future__ import annotations

import asyncio

import pytest
import structlog.testing

from tapio_shared.api.images import DEFAULT_TAPIO_VERSION
from tests.support.e2e_objects import small_cluster
from tests.support.incidents import incident
from tests.support.operator_in_process import Operator
from tests.support.virtual_time import run_virtually

_RECORD = 30
"""Bytes of a message in the store, beside its subject and what it says."""


async def live_bytes(operator: Operator) -> int:
    """What the last messages of all subjects take."""
    view = await operator.log.last_per_subject("tapio.>")
    return sum(_RECORD + len(message.subject) + len(message.data) for message in view.messages)


def dropped(operator: Operator) -> float:
    return operator.watcher_registry.get_sample_value("tapio_watcher_facts_dropped_total") or 0.0


@pytest.mark.parametrize(
    ("share", "times"), [pytest.param(0.5, 1, id="half must stay"), pytest.param(0.8, 2, id="most must stay")]
)
def test_what_comes_next_is_not_lost_to_what_is_told_again(share: float, times: int) -> None:
    """Somebody lowers TAPIO_LOG_MAX_BYTES, which drops a lot at once. Without the sweep it takes 4 and 5 `times`."""

    async def run() -> None:
        async with incident() as made:
            operator = made.operator
            for name in ("two", "three"):
                await made.create("alice@example.org", small_cluster(name, version=DEFAULT_TAPIO_VERSION))
            await operator.until_converged()
            limit = int(await live_bytes(operator) / share)
            with structlog.testing.capture_logs() as lines:
                await operator.log.limit(limit)
                await asyncio.sleep(60)
            anew = [str(line["reason"]) for line in lines if line["event"] == "watching begins anew"]
            assert len(anew) == times
            assert f" of its {limit} bytes. Raise TAPIO_LOG_MAX_BYTES to " in anew[0]
            said = [line for line in lines if line["event"] == "the log has little room beside what must stay in it"]
            assert said[0]["max_bytes"] == limit
            before, writes = dropped(operator), operator.operator_writes()
            await asyncio.sleep(240)
            assert (dropped(operator), operator.operator_writes()) == (before, writes)
            assert operator.not_ready() == []
            await operator.kill("watcher")
            operator.start_watcher()
            await operator.until_converged()
            assert operator.operator_writes() == writes, "a restart has nothing to write"

    run_virtually(run())
