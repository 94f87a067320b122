"""Partitions that are taken over at the same time are read together; what one of them meets with, it meets alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tapio_reconciler.shell.takeovers import Takeovers
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.errors import LogUnavailable
from tapio_shared.ports import Message, NewMessage
from tests.support.virtual_time import VirtualClock, run_virtually

PARTITIONS = 16


class _Counted(MemoryEventLog):
    """A log that notes what is read of it, and does not answer at first."""

    def __init__(self, *, refusals: int = 0) -> None:
        super().__init__(VirtualClock(), partitions=PARTITIONS)
        self.asked: list[tuple[str, int]] = []
        self.refusals = refusals

    async def each_last(self, filter_subject: str, *, at_least: int = 0) -> AsyncGenerator[Message]:
        self.asked.append((filter_subject, at_least))
        await asyncio.sleep(1)
        if self.refusals:
            self.refusals -= 1
            raise LogUnavailable("The log did not answer.")
        async for message in super().each_last(filter_subject, at_least=at_least):
            yield message


async def _filled(*, refusals: int = 0) -> _Counted:
    log = _Counted(refusals=refusals)
    for number in (1, 12, 1, 2):
        await log.append(NewMessage(f"tapio.log.{number}.local.default.a.decision", b"{}"))
    return log


async def _read(takeovers: Takeovers, log: _Counted, number: int) -> list[int]:
    """Sequences of what is read of a partition that was taken over at the sequence of its number."""
    found: list[int] = []

    def take(message: Message) -> None:
        found.append(message.sequence)

    await takeovers.read(log, number, of=PARTITIONS, at_least=min(number, 4), take=take)
    return found


def test_who_waits_meanwhile_is_read_in_the_next_pass_with_all_others() -> None:
    async def run() -> tuple[list[list[int]], list[tuple[str, int]]]:
        log, takeovers = await _filled(), Takeovers()
        found = await asyncio.gather(*(_read(takeovers, log, number) for number in (1, 2, 3, 12)))
        return found, log.asked

    found, asked = run_virtually(run())
    assert found == [[3], [4], [], [2]]
    assert asked == [("tapio.log.1.>", 1), ("tapio.log.>", 4)]


def test_a_pass_that_fails_fails_whoever_led_it_and_the_next_one_leads_another() -> None:
    async def run() -> tuple[list[list[int] | BaseException], list[tuple[str, int]]]:
        log, takeovers = await _filled(refusals=1), Takeovers()
        reads = (_read(takeovers, log, number) for number in (1, 2, 12))
        found = await asyncio.gather(*reads, return_exceptions=True)
        again = await _read(takeovers, log, 1)
        return [*found, again], log.asked

    found, asked = run_virtually(run())
    with pytest.raises(LogUnavailable, match=r"^The log did not answer\.$"):
        raise found[0] if isinstance(found[0], BaseException) else AssertionError
    assert found[1:] == [[4], [2], [3]]
    assert asked == [("tapio.log.1.>", 1), ("tapio.log.>", 4), ("tapio.log.1.>", 1)]


def test_who_gives_up_holds_nobody_up() -> None:
    async def run() -> list[int]:
        log, takeovers = await _filled(), Takeovers()
        leads = asyncio.create_task(_read(takeovers, log, 1))
        waits = asyncio.create_task(_read(takeovers, log, 2))
        await asyncio.sleep(0.5)
        leads.cancel()
        return await waits

    assert run_virtually(run()) == [4]


def test_a_message_of_no_partition_is_let_go_by() -> None:
    async def run() -> list[list[int]]:
        log, takeovers = await _filled(), Takeovers()
        await log.append(NewMessage("tapio.log.12", b"{}"))
        return await asyncio.gather(*(_read(takeovers, log, number) for number in (1, 2, 12)))

    assert run_virtually(run()) == [[3], [4], [2]]
