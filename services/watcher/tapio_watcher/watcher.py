"""The watcher's life: lead, observe everything, follow; from the start again when the log is another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import structlog

from tapio_shared.api.operator_config import CONFIG_MAP, Limits
from tapio_shared.cancelling import cancellations, end_if_cancelled
from tapio_shared.codec import decode_as
from tapio_shared.errors import (
    ApiTerminal,
    LogRefused,
    LogUnavailable,
    RetryableError,
    TapioError,
    TerminalError,
    Undecodable,
)
from tapio_shared.json import JsonObject
from tapio_shared.kubernetes import check, object_path
from tapio_shared.ports import Clock, EventLog, Kube, Lease, Random
from tapio_watcher.configuration import Configuration, text_of
from tapio_watcher.generation import Remembered, went_backwards
from tapio_watcher.leading import Identity, Lead, Pace, Surroundings
from tapio_watcher.metrics import Metrics
from tapio_watcher.publishing import FactWriter

log = structlog.get_logger(__name__)

__all__ = ["Identity", "Pace", "Watcher"]

REFUSE_AFTER = 20.0
"""Seconds after which a second watcher without leader election gives up: a dead predecessor's Lease is over by then.
A watcher that stands by reads the configuration again as often."""
_FIRST_WAIT, _LAST_WAIT = 0.2, 30.0
_LASTED = 60.0


class Watcher:
    """Watches one target while it leads. `provision` makes the streams when they are missing."""

    def __init__(
        self,
        kube: Kube,
        event_log: EventLog,
        lease: Lease | None,
        identity: Identity,
        *,
        provision: Callable[[], Awaitable[None]],
        clock: Clock,
        random: Random,
        metrics: Metrics,
        home: Kube | None = None,
        pace: Pace | None = None,
        limit: Callable[[Limits], None] = lambda _: None,
    ) -> None:
        """`lease` is None when nobody else can lead, as in a simulation; `home` is None when it is what is watched;
        `limit` takes the limits for what is watched, as they are configured now."""
        self._log, self._lease = event_log, lease
        self._provision, self._clock, self._random, self._metrics = provision, clock, random, metrics
        self._configuration = Configuration()
        self._given = Surroundings(
            kube=kube,
            home=home or kube,
            event_log=event_log,
            clock=clock,
            random=random,
            metrics=metrics,
            identity=identity,
            pace=pace or Pace(),
            configuration=self._configuration,
            limit=limit,
        )
        self._remembered: Remembered | None = None
        self._backwards = ""
        """Why the log is not what it was, until everything has been observed anew."""
        self._writer: FactWriter | None = None
        self._is_synced = False
        self._is_leading = False

    @property
    def is_synced(self) -> bool:
        """Leading, and the log holds a complete observation."""
        return self._is_synced

    def is_ready(self) -> bool:
        """Ready is: standing by for the leader, or leading with a complete observation and a log that takes facts."""
        return not self._is_leading or (self._is_synced and not self.trouble)

    @property
    def trouble(self) -> str:
        """Why facts can't be appended at the moment; empty when they can."""
        return "" if self._writer is None else self._writer.trouble

    async def run(self) -> None:
        """Lead whenever the lease is ours, until cancelled."""
        await self._read_configuration()
        while True:
            if self._lease is None:
                await self._lead_again_and_again()
                continue
            await self._acquire(self._lease)
            leading = asyncio.create_task(self._lead_again_and_again(), name="leading")
            losing = asyncio.create_task(self._lease.lost(), name="lease-lost")
            try:
                await asyncio.wait({leading, losing}, return_when=asyncio.FIRST_COMPLETED)
                if leading.done():
                    leading.result()
                log.warning("lease lost", target=self._given.identity.target)
            finally:
                for task in (leading, losing):
                    task.cancel()
                await asyncio.gather(leading, losing, return_exceptions=True)

    async def _read_configuration(self) -> None:
        """Read the ConfigMap while not leading: it says whether there is anybody to stand by for."""
        path = object_path("", "v1", "configmaps", self._given.identity.namespace, CONFIG_MAP)
        try:
            response = await self._given.home.request("GET", path)
            if response.status != 404:
                self._configuration.take(text_of(cast("JsonObject", decode_as(dict, check(response)))))
        except TapioError as err:
            log.warning("configuration not read", error=str(err))

    async def _acquire(self, lease: Lease) -> None:
        """Wait to lead; without leader election a second watcher is refused, whenever that was switched off."""
        while True:
            is_elected = self._configuration.current.leader_election
            try:
                async with asyncio.timeout(REFUSE_AFTER):
                    return await lease.acquire()
            except TimeoutError as err:
                if not is_elected:
                    raise TerminalError(
                        f"Another watcher of {self._given.identity.target} is running and leaderElection is false. Run "
                        "exactly one replica, or set leaderElection to true in the ConfigMap tapio-operator-config."
                    ) from err
            await self._read_configuration()

    async def _lead_again_and_again(self) -> None:
        """Lead; when the log turns out to be another one, or shorter, observe everything anew."""
        self._is_leading = True
        self._metrics.leading.set(1)
        failures, cancelled = 0, cancellations()
        try:
            while True:
                began = self._clock.monotonic()
                try:
                    await self._lead()
                except* (RetryableError, ApiTerminal, Undecodable) as group:
                    log.warning("watching begins anew", reason=str(_first(group)))
                finally:
                    self._is_synced = False
                    self._metrics.synced.set(0)
                end_if_cancelled(cancelled)  # As the log was lost: whoever asked waits, and the lease may be another's.
                failures = 0 if self._clock.monotonic() - began > _LASTED else failures + 1
                longest = min(_FIRST_WAIT * 2 ** min(failures, 10), _LAST_WAIT)
                await asyncio.sleep(self._random.uniform(longest / 2, longest))
        finally:
            self._is_leading = False
            self._metrics.leading.set(0)

    async def _lead(self) -> None:
        try:
            await self._provision()
        except (LogRefused, LogUnavailable) as err:
            # This identity may not be allowed to make streams; whether they are there is seen next.
            log.warning("streams not provisioned", error=str(err))
        info = await self._log.info()
        backwards = went_backwards(self._remembered, info)
        if backwards:
            log.warning("log lost", reason=backwards)
            self._backwards = backwards
        async with asyncio.TaskGroup() as publishing:
            writer = self._writer = FactWriter(
                self._log,
                self._given.identity.target,
                self._given.identity.partitions,
                self._clock,
                self._metrics,
                publishing,
            )
            try:
                async with asyncio.TaskGroup() as watching:
                    lead = Lead(
                        self._given, info, writer, watching, backwards=bool(self._backwards), synced=self._synced
                    )
                    try:
                        await lead.run()
                        await asyncio.Event().wait()
                    finally:
                        self._remembered = lead.guard.remembered
            except asyncio.CancelledError:
                if not writer.is_broken:
                    await self._flush(writer)
                raise

    async def _flush(self, writer: FactWriter) -> None:
        """Nothing is read any more: append what was."""
        try:
            async with asyncio.timeout(self._given.pace.flush):
                await writer.flush()
        except TimeoutError:
            log.warning(
                "facts left behind", reason=writer.trouble or "the log is slow", waiting="read anew at the start"
            )

    def _synced(self) -> None:
        self._is_synced, self._backwards = True, ""
        self._metrics.synced.set(1)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group of groups."""
    inner = group.exceptions[0]
    return _first(cast("BaseExceptionGroup[BaseException]", inner)) if isinstance(inner, BaseExceptionGroup) else inner
