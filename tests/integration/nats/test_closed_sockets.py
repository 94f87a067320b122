"""A socket that was closed before nats-py knows: uvloop, under which the services run, then raises a RuntimeError."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
import uvloop

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.errors import LogUnavailable

Use = Callable[[NatsConnection], Awaitable[None]]


async def ask(connection: NatsConnection) -> None:
    await connection.request("$JS.API.INFO", b"")


async def send(connection: NatsConnection) -> None:
    await connection.send("a", b"")


@pytest.mark.parametrize("use", [pytest.param(ask, id="a request"), pytest.param(send, id="a message")])
def test_a_closed_socket_is_a_log_that_is_away(tmp_path: Path, use: Use) -> None:
    async def run() -> None:
        async with EmbeddedNatsServer(tmp_path) as server:
            connection = await NatsConnection.connect([server.url], name="test")
            await ask(connection)
            await close_socket(connection)
            with pytest.raises(LogUnavailable):
                await use(connection)
            await connection.close()  # It writes what is left over, to the same socket.

    uvloop.run(run())


async def close_socket(connection: NatsConnection) -> None:
    """As when a write failed: nobody flushes any more, the socket is closed, and nothing has read its end yet."""
    inside = vars(connection.client)  # nats-py has no other way to it.
    flusher = cast("asyncio.Task[None]", inside["_flusher_task"])
    writer = cast("asyncio.StreamWriter", vars(inside["_transport"])["_io_writer"])
    flusher.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    writer.transport.abort()
    await asyncio.sleep(0)
