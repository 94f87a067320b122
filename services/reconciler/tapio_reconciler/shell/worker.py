"""One reconciler worker: joins the others, owns its share of the partitions, and hands over what it loses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from tapio_reconciler.core.assignment import partitions_of
from tapio_reconciler.shell.metrics import Metrics
from tapio_reconciler.shell.partition import Partition
from tapio_shared.errors import Fenced, RetryableError
from tapio_shared.ports import Membership

log = structlog.get_logger(__name__)


class Worker:
    """Owns partitions by rendezvous hashing over the living members, until cancelled.

    `make_partition` builds the owner of one partition. On `stop` the worker finishes what is under way, leaves the
    membership and ends.
    """

    def __init__(
        self,
        name: str,
        partitions: int,
        membership: Membership,
        make_partition: Callable[[int], Partition],
        metrics: Metrics,
    ) -> None:
        self._name, self._count, self._membership = name, partitions, membership
        self._make_partition, self._metrics = make_partition, metrics
        self._owned: dict[int, Partition] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._assigned = False

    def stop(self) -> None:
        """Ask for a graceful end."""
        self._stopping.set()

    def is_ready(self) -> bool:
        """Whether this worker knows its share and has planned every key of it once."""
        return self._assigned and all(partition.ready.is_set() for partition in self._owned.values())

    @property
    def owned(self) -> Sequence[int]:
        return sorted(self._owned)

    @property
    def parked(self) -> int:
        return sum(partition.parked for partition in self._owned.values())

    async def run(self) -> None:
        """Work until `stop` or cancellation. Waits for the streams, which the watcher makes."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(RetryableError), wait=wait_random_exponential(multiplier=0.2, max=5)
        ):
            with attempt:
                await self._membership.join(self._name)
        try:
            async with asyncio.TaskGroup() as group:
                follow = group.create_task(self._follow_membership(group), name="membership")
                await self._stopping.wait()
                follow.cancel()
                await self._drain()
        finally:
            with suppress(RetryableError):
                await self._membership.leave(self._name)

    async def _follow_membership(self, group: asyncio.TaskGroup) -> None:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(RetryableError), wait=wait_random_exponential(multiplier=0.1, max=5)
        ):
            with attempt:
                async with self._membership.changes() as changes:
                    async for members in changes:
                        await self._assign(group, members)

    async def _assign(self, group: asyncio.TaskGroup, members: Sequence[str]) -> None:
        wanted = partitions_of(self._name, members, self._count)
        lost = [number for number in sorted(self._owned) if number not in wanted]
        for number in lost:
            await self._release(number)
        for number in sorted(wanted - self._owned.keys()):
            self._owned[number] = self._make_partition(number)
            self._tasks[number] = group.create_task(self._own(number), name=f"partition-{number}")
        self._assigned = bool(wanted) or self._name in members
        self._metrics.partitions.set(len(self._owned))
        if lost or wanted:
            log.info("partitions assigned", worker=self._name, members=list(members), owned=len(self._owned))

    async def _own(self, number: int) -> None:
        """Own one partition; after losing it, or the log, take it over anew for as long as it is assigned to us."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type((RetryableError, Fenced)),
            wait=wait_random_exponential(multiplier=0.2, max=10),
        ):
            with attempt:
                partition = self._make_partition(number)
                self._owned[number] = partition
                self._metrics.takeovers.inc()
                try:
                    await partition.run()
                except* Fenced as group:
                    self._metrics.fenced.inc()
                    log.warning("partition lost", partition=number, error=str(group.exceptions[0]))
                    raise Fenced(number, 0) from group
                except* RetryableError as group:
                    log.warning("log unavailable", partition=number, error=str(group.exceptions[0]))
                    raise RetryableError(str(group.exceptions[0])) from group

    async def _release(self, number: int) -> None:
        partition, task = self._owned.pop(number), self._tasks.pop(number)
        await partition.drain()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _drain(self) -> None:
        """Finish what is under way everywhere, then give everything up."""
        await asyncio.gather(*(partition.drain() for partition in self._owned.values()))
        for number in list(self._owned):
            await self._release(number)
