"""A watcher that dies at any append, before or after it took effect, loses no fact: its successor tells the rest."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.codec import decode_record, encode
from tapio_shared.errors import LogUnavailable, TapioError
from tapio_shared.facts import ObjectGone, ObjectObserved
from tapio_shared.json import JsonObject, at, str_at
from tapio_shared.keys import object_subject
from tapio_shared.kubernetes import check, object_path
from tapio_simulator.cluster import SimulatedCluster
from tapio_watcher.metrics import Metrics
from tapio_watcher.watcher import Identity, Watcher
from tests.integration.watcher.world import CLUSTER, FAST, PARTITIONS, TARGET, config_map, config_map_ref
from tests.support.eventually import eventually

OBJECTS = 6
ABRUPT = replace(FAST, flush=0.0)
"""A process that is killed appends nothing more."""


class Death:
    """Cancels the watcher at one append; from then on nothing of it reaches the log."""

    def __init__(self, operation: str, at_append: int) -> None:
        self.operation, self.left = operation, at_append
        self.task: asyncio.Task[None] | None = None
        self.is_dead = False

    def __call__(self, operation: str, subject: str) -> TapioError | None:
        if self.is_dead:
            return LogUnavailable("This process is dead.")
        if operation == self.operation and ".object." in subject:
            self.left -= 1
            if self.left == 0 and self.task is not None:
                self.is_dead = True
                self.task.cancel()
                return LogUnavailable("This process is dead.")
        return None


@pytest.mark.parametrize("operation", ["append", "lost_ack"])
@pytest.mark.parametrize("at_append", range(1, 2 * OBJECTS + 1))
async def test_the_successor_tells_the_rest(operation: str, at_append: int) -> None:
    clock, random = SystemClock(), SeededRandom(7)
    cluster, log = SimulatedCluster(clock, random), MemoryEventLog(clock, partitions=PARTITIONS)
    await cluster.prepare()
    kube = cluster.kube(user_agent="test")

    def watcher() -> Watcher:
        return Watcher(
            cluster.kube(user_agent="watcher"),
            log,
            None,
            Identity(target=TARGET, namespace="default", partitions=PARTITIONS),
            provision=_nothing,
            clock=clock,
            random=random,
            metrics=Metrics(CollectorRegistry()),
            pace=ABRUPT,
        )

    async def write(method: str, document: JsonObject) -> None:
        name = str_at(document, "metadata", "name")
        path = object_path("", "v1", "configmaps", "default", "" if method == "POST" else name)
        check(await kube.request(method, path, body=None if method == "DELETE" else encode(document)))

    death = Death(operation, at_append)
    log.fault = death
    death.task = asyncio.create_task(watcher().run())
    for number in range(OBJECTS):
        await write("POST", config_map(f"settings-{number}", answer="1"))
        await asyncio.sleep(0)
    for number in range(OBJECTS):
        if number % 2:
            await write("DELETE", config_map(f"settings-{number}"))
        else:
            await write("PUT", config_map(f"settings-{number}", answer="2"))
        await asyncio.sleep(0)

    async def has_ended_or_told_all() -> bool:
        try:
            return await _is_all_told(log)
        except LogUnavailable:
            return death.is_dead

    await eventually(has_ended_or_told_all)
    death.task.cancel()
    with suppress(asyncio.CancelledError):
        await death.task

    log.fault = lambda _operation, _subject: None
    successor = watcher()
    task = asyncio.create_task(successor.run())

    async def is_synced() -> bool:
        return successor.is_synced

    await eventually(is_synced)
    assert await _is_all_told(log)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _nothing() -> None:
    """The log in memory needs no provisioning."""


async def _is_all_told(log: MemoryEventLog) -> bool:
    """Whether the last fact of every object is how it is; one that was never told of need not be told as gone."""
    for number in range(OBJECTS):
        message = await log.last(object_subject(CLUSTER, config_map_ref(f"settings-{number}"), PARTITIONS))
        record = None if message is None else decode_record(message.data)
        if number % 2:
            if record is not None and not isinstance(record, ObjectGone):
                return False
        elif not isinstance(record, ObjectObserved) or at(record.object, "data", "answer") != "2":
            return False
    return True
