"""A NATS connection and requests on JetStream's API, with this project's errors.

nats-py does connecting, authentication and reconnecting; JetStream is spoken by raw requests, because its client hides
error codes, strips settings it does not know and stalls where we must not (docs/measurements/jetstream.md). After some
errors (authentication expired or refused on a reconnect) nats-py closes for good; a new client is then made, since an
operator that is deaf for ever is worse than one that tries again.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar
from urllib.parse import urlsplit

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from tapio_shared.adapters.nats_credentials import Login, as_callbacks, credentials_callbacks, login_callbacks
from tapio_shared.adapters.nats_errors import CLIENT_ERRORS, ApiAnswer, error_of_client, error_of_fault
from tapio_shared.adapters.nats_requests import MOST_PENDING, NO_RESPONDERS, Outbox, Requests
from tapio_shared.codec import decode_as, encode
from tapio_shared.errors import InvalidSettings, LogRefused, LogUnavailable

log = structlog.get_logger(__name__)
T = TypeVar("T")

REQUEST_TIMEOUT = 5.0
PATIENCE = 30.0
"""Seconds to wait for the first connection; a service that gets none ends and is started again."""
_CLOSE_WITHIN = 2.0
"""Seconds in which what is left over may be written; a server that reads no more takes none of it."""
_RETRY_WAIT = 0.25
_SCHEMES = ("nats", "tls", "ws", "wss")
_VIOLATION = re.compile(r"permissions violation for (publish|subscription) to \"([^\"]+)\"")


def _refuse_if_no_address(server: str) -> None:
    try:
        address = urlsplit(server if "://" in server else f"nats://{server}")
        _ = address.port
        wrong = "" if address.scheme in _SCHEMES else f"{address.scheme!r} is none of {', '.join(_SCHEMES)}"
    except ValueError as err:
        wrong = str(err)
    if wrong:
        raise InvalidSettings(f"{server} can't be an address of NATS: {wrong}. Write it like nats://host:4222.")


class NatsConnection:
    """One connection. Made by `connect`; `close` ends it."""

    def __init__(
        self,
        servers: list[str],
        *,
        name: str,
        credentials: str = "",
        login: Login | None = None,
        ca_file: str = "",
        server_name: str = "",
        inbox_prefix: str = "",
    ) -> None:
        for one in servers:
            _refuse_if_no_address(one)
        self._servers, self._name = servers, name
        self._login = login_callbacks(credentials) if credentials else login and as_callbacks(login)
        self._credentials = credentials_callbacks(credentials) if credentials and self._login is None else None
        self._inbox_prefix = inbox_prefix or inbox_prefix_of(name)
        self._server_name = server_name
        self._context: ssl.SSLContext | None = None
        if ca_file:
            try:
                self._context = ssl.create_default_context(cafile=ca_file)
            except OSError as err:
                raise InvalidSettings(f"The CA of NATS in {ca_file} can't be used: {err}.") from err
        self.client = Client()
        self._connected = asyncio.Event()
        self._outbox = Outbox()
        self._requests = Requests(lambda: self.client, self._connected, self._outbox)
        self._on_reconnect: list[Callable[[], None]] = []
        self._on_refusal: list[Callable[[str, LogRefused], None]] = [self._requests.refuse]
        self._closing = False
        self._reopening: asyncio.Task[None] | None = None
        self.last_error = ""
        """What went wrong last, outside any call; empty once connected (again)."""

    @classmethod
    async def connect(
        cls,
        servers: list[str],
        *,
        name: str,
        credentials: str = "",
        login: Login | None = None,
        ca_file: str = "",
        server_name: str = "",
        inbox_prefix: str = "",
        patience: float = PATIENCE,
    ) -> NatsConnection:
        """Connect, trying for `patience` seconds; reconnects for ever afterwards.

        `credentials` names a file; `login` is a user and a password at hand. `name` is shown by the server and, up to
        a `/`, gives the inbox prefix that permissions are granted on. `server_name` is what the servers' certificate
        is for, where that is not the host of their address.
        """
        connection = cls(
            servers,
            name=name,
            credentials=credentials,
            login=login,
            ca_file=ca_file,
            server_name=server_name,
            inbox_prefix=inbox_prefix,
        )
        try:
            async with asyncio.timeout(patience):
                await connection._open(connection.client)
        except (*CLIENT_ERRORS, TimeoutError) as err:
            why = connection.last_error or repr(err)
            await connection.close()
            raise LogUnavailable(f"NATS at {', '.join(servers)} can't be reached: {why}.") from err
        return connection

    @property
    def is_connected(self) -> bool:
        return self._connected.is_set()

    def on_reconnect(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Run `hook` after every reconnect; answers how to stop that."""
        self._on_reconnect.append(hook)
        return lambda: self._on_reconnect.remove(hook)

    def on_refusal(self, hook: Callable[[str, LogRefused], None]) -> Callable[[], None]:
        """Run `hook` with the (lower-case) subject of every permission violation; answers how to stop that."""
        self._on_refusal.append(hook)
        return lambda: self._on_refusal.remove(hook)

    async def api(self, subject: str, request: object, answer: type[T], *, timeout: float = REQUEST_TIMEOUT) -> T:
        """One request on `$JS.API.<subject>`; an answer of failure is raised as what it means."""
        body = b"" if request is None else encode(request)
        message = await self.request(f"$JS.API.{subject}", body, timeout=timeout)
        if (message.headers or {}).get("Status") == NO_RESPONDERS:
            raise LogUnavailable(f"No JetStream answers on $JS.API.{subject} at the moment.")
        fault = decode_as(ApiAnswer, message.data).error
        if fault is not None:
            raise error_of_fault(fault)
        return decode_as(answer, message.data)

    async def request(
        self, subject: str, data: bytes, *, headers: dict[str, str] | None = None, timeout: float = REQUEST_TIMEOUT
    ) -> Msg:
        """One request with one answer, or `LogUnavailable`; `LogRefused` when it is not permitted."""
        return await self._requests.ask(subject, data, headers=headers, timeout=timeout)

    async def subscribe(self, subject: str, received: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Have `received` called with every message on `subject`, one after the other."""
        await self.until_connected(REQUEST_TIMEOUT)  # A client that has closed itself refuses at once, ever again.
        try:
            return await self.client.subscribe(subject, cb=received)  # pyright: ignore[reportUnknownMemberType]
        except CLIENT_ERRORS as err:
            raise error_of_client(err, f"a subscription on {subject}") from err

    async def send(self, subject: str, body: bytes, *, reply: str = "", headers: dict[str, str] | None = None) -> None:
        """Publish without waiting for anything but room to write, and for that no longer than for an answer."""
        if not self.is_connected:
            raise LogUnavailable(f"There is no connection to NATS to send a message on {subject}.")
        try:
            if self.client.pending_data_size > MOST_PENDING:
                await self._outbox.room(self.client, asyncio.get_running_loop().time() + REQUEST_TIMEOUT)
            await self.client.publish(subject, body, reply=reply, headers=headers)
        except CLIENT_ERRORS as err:
            raise error_of_client(err, f"A message on {subject}") from err

    async def until_connected(self, timeout: float) -> None:
        """Return once there is a connection; `LogUnavailable` when there is none for `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._connected.wait()
        except TimeoutError as err:
            raise LogUnavailable(f"There has been no connection to NATS for {timeout:g} s.") from err

    async def close(self) -> None:
        """Close the connection; what is in flight fails."""
        self._closing = True
        self._lose("The connection to NATS was closed")
        if self._reopening is not None:
            self._reopening.cancel()
            with suppress(asyncio.CancelledError):
                await self._reopening
        with suppress(*CLIENT_ERRORS, TimeoutError):
            async with asyncio.timeout(_CLOSE_WITHIN):
                await self.client.close()

    async def _open(self, client: Client) -> None:
        """Connect `client`, trying until it works: nats-py does that when attempts are unlimited."""
        await client.connect(
            servers=self._servers,
            name=self._name,
            tls=self._context,
            user=self._login.user if self._login else None,
            password=self._login.password if self._login else None,
            user_jwt_cb=self._credentials.jwt if self._credentials else None,
            signature_cb=self._credentials.sign if self._credentials else None,
            tls_hostname=self._server_name or None,
            inbox_prefix=self._inbox_prefix.encode(),
            max_reconnect_attempts=-1,
            reconnect_time_wait=_RETRY_WAIT,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - a fraction works
            connect_timeout=5,
            ping_interval=10,
            max_outstanding_pings=2,
            pending_size=-1,  # The outbox keeps it small.
            reconnected_cb=self._reconnected,
            disconnected_cb=self._disconnected,
            error_cb=self._failed,
            closed_cb=self._closed,
        )
        self.client = client
        self.last_error = ""
        self._connected.set()

    async def _reconnected(self) -> None:
        log.info("nats reconnected", server=_host(self.client))
        self.last_error = ""
        self._connected.set()
        self._tell_reconnected()

    async def _disconnected(self) -> None:
        if not self._closing:
            log.warning("nats disconnected")
        self._lose("The connection to NATS broke")

    async def _closed(self) -> None:
        if not self._closing and self._reopening is None:
            self._reopening = asyncio.create_task(self._reopen(), name="nats-reopen")

    async def _reopen(self) -> None:
        log.warning("nats client closed itself; making a new one", reason=self.last_error)
        try:
            await asyncio.sleep(_RETRY_WAIT)
            await self._open(Client())
        finally:
            self._reopening = None
        self._tell_reconnected()

    async def _failed(self, error: Exception) -> None:
        """nats-py's word on anything that went wrong outside a call; the same trouble is told once."""
        text = str(error) or type(error).__name__
        violation = _VIOLATION.search(text)
        if violation is not None:
            verb = "publish on" if violation[1] == "publish" else "subscribe to"
            refusal = LogRefused(
                f"The NATS user of {self._name} may not {verb} {violation[2]}. Grant it, or use another user."
            )
            for hook in list(self._on_refusal):
                hook(violation[2], refusal)
        if isinstance(error, ConnectionError) and "authorization" in self.last_error.lower():
            return  # A server that refuses a user resets the connection; why it does tells more.
        if text != self.last_error:
            self.last_error = text
            log.warning("nats error", error=text)

    def _lose(self, why: str) -> None:
        self._connected.clear()
        self._requests.fail_all(why)

    def _tell_reconnected(self) -> None:
        for hook in list(self._on_reconnect):
            hook()


def inbox_prefix_of(name: str) -> str:
    """The inbox prefix of the service `name` (its part before a `/`): what its user is permitted to subscribe to."""
    return "_INBOX_" + re.sub(r"[^a-zA-Z0-9-]", "-", name.partition("/")[0])


def _host(client: Client) -> str:
    """The server's address without user and password."""
    url = client.connected_url
    return "" if url is None else f"{url.hostname}:{url.port}"
