"""The same log three times: in memory, on one server, on three."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.ports import BrowsableLog
from tests.support.nats_servers import PARTITIONS, Nats

MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Kind:
    """Which log a test runs on; `nats` is None for memory."""

    name: str
    nats: Nats | None


@pytest.fixture(params=["memory", "one server", "three servers"])
def kind(request: pytest.FixtureRequest) -> Kind:
    name: str = request.param
    if name == "memory":
        return Kind(name, None)
    nats: Nats = request.getfixturevalue("nats_server" if name == "one server" else "nats_cluster")
    return Kind(name, nats)


@pytest_asyncio.fixture
async def event_log(kind: Kind) -> AsyncGenerator[BrowsableLog]:
    """An empty log of `PARTITIONS` partitions and `MAX_BYTES`."""
    if kind.nats is None:
        yield MemoryEventLog(SystemClock(), partitions=PARTITIONS, max_bytes=MAX_BYTES, max_age=30 * 86_400.0)
        return
    connection = await kind.nats.connect()
    try:
        await kind.nats.provision_anew(connection, max_bytes=MAX_BYTES)
        yield NatsEventLog(connection)
    finally:
        await connection.close()
