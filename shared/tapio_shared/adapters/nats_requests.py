"""Requests with one answer each, all on one reply inbox: many in flight, and every one of them ends.

nats-py's `request` and `publish_async` leave callers waiting after a disconnect, and a publish that is not permitted
shows only in a callback. Here a disconnect and a violation end what they concern at once, a time-out the rest.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from nats.aio.client import Client
from nats.aio.msg import Msg

from tapio_shared.adapters.nats_errors import CLIENT_ERRORS, error_of_client
from tapio_shared.errors import LogUnavailable, TapioError

NO_RESPONDERS = "503"
MOST_PENDING = 2 << 20
"""Bytes that may wait to be written; a message more is taken."""


class Outbox:
    """Keeps small what waits to be written, and nobody waiting for longer than he would wait for an answer.

    nats-py's own bound waits without end, and keeps cancellations to itself meanwhile: it is to be switched off.
    """

    def __init__(self) -> None:
        self._flushing = asyncio.Lock()

    async def room(self, client: Client, deadline: float) -> None:
        """Wait until less than `MOST_PENDING` waits; `TimeoutError` when that is not so by `deadline` of the loop.

        To be asked for when there is more: to ask each time would take as long as a twentieth of a request.
        """
        async with asyncio.timeout_at(deadline), self._flushing:
            while client.pending_data_size > MOST_PENDING:
                await client.flush()


@dataclass(slots=True)
class _Waiting:
    subject: str
    answer: asyncio.Future[Msg]


class Requests:
    """Requests on whatever client `client` answers; `connected` is set while that client is connected."""

    def __init__(self, client: Callable[[], Client], connected: asyncio.Event, outbox: Outbox) -> None:
        self._client, self._connected, self._outbox = client, connected, outbox
        self._listening: Client | None = None
        self._starting = asyncio.Lock()
        self._inbox = ""
        self._numbers = itertools.count(1)
        self._waiting: dict[str, _Waiting] = {}

    async def ask(self, subject: str, data: bytes, *, headers: dict[str, str] | None = None, timeout: float) -> Msg:
        """The answer to one request, whatever it says. `LogUnavailable` after `timeout` seconds or a disconnect.

        While there is no connection the request waits for one instead of being buffered: what has timed out is
        then not sent later behind its caller's back.
        """
        began = asyncio.get_running_loop().time()
        try:
            if self._listening is not self._client() or not self._connected.is_set():
                async with asyncio.timeout(timeout):
                    await self._connected.wait()
                    await self._listen()
            return await self._exchange(subject, data, headers, began + timeout, timeout)
        except TimeoutError as err:
            raise self._late(subject, timeout) from err
        except CLIENT_ERRORS as err:
            raise error_of_client(err, f"A message on {subject}") from err

    def fail_all(self, why: str) -> None:
        """End every request that is under way: its answer can't come any more."""
        for waiting in list(self._waiting.values()):
            _fail(waiting, LogUnavailable(f"{why} while a request on {waiting.subject} was under way."))

    def refuse(self, subject: str, error: TapioError) -> None:
        """End the requests on `subject` with `error`. nats-py reports violations in lower case."""
        inbox = self._inbox.lower()
        for waiting in list(self._waiting.values()):
            if waiting.subject.lower() == subject or (inbox and subject.startswith(inbox)):
                _fail(waiting, error)

    async def _exchange(
        self, subject: str, data: bytes, headers: dict[str, str] | None, deadline: float, timeout: float
    ) -> Msg:
        loop = asyncio.get_running_loop()
        reply = f"{self._inbox}.{next(self._numbers)}"
        waiting = _Waiting(subject, loop.create_future())
        self._waiting[reply] = waiting
        # A timer on the future alone: asyncio.timeout() costs as much as everything else here together.
        timer = loop.call_at(deadline, lambda: _fail(waiting, self._late(subject, timeout)))
        try:
            client = self._client()
            if client.pending_data_size > MOST_PENDING:
                await self._outbox.room(client, deadline)
            await client.publish(subject, data, reply=reply, headers=headers)
            return await waiting.answer
        finally:
            timer.cancel()
            del self._waiting[reply]
            if waiting.answer.done() and not waiting.answer.cancelled():
                waiting.answer.exception()  # When there was no room to ask in, nobody has seen that it is late.

    @staticmethod
    def _late(subject: str, timeout: float) -> LogUnavailable:
        return LogUnavailable(f"NATS did not answer on {subject} within {timeout:g} s.")

    async def _listen(self) -> None:
        client = self._client()
        if self._listening is client:
            return
        async with self._starting:
            if self._listening is not client:
                self._inbox = client.new_inbox()
                await client.subscribe(f"{self._inbox}.*", cb=self._received)  # pyright: ignore[reportUnknownMemberType]
                self._listening = client

    async def _received(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject)
        if waiting is not None and not waiting.answer.done():
            waiting.answer.set_result(message)


def _fail(waiting: _Waiting, error: TapioError) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
