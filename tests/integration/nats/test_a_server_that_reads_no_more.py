"""A server that is connected and reads nothing any more, with more to be written than buffers hold."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import uvloop

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.errors import LogUnavailable
from tests.support.freezing import Freezable, freeze

_MORE_THAN_BUFFERS_HOLD = 24
"""Megabytes: nats-py's, and the kernel's on both sides."""
_WITHIN = 10.0


@asynccontextmanager
async def _frozen(tmp_path: Path) -> AsyncGenerator[NatsConnection]:
    """A connection to a server that has been frozen since."""
    async with EmbeddedNatsServer(tmp_path) as server:
        connection = await NatsConnection.connect([server.url], name="test")
        await connection.request("$JS.API.INFO", b"")
        process = cast("Freezable", vars(server)["_process"])
        await freeze(process)
        try:
            yield connection
        finally:
            process.send_signal(signal.SIGCONT)
            await connection.close()


def _asked(connection: NatsConnection, *, timeout: float) -> list[asyncio.Task[object]]:
    """Requests of a megabyte each."""
    return [
        asyncio.create_task(connection.request("foo", bytes(1 << 20), timeout=timeout))
        for _ in range(_MORE_THAN_BUFFERS_HOLD)
    ]


def test_every_request_ends_in_its_time(tmp_path: Path) -> None:
    async def run() -> None:
        async with _frozen(tmp_path) as connection, asyncio.timeout(_WITHIN):
            answers = await asyncio.gather(*_asked(connection, timeout=1.0), return_exceptions=True)
        assert {type(answer) for answer in answers} == {LogUnavailable}

    uvloop.run(run())


def test_a_request_that_waits_for_room_can_be_cancelled(tmp_path: Path) -> None:
    async def run() -> None:
        async with _frozen(tmp_path) as connection:
            tasks = _asked(connection, timeout=60.0)
            await asyncio.wait(tasks, timeout=1.0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_WITHIN)
            assert all(task.cancelled() for task in tasks)

    uvloop.run(run())


def test_a_connection_is_closed_with_what_waits_to_be_written(tmp_path: Path) -> None:
    async def run() -> None:
        async with _frozen(tmp_path) as connection:
            tasks = _asked(connection, timeout=1.0)
            await asyncio.wait(tasks, timeout=2.0)
            async with asyncio.timeout(_WITHIN):
                await connection.close()
            await asyncio.gather(*tasks, return_exceptions=True)

    uvloop.run(run())
