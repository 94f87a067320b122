"""Slots of a target: so many keys at once, those that have begun first, and nobody for ever last."""

from __future__ import annotations

import asyncio

from tapio_shared.pacing import Slots


async def works(slots: Slots, order: list[str], name: str, *, first: bool) -> None:
    async with slots.first() if first else slots:
        order.append(name)
        await asyncio.sleep(0)


async def test_who_has_begun_goes_on_first_and_of_four_slots_the_fourth_is_another_ones() -> None:
    slots, order = Slots(1), list[str]()
    async with asyncio.TaskGroup() as group, slots:
        for number in range(3):
            group.create_task(works(slots, order, f"new-{number}", first=False))
        for number in range(5):
            group.create_task(works(slots, order, f"begun-{number}", first=True))
        await asyncio.sleep(0)
    assert order == ["begun-0", "begun-1", "begun-2", "new-0", "begun-3", "begun-4", "new-1", "new-2"]


async def test_never_more_than_the_limit() -> None:
    slots, at_once, most = Slots(3), 0, 0

    async def one() -> None:
        nonlocal at_once, most
        async with slots:
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0)
            at_once -= 1

    await asyncio.gather(*(one() for _ in range(20)))
    assert (at_once, most) == (0, 3)


async def test_a_slot_is_not_lost_with_who_waited_for_it() -> None:
    slots, order = Slots(1), list[str]()
    async with slots:
        waiting = [asyncio.create_task(works(slots, order, name, first=False)) for name in ("a", "b", "c")]
        await asyncio.sleep(0)
        waiting[0].cancel()  # before the slot is handed over
        await asyncio.sleep(0)
    waiting[1].cancel()  # after it was
    await asyncio.gather(*waiting, return_exceptions=True)
    assert order == ["c"]
    await asyncio.wait_for(works(slots, order, "d", first=False), 1)


async def test_others_come_in_the_order_that_they_ask_for() -> None:
    slots, order = Slots(1), list[str]()

    async def after(number: int) -> None:
        async with slots.after(number):
            order.append(f"after-{number}")

    async with asyncio.TaskGroup() as group, slots:
        waiting = [group.create_task(after(number)) for number in (7, 3, 5, 3)]
        group.create_task(works(slots, order, "plain", first=False))
        await asyncio.sleep(0)
        waiting[2].cancel()
        group.create_task(works(slots, order, "begun", first=True))
        await asyncio.sleep(0)
    assert order == ["begun", "plain", "after-3", "after-3", "after-7"]
