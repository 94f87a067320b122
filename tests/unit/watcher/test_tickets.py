"""Whoever flushes waits for what was handed in before, and for what is read again in its place."""

from __future__ import annotations

import asyncio

from tapio_watcher.tickets import Tickets


async def turns() -> None:
    """Let every task go as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_handed_in_later_is_not_waited_for() -> None:
    tickets = Tickets()
    one, two = tickets.new(), tickets.new()
    flush = asyncio.create_task(tickets.flush())
    await turns()
    tickets.new()
    tickets.done(one)
    await turns()
    assert not flush.done()
    tickets.done(two)
    await turns()
    assert flush.done()


async def test_what_is_read_again_meanwhile_is_waited_for() -> None:
    tickets = Tickets()
    one = tickets.new()
    flush = asyncio.create_task(tickets.flush())
    await turns()
    two = tickets.new()
    tickets.read_again()
    tickets.done(one)
    await turns()
    assert not flush.done()
    tickets.done(two)
    await turns()
    assert flush.done()


async def test_nothing_is_waited_for_when_nothing_is_out() -> None:
    async with asyncio.timeout(1):
        await Tickets().flush()
