"""Patches, conditions, names and work queues that every controller stands on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio_shared.errors import ApiUnavailable
from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.machinery.objects import clone, merge_patch, share_of, short_hash, with_condition, without_zeros
from tapio_simulator.machinery.queue import WorkQueue
from tapio_simulator.patches import merge_patched

_values = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
_objects = st.dictionaries(st.sampled_from("abcd"), _values, max_size=4)


@given(old=_objects, new=_objects)
def test_a_merge_patch_makes_the_old_into_the_new(old: JsonObject, new: JsonObject) -> None:
    patch = merge_patch(old, new)

    assert (patch == {}) == (old == new)
    assert merge_patched(clone(old), patch) == new


@pytest.mark.parametrize(
    ("value", "total", "up", "expected"),
    [
        ("25%", 4, True, 1),
        ("25%", 5, True, 2),
        ("25%", 5, False, 1),
        (3, 5, True, 3),
        (None, 5, True, 1),
        ("x", 5, True, 1),
    ],
)
def test_shares(value: JsonValue, total: int, up: bool, expected: int) -> None:
    assert share_of(value, total, round_up=up, default=1) == expected


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    old: JsonObject = {"type": "Ready", "status": "True", "reason": "A", "lastTransitionTime": "1"}

    same = with_condition([old], {"type": "Ready", "status": "True", "reason": "B", "lastTransitionTime": "2"})
    other = with_condition([old], {"type": "Ready", "status": "False", "lastTransitionTime": "2"})

    assert same == [{"type": "Ready", "status": "True", "reason": "B", "lastTransitionTime": "1"}]
    assert other == [{"type": "Ready", "status": "False", "lastTransitionTime": "2"}]


def test_zeros_are_left_out_and_false_is_not_zero() -> None:
    assert without_zeros({"a": 0, "b": "", "c": None, "d": [], "e": {}, "f": 1}) == {"f": 1}


def test_hashes_do_not_depend_on_the_order_of_keys() -> None:
    assert short_hash({"a": 1, "b": [2]}) == short_hash({"b": [2], "a": 1}) != short_hash({"a": 2, "b": [2]})
    assert len(short_hash({})) == 10


async def _run(
    queue: WorkQueue[str], workers: int, until: asyncio.Event, work: Callable[[str], Awaitable[None]]
) -> None:
    task = asyncio.create_task(queue.run(workers, work))
    async with asyncio.timeout(10):
        await until.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_key_added_while_it_is_worked_on_is_worked_on_again_but_never_twice_at_once() -> None:
    queue: WorkQueue[str] = WorkQueue("test")
    seen: list[str] = []
    done = asyncio.Event()

    async def work(key: str) -> None:
        seen.append(f"begin {key}")
        if seen.count("begin a") == 1:
            queue.add("a")
            queue.add("a")
        await asyncio.sleep(0)
        seen.append(f"end {key}")
        if seen.count("end a") == 2:
            done.set()

    queue.add("a")
    await _run(queue, 4, done, work)

    assert seen == ["begin a", "end a", "begin a", "end a"]


async def test_work_that_fails_is_tried_again_and_holds_nobody_up() -> None:
    queue: WorkQueue[str] = WorkQueue("test")
    seen: list[str] = []
    done = asyncio.Event()

    async def work(key: str) -> None:
        seen.append(key)
        if key == "bad" and seen.count("bad") < 3:
            raise ApiUnavailable("The test says no.")
        if seen.count("bad") == 3:
            done.set()

    queue.add("bad")
    queue.add("good")
    await _run(queue, 1, done, work)

    assert seen == ["bad", "good", "bad", "bad"]


async def test_the_earlier_of_two_delays_counts() -> None:
    queue: WorkQueue[str] = WorkQueue("test")
    done = asyncio.Event()
    seen: list[str] = []

    async def work(key: str) -> None:
        seen.append(key)
        done.set()

    queue.add_after("a", 3600)
    queue.add_after("a", 0.01)
    queue.add_after("a", 1800)
    await _run(queue, 1, done, work)

    assert seen == ["a"]
