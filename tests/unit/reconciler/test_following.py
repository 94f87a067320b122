"""Nobody who waits for something to be folded goes on before it is, and nobody waits longer."""

from __future__ import annotations

import asyncio

from tapio_reconciler.shell.following import Progress


async def test_who_waits_goes_on_when_what_was_waited_for_is_folded() -> None:
    progress, reached = Progress(), list[int]()

    async def wait_for(sequence: int) -> None:
        await progress.reached(sequence)
        reached.append(sequence)

    waiting = [asyncio.create_task(wait_for(sequence)) for sequence in (9, 3, 5)]
    await asyncio.sleep(0)
    assert reached == []
    for sequence, expected in ((2, []), (5, [3, 5]), (4, [3, 5]), (12, [3, 5, 9])):
        progress.advance(sequence)
        await asyncio.sleep(0)
        assert reached == expected
    await progress.reached(12)
    await asyncio.gather(*waiting)


async def test_a_waiter_that_gave_up_is_passed_over() -> None:
    progress = Progress()
    gone, stays = (asyncio.create_task(progress.reached(3)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    progress.advance(3)
    await stays
