"""`ports.Membership` on a key-value bucket with a time to live: a worker that stops renewing leaves by itself.

The bucket is polled by one small direct get. A watch would tell of a new member at once, but a watch whose consumer
is lost goes unnoticed for 16 to 19 s (docs/measurements/jetstream.md), and expiry is silent in either case: polling
notices every change within its time to live plus one look, whatever breaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, suppress

import structlog

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_publisher import Publisher
from tapio_shared.adapters.nats_reader import Reader
from tapio_shared.adapters.provisioning import MEMBERS_BUCKET
from tapio_shared.errors import RetryableError, TapioError
from tapio_shared.keys import escape_token, unescape_token
from tapio_shared.ports import NewMessage

log = structlog.get_logger(__name__)

RENEW_EVERY = 1.5
LOOK_EVERY = 0.5
_BELIEVE_AFTER = 10
"""Looks in a row that must answer from the past before it is believed to be the present."""
_PREFIX = f"$KV.{MEMBERS_BUCKET}."
_OPERATION = "KV-Operation"


class NatsMembership:
    """Living workers, by name."""

    def __init__(self, connection: NatsConnection) -> None:
        self._publisher = Publisher(connection)
        self._reader = Reader(connection, f"KV_{MEMBERS_BUCKET}")
        self._renewals: dict[str, asyncio.Task[None]] = {}
        self._revision = self._behind = 0

    async def join(self, name: str) -> None:
        await self._announce(name)
        await self._end_renewal(name)
        self._renewals[name] = asyncio.create_task(self._renew(name), name=f"membership-{name}")

    async def leave(self, name: str) -> None:
        await self._end_renewal(name)
        await self._publisher.append(
            NewMessage(subject=_PREFIX + escape_token(name), data=b"", headers={_OPERATION: "DEL"})
        )

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[tuple[str, ...]]]:
        return aclosing(self._changes())

    async def living(self) -> tuple[str, ...] | None:
        """The sorted names of all living members; None when NATS can't say at the moment. LogRefused, as for others."""
        return await self._members()

    async def _changes(self) -> AsyncGenerator[tuple[str, ...]]:
        known: tuple[str, ...] | None = None
        while True:
            members = await self._members()
            if members is not None and members != known:
                known = members
                yield members
            await asyncio.sleep(LOOK_EVERY)

    async def _members(self) -> tuple[str, ...] | None:
        """The living members, or None when NATS can't say at the moment."""
        try:
            view = await self._reader.multi_last([_PREFIX + ">"], at_least=0)
        except RetryableError as err:
            log.warning("membership unknown", error=str(err))
            return None
        if view is None:
            return None
        if view.revision < self._revision and self._behind < _BELIEVE_AFTER:
            # A replica that lags behind what another one said before; if that lasts, the bucket was made anew.
            self._behind += 1
            return None
        self._revision, self._behind = view.revision, 0
        alive = [
            unescape_token(message.subject.removeprefix(_PREFIX))
            for message in view.messages
            if message.headers.get(_OPERATION) != "DEL"
        ]
        return tuple(sorted(alive))

    async def _announce(self, name: str) -> None:
        await self._publisher.append(NewMessage(subject=_PREFIX + escape_token(name), data=b"alive"))

    async def _renew(self, name: str) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY)
            try:
                await self._announce(name)
            except TapioError as err:
                log.warning("membership not renewed", worker=name, error=str(err))

    async def _end_renewal(self, name: str) -> None:
        renewal = self._renewals.pop(name, None)
        if renewal is not None:
            renewal.cancel()
            with suppress(asyncio.CancelledError):
                await renewal
