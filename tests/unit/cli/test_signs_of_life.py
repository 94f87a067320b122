"""A log in which no watcher writes any more says so: `status` first of all, and `doctor`."""

from __future__ import annotations

import pytest

from tapio_cli.doctor.findings import Verdict
from tapio_cli.doctor.operator import examine_log
from tapio_cli.history.signs_of_life import QUIET, silence
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.codec import encode
from tapio_shared.facts import CursorMoved
from tapio_shared.keys import cursor_subject
from tapio_shared.ports import NewMessage
from tapio_watcher.cursors import WRITE_EVERY
from tests.support.virtual_time import VirtualClock, run_virtually

NOW = 1_790_000_000_000
TOLD = (
    "Nothing has been heard since 2026-09-21T12:58:20.000Z of the watcher, which otherwise writes once an hour: what "
    "is told may be long past, and nothing that changes is acted upon."
)


async def log_of(*moved: int) -> MemoryEventLog:
    """A log with a cursor for each of these instants, of a kind of its own each."""
    log = MemoryEventLog(VirtualClock())
    for number, instant in enumerate(moved):
        fact = CursorMoved(kind=f"k{number}", resource_version="1", generation="g", moved_at=instant)
        await log.append(NewMessage(cursor_subject("local", fact.kind), encode(fact)))
    return log


def test_a_watcher_that_lives_writes_more_often() -> None:
    assert WRITE_EVERY * 1_000 < QUIET


@pytest.mark.parametrize(
    ("moved", "said"),
    [
        pytest.param((), "", id="nobody has ever watched"),
        pytest.param((NOW - QUIET + 1,), "", id="a while ago"),
        pytest.param((NOW - QUIET, NOW - 2 * QUIET), TOLD, id="long ago"),
        pytest.param((NOW - 2 * QUIET, NOW - 1), "", id="one kind lately"),
    ],
)
def test_what_is_said_of_the_watcher(moved: tuple[int, ...], said: str) -> None:
    async def run() -> tuple[str, str, str]:
        log = await log_of(*moved)
        return (
            await silence(log, "local", now=NOW),
            await silence(log, "other", now=NOW),
            (await examine_log(log, [], now=NOW, is_live=True))[0].evidence,
        )

    here, elsewhere, evidence = run_virtually(run())
    assert (here, elsewhere) == (said, "")
    assert (said in evidence) if said else ("Nothing has been heard" not in evidence)


def test_an_archive_is_as_old_as_it_is() -> None:
    async def run() -> Verdict:
        log = await log_of(NOW - 2 * QUIET)
        return (await examine_log(log, [], now=NOW, is_live=False))[0].verdict

    assert run_virtually(run()) is Verdict.OK
