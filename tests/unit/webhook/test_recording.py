"""Recording never delays an answer, never ends for an error, and counts what it drops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from tapio_shared.adapters.clock import ManualClock
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.admissions import Admission
from tapio_shared.errors import LogFull, LogMissing, LogRefused, LogUnavailable, TapioError
from tapio_webhook.recording import QUEUED, AdmissionRecorder

PATIENCE = 10.0


def admission(number: int) -> Admission:
    return Admission(
        request=f"r-{number}",
        handler="mutate",
        target="local",
        kind="TapioCluster",
        namespace="default",
        name=f"c{number}",
        operation="CREATE",
        allowed=True,
        answered_at=1,
    )


@asynccontextmanager
async def recording(recorder: AdmissionRecorder, log: MemoryEventLog) -> AsyncGenerator[None]:
    running = asyncio.create_task(recorder.run(log))
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def counted(registry: CollectorRegistry) -> tuple[float | None, float | None]:
    """How many were recorded, and how many dropped."""
    return (
        registry.get_sample_value("tapio_webhook_admissions_recorded_total"),
        registry.get_sample_value("tapio_webhook_admissions_dropped_total"),
    )


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(LogUnavailable("away"), id="away"),
        pytest.param(LogMissing("no stream"), id="no stream"),
        pytest.param(LogFull("full"), id="full"),
        pytest.param(LogRefused("not permitted"), id="not permitted"),
    ],
)
async def test_one_that_is_not_taken_is_counted_and_the_next_is_recorded(error: TapioError) -> None:
    registry, log = CollectorRegistry(), MemoryEventLog(ManualClock())
    recorder = AdmissionRecorder(registry)
    log.fault = lambda _, subject: error if subject.endswith(".c1") else None
    async with recording(recorder, log):
        recorder.put(admission(1))
        recorder.put(admission(2))
        await recorder.drain(PATIENCE)
    assert counted(registry) == (1, 1)
    assert [one.subject for one in (await log.last_per_subject("tapio.admitted.>")).messages] == [
        "tapio.admitted.local.default.c2"
    ]


async def test_without_nats_as_many_wait_as_there_is_room_and_none_makes_put_wait() -> None:
    registry, log = CollectorRegistry(), MemoryEventLog(ManualClock())
    recorder = AdmissionRecorder(registry)
    for number in range(QUEUED + 5):
        recorder.put(admission(number))
    assert counted(registry) == (0, 5)
    async with recording(recorder, log):
        await recorder.drain(PATIENCE)
    assert counted(registry) == (QUEUED, 5)


async def test_what_is_not_recorded_by_the_end_is_counted_as_dropped() -> None:
    registry = CollectorRegistry()
    recorder = AdmissionRecorder(registry)
    for number in range(3):
        recorder.put(admission(number))
    await recorder.drain(0.01)
    assert counted(registry) == (0, 3)
