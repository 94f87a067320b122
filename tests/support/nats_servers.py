"""nats-servers for tests: one alone, or three as a cluster, and streams as the operator makes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import msgspec

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_reader import Reader
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.adapters.provisioning import MEMBERS_BUCKET, provision
from tapio_shared.errors import LogMissing, LogUnavailable, RetryableError
from tapio_shared.keys import ADMITTED_STREAM, LOG_STREAM
from tapio_shared.subprocesses import free_port
from tests.support.eventually import eventually

PARTITIONS = 4


class Nats:
    """One running NATS: its servers, and how to begin with empty streams."""

    def __init__(self, servers: list[EmbeddedNatsServer]) -> None:
        self.servers = servers

    @property
    def replicas(self) -> int:
        return len(self.servers)

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    async def connect(self, name: str = "test") -> NatsConnection:
        return await NatsConnection.connect(self.urls, name=name)

    async def provision_anew(self, connection: NatsConnection, *, max_bytes: int = 64 << 20) -> None:
        """Delete the operator's streams and make them again, empty.

        Tried until they are: deleting a stream moves its files aside, which fails while those of the deletion before
        are still being removed; the stream made next then can't be stored (10049), or finds the old messages
        (nats-server 2.15.1, filestore.go).
        """
        await eventually(lambda: self._made_anew(connection, max_bytes), seconds=60)

    async def _made_anew(self, connection: NatsConnection, max_bytes: int) -> bool:
        try:
            for stream in (LOG_STREAM, ADMITTED_STREAM, f"KV_{MEMBERS_BUCKET}"):
                with suppress(LogMissing):
                    await connection.api(f"STREAM.DELETE.{stream}", None, dict)
            await provision(connection, partitions=PARTITIONS, replicas=self.replicas, max_bytes=max_bytes)
            return (await Reader(connection).info()).last_sequence == 0
        except LogUnavailable:
            return False


@asynccontextmanager
async def one_server(directory: Path) -> AsyncGenerator[Nats]:
    async with EmbeddedNatsServer(directory) as server:
        yield Nats([server])


@asynccontextmanager
async def three_servers(directory: Path, *, partitions: int = PARTITIONS) -> AsyncGenerator[Nats]:
    """A cluster of three that has elected its leader."""
    routes = [free_port() for _ in range(3)]
    urls = ", ".join(f"nats://127.0.0.1:{port}" for port in routes)
    servers = [
        EmbeddedNatsServer(
            directory / str(number),
            name=f"nats-{number}",
            extra=f"cluster {{ name: test, listen: 127.0.0.1:{port}, routes: [{urls}] }}",
        )
        for number, port in enumerate(routes)
    ]
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(server.start() for server in servers))
        for server in servers:
            stack.push_async_callback(server.stop)
        nats = Nats(servers)
        connection = await nats.connect()
        stack.push_async_callback(connection.close)
        await _elected(connection, partitions)
        yield nats


async def jetstream_leader(servers: Sequence[EmbeddedNatsServer]) -> EmbeddedNatsServer | None:
    """The server that leads the log, as the one of `servers` that answers first knows it; None while none does."""
    try:
        connection = await NatsConnection.connect([server.url for server in servers], name="test")
    except LogUnavailable:
        return None
    try:
        leader = (await connection.api(f"STREAM.INFO.{LOG_STREAM}", None, _Info)).cluster.leader
    except RetryableError:
        return None
    finally:
        await connection.close()
    return next((server for server in servers if server.name == leader), None)


class _Cluster(msgspec.Struct):
    leader: str = ""


class _Info(msgspec.Struct):
    cluster: _Cluster


async def _elected(connection: NatsConnection, partitions: int) -> None:
    """Wait until streams of three replicas can be made."""
    async with asyncio.timeout(60):
        while True:
            try:
                await provision(connection, partitions=partitions, replicas=3)
            except LogUnavailable:
                await asyncio.sleep(0.1)
            else:
                return
