"""A NATS connection and requests on JetStream's API, with this project's errors.

nats-py does connection, authentication and reconnecting; JetStream is spoken by raw requests, because its client hides
error codes, strips settings it does not know and stalls where we must not (see ../shared/reference/jetstream.md).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from tapio_shared.codec import decode_as, encode
from tapio_shared.errors import LogFull, LogMissing, LogUnavailable, TerminalError

log = structlog.get_logger(__name__)
T = TypeVar("T")

REQUEST_TIMEOUT = 5.0
NO_STREAM = 10059
_FULL = frozenset({10047, 10054, 10077, 10122, 10023, 10028, 10129, 10130})
"""Insufficient storage, message too large, maximum messages / bytes exceeded, insufficient resources."""


class ApiFault(msgspec.Struct, frozen=True):
    code: int = 0
    err_code: int = 0
    description: str = ""


class ApiAnswer(msgspec.Struct, frozen=True):
    """What every answer of JetStream's API may carry."""

    error: ApiFault | None = None


class JetStreamError(TerminalError):
    """JetStream refused a request for a reason of its own; `err_code` tells which."""

    def __init__(self, fault: ApiFault) -> None:
        self.err_code, self.code = fault.err_code, fault.code
        super().__init__(f"JetStream refused: {fault.description} (error {fault.err_code}, code {fault.code}).")


def raise_fault(fault: ApiFault) -> None:
    """Raise what an error of JetStream means for the caller."""
    if fault.err_code in _FULL or "maximum" in fault.description:
        raise LogFull(f"The stream takes no more messages: {fault.description}. Raise its limits or free disk space.")
    if fault.err_code == NO_STREAM:
        raise LogMissing("The stream does not exist. Provision it; everything is then observed anew.")
    if fault.code in {503, 408} or fault.err_code == 10164:
        raise LogUnavailable(f"JetStream can't answer at the moment: {fault.description}.")
    raise JetStreamError(fault)


class NatsConnection:
    """One connection, with hooks that run after every reconnect and disconnect."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._on_reconnect: list[Callable[[], None]] = []
        self._on_disconnect: list[Callable[[], None]] = []

    @classmethod
    async def connect(
        cls, servers: list[str], *, name: str, credentials: str = "", ca_file: str = "", inbox_prefix: str = "_INBOX"
    ) -> NatsConnection:
        """Connect, trying until the first answer; reconnects for ever afterwards."""
        connection = cls(Client())
        context: ssl.SSLContext | None = None
        if ca_file:
            context = ssl.create_default_context(cafile=ca_file)

        async def reconnected() -> None:
            log.info("nats reconnected")
            connection.reconnected()

        async def disconnected() -> None:
            log.warning("nats disconnected")
            connection.disconnected()

        async def failed(error: Exception) -> None:
            log.warning("nats error", error=str(error) or type(error).__name__)

        try:
            await connection.client.connect(
                servers=servers,
                name=name,
                tls=context,
                user_credentials=str(Path(credentials)) if credentials else None,
                inbox_prefix=inbox_prefix.encode(),
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.25,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - a fraction works
                connect_timeout=5,
                ping_interval=10,
                max_outstanding_pings=2,
                reconnected_cb=reconnected,
                disconnected_cb=disconnected,
                error_cb=failed,
            )
        except (nats.errors.Error, OSError, TimeoutError) as err:
            raise LogUnavailable(f"NATS at {', '.join(servers)} can't be reached: {err!r}.") from err
        return connection

    @property
    def is_connected(self) -> bool:
        return self.client.is_connected

    def on_reconnect(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Run `hook` after every reconnect; answers how to stop that."""
        self._on_reconnect.append(hook)
        return lambda: self._on_reconnect.remove(hook)

    def on_disconnect(self, hook: Callable[[], None]) -> None:
        self._on_disconnect.append(hook)

    def reconnected(self) -> None:
        for hook in list(self._on_reconnect):
            hook()

    def disconnected(self) -> None:
        for hook in list(self._on_disconnect):
            hook()

    async def api(self, subject: str, request: object, answer: type[T], *, timeout: float = REQUEST_TIMEOUT) -> T:
        """One request on `$JS.API.<subject>`. `JetStreamError`, `LogFull` or `LogUnavailable` when it is refused."""
        body = b"" if request is None else encode(request)
        message = await self.request(f"$JS.API.{subject}", body, timeout=timeout)
        fault = decode_as(ApiAnswer, message.data).error
        if fault is not None:
            raise_fault(fault)
        return decode_as(answer, message.data)

    async def request(self, subject: str, body: bytes, *, timeout: float = REQUEST_TIMEOUT) -> Msg:
        """One request with one answer, or `LogUnavailable`."""
        try:
            return await self.client.request(subject, body, timeout=timeout)
        except (nats.errors.Error, OSError, TimeoutError) as err:
            raise LogUnavailable(f"NATS did not answer a request on {subject}: {type(err).__name__}.") from err

    async def subscribe(self, subject: str, received: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Have `received` called with every message on `subject`, one after the other."""
        try:
            return await self.client.subscribe(subject, cb=received)  # pyright: ignore[reportUnknownMemberType]
        except (nats.errors.Error, OSError) as err:
            raise LogUnavailable(f"NATS took no subscription on {subject}: {type(err).__name__}.") from err

    async def send(self, subject: str, body: bytes, *, reply: str = "", headers: dict[str, str] | None = None) -> None:
        """Publish without waiting for anything but room to write."""
        try:
            await self.client.publish(subject, body, reply=reply, headers=headers)
        except (nats.errors.Error, OSError) as err:
            raise LogUnavailable(f"NATS did not take a message on {subject}: {type(err).__name__}.") from err

    async def close(self) -> None:
        """Close the connection; what is in flight fails."""
        self.disconnected()
        await self.client.close()


async def within(seconds: float, work: Awaitable[T], what: str) -> T:
    """Await `work` for at most `seconds`; `LogUnavailable` naming `what` after that."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError as err:
        raise LogUnavailable(f"NATS did not answer {what} within {seconds:g} s.") from err
