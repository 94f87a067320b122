"""Recording answers without ever delaying one: a bounded queue, and what does not fit is counted and dropped."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog
from prometheus_client import CollectorRegistry, Counter

from tapio_shared.admissions import Admission, admitted_subject
from tapio_shared.codec import encode
from tapio_shared.errors import TapioError
from tapio_shared.ports import EventLog, NewMessage

log = structlog.get_logger(__name__)
QUEUED = 1_000
"""Answers that wait for NATS; each is under 1 KB unless many things were wrong."""


class AdmissionRecorder:
    """Appends admissions to TAPIO_ADMITTED, one after the other, in a task of its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._queue: asyncio.Queue[Admission] = asyncio.Queue(QUEUED)
        self._recorded = Counter("tapio_webhook_admissions_recorded", "Answers recorded.", registry=registry)
        self._dropped = Counter(
            "tapio_webhook_admissions_dropped", "Answers not recorded: NATS was away or too slow.", registry=registry
        )

    def put(self, admission: Admission) -> None:
        """Have one answer recorded, if there is room."""
        try:
            self._queue.put_nowait(admission)
        except asyncio.QueueFull:
            self._dropped.inc()

    async def run(self, event_log: EventLog) -> None:
        """Record until cancelled. A lost answer to an append is not asked for again: history may miss it, not wait."""
        while True:
            admission = await self._queue.get()
            subject = admitted_subject(admission.target, admission.namespace, admission.name)
            message = NewMessage(
                subject=subject, data=encode(admission), message_id=f"{admission.request}/{admission.handler}"
            )
            try:
                await event_log.append(message)
            except TapioError as err:
                self._dropped.inc()
                log.warning("admission not recorded", error=str(err))
            else:
                self._recorded.inc()
            finally:
                self._queue.task_done()

    async def drain(self, seconds: float) -> None:
        """Wait until all that was put is recorded or dropped; what still waits after `seconds` is dropped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._queue.join()
        self._dropped.inc(self._queue.qsize())
