"""One reconciler worker: joins the others, owns its share of the partitions, and hands over what it loses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import cast

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from tapio_reconciler.core.assignment import partitions_of
from tapio_reconciler.shell.metrics import Metrics
from tapio_reconciler.shell.partition import Partition
from tapio_shared.cancelling import cancellations, end_if_cancelled
from tapio_shared.errors import Fenced, NewerFormat, RetryableError
from tapio_shared.ports import Membership

DRAIN_WITHIN = 10.0
"""Seconds that what is under way may take to be recorded when a partition is handed over."""
AFTER_A_LOSS = 1.0
"""Seconds until a partition lost to another worker is taken back, if it still is ours: two looks at the members."""
LOOK_AGAIN_EVERY = 10.0
"""Seconds between two looks at whether the log is still one that only a newer version may work on."""
_AGAIN = wait_random_exponential(multiplier=0.2, max=10)
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
        newer: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        """`newer` answers why a worker of this version must own nothing of this log, empty when it may; without it
        that is found when a partition is taken over."""
        self._name, self._count, self._membership = name, partitions, membership
        self._make_partition, self._metrics, self._newer = make_partition, metrics, newer
        self._owned: dict[int, Partition] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._wanted: frozenset[int] = frozenset()
        """What is assigned to this worker."""
        self._releasing: set[int] = set()
        """What is being handed over; it may be assigned to this worker again meanwhile."""
        self._stopping = asyncio.Event()
        self._leaving = asyncio.Event()
        """Set by `stop`, and when the log turns out to be of a newer version."""
        self._assigned = False
        self._outdated = False

    def stop(self) -> None:
        """Ask for a graceful end."""
        self._stopping.set()
        self._leaving.set()

    def is_ready(self) -> bool:
        """Whether this worker knows its share and has planned every key of it once."""
        return self._assigned and all(
            number not in self._releasing and self._owned[number].ready.is_set() for number in self._wanted
        )

    def is_outdated(self) -> bool:
        """Whether a newer version has recorded what this one can't read, so that this worker owns nothing."""
        return self._outdated

    @property
    def owned(self) -> Sequence[int]:
        return sorted(self._owned)

    @property
    def parked(self) -> int:
        return sum(partition.parked for partition in self._owned.values())

    async def run(self) -> None:
        """Work until `stop` or cancellation, except while only a newer version may work on the log."""
        while not self._stopping.is_set():
            if await self._may_work():
                await self._work()
            if self._outdated:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN_EVERY):
                        await self._stopping.wait()

    async def _may_work(self) -> bool:
        """Whether this version may own partitions; says why when it may not. If the log is away, taking over tells."""
        try:
            reason = "" if self._newer is None else await self._newer()
        except RetryableError:
            reason = ""
        if reason:
            self._stand_aside(reason)
            return False
        self._outdated = False
        self._metrics.outdated.set(0)
        self._leaving.clear()
        if self._stopping.is_set():
            self._leaving.set()
        return True

    def _stand_aside(self, reason: str) -> None:
        """Own nothing, be no member and not be ready: what a newer version recorded is not to be misread."""
        if not self._outdated:
            log.error("this version is too old for the log", worker=self._name, reason=reason)
        self._outdated = True
        self._metrics.outdated.set(1)
        self._leaving.set()

    async def _work(self) -> None:
        """Own partitions until asked to leave."""
        if not await self._join():
            return
        try:
            self._assigned = False
            async with asyncio.TaskGroup() as group:
                follow = group.create_task(self._follow_membership(group), name="membership")
                await self._leaving.wait()
                follow.cancel()
                await asyncio.wait([follow])
                self._share_out(group, frozenset())
        finally:
            with suppress(RetryableError):
                await self._membership.leave(self._name)

    async def _join(self) -> bool:
        """Become a member, whenever the streams are there, which the watcher makes. False: asked to leave before."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(RetryableError),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            sleep=self._until_leaving,
        ):
            if self._leaving.is_set():
                return False
            with attempt:
                await self._membership.join(self._name)
        return True

    async def _until_leaving(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._leaving.wait()

    async def _follow_membership(self, group: asyncio.TaskGroup) -> None:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(RetryableError), wait=wait_random_exponential(multiplier=0.1, max=5)
        ):
            with attempt:
                async with self._membership.changes() as changes:
                    async for members in changes:
                        self._assign(group, members)

    def _assign(self, group: asyncio.TaskGroup, members: Sequence[str]) -> None:
        wanted = partitions_of(self._name, members, self._count)
        self._share_out(group, wanted)
        self._assigned = bool(wanted) or self._name in members
        log.info("partitions assigned", worker=self._name, members=list(members), owned=len(wanted))

    def _share_out(self, group: asyncio.TaskGroup, wanted: frozenset[int]) -> None:
        """Own what is in `wanted`, and nothing else. What is taken over does not wait for what is handed over."""
        self._wanted = wanted
        for number in sorted(wanted - self._owned.keys()):
            self._take_over(group, number)
        for number in sorted(self._owned.keys() - wanted - self._releasing):
            self._releasing.add(number)
            group.create_task(self._release(group, number), name=f"release-{number}")
        self._metrics.partitions.set(len(self._owned))

    def _take_over(self, group: asyncio.TaskGroup, number: int) -> None:
        self._owned[number] = self._make_partition(number)
        self._tasks[number] = group.create_task(self._own(number), name=f"partition-{number}")

    async def _own(self, number: int) -> None:
        """Own one partition; after losing it, or the log, take it over anew for as long as it is assigned to us.

        One that is being handed over may be taken by its new owner before we are done: it is not to be taken back.
        """
        cancelled = cancellations()
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type((RetryableError, Fenced)),
            wait=_before_taking_over_again,
        ):
            with attempt:
                if number in self._releasing:
                    return
                partition = self._make_partition(number)
                self._owned[number] = partition
                self._metrics.takeovers.inc()
                try:
                    await partition.run()
                except NewerFormat as err:
                    self._stand_aside(str(err))
                    return
                except BaseExceptionGroup as group:
                    end_if_cancelled(cancelled)  # While it ended by itself.
                    if partition.ready.is_set():
                        attempt.retry_state.attempt_number = 1  # It worked: what went wrong before is over.
                    raise self._ending(number, group) from group

    def _ending(self, number: int, group: BaseExceptionGroup[BaseException]) -> BaseException:
        """Why a partition ended: what no retry mends if there is such an error, else that it was lost, else the log."""
        fenced, others = group.split(Fenced)
        retryable, serious = (None, None) if others is None else others.split(RetryableError)
        if serious is not None:
            return serious
        if retryable is not None:
            log.warning("log unavailable", partition=number, error=str(_first(retryable)))
            return RetryableError(str(_first(retryable)))
        self._metrics.fenced.inc()
        log.warning("partition lost", partition=number, error=str(_first(group if fenced is None else fenced)))
        return Fenced(number, 0)

    async def _release(self, group: asyncio.TaskGroup, number: int) -> None:
        """Give a partition up once what is under way is recorded, or can't be in time: the new owner fences us then."""
        task = self._tasks[number]
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_WITHIN):
                await self._owned[number].drain()
        task.cancel()
        await asyncio.wait([task])
        # Last: until here the task may have replaced the partition, and nobody else may own it.
        del self._owned[number], self._tasks[number]
        self._releasing.remove(number)
        self._metrics.partitions.set(len(self._owned))
        if number in self._wanted:
            self._take_over(group, number)


def _before_taking_over_again(state: RetryCallState) -> float:
    """Seconds. Whoever took a partition from us most likely knows of a change of members that we are yet to see."""
    error = None if state.outcome is None else state.outcome.exception()
    return _AGAIN(state) + (AFTER_A_LOSS if isinstance(error, Fenced) else 0.0)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group of groups."""
    inner = group.exceptions[0]
    return _first(cast("BaseExceptionGroup[BaseException]", inner)) if isinstance(inner, BaseExceptionGroup) else inner
