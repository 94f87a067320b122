"""The whole service in this process: it answers without NATS, and what it said last is recorded when it ends."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.errors import InvalidSettings
from tapio_shared.json import JsonObject, at
from tapio_shared.keys import ADMITTED_STREAM
from tapio_shared.settings import read_settings
from tapio_simulator.cluster import SimulatedCluster
from tapio_webhook.__main__ import serve
from tests.integration.webhook.stores import NAMESPACE
from tests.support.eventually import eventually
from tests.support.nats_servers import Nats
from tests.support.planned_world import example
from tests.unit.webhook.test_admission import review


@asynccontextmanager
async def running(folder: Path, nats: str, *, port: int = 0) -> AsyncGenerator[str]:
    """The webhook beside a simulated cluster; its URL."""
    cluster = SimulatedCluster(SystemClock(), SeededRandom(1))
    await cluster.prepare()
    await cluster.kube().request("POST", "/api/v1/namespaces", body=b'{"metadata":{"name":"%s"}}' % NAMESPACE.encode())
    ports = folder / "ports.json"
    async with cluster.serve(folder) as endpoint:
        settings = read_settings(
            {
                "TAPIO_KUBECONFIG": str(endpoint.kubeconfig),
                "TAPIO_NATS_URL": nats,
                "TAPIO_BIND_ADDRESS": "127.0.0.1",
                "TAPIO_WEBHOOK_PORT": str(port),
                "TAPIO_HEALTH_PORT": "0",
                "TAPIO_METRICS_PORT": "0",
                "TAPIO_PORTS_FILE": str(ports),
            }
        )
        stopping = asyncio.Event()
        service = asyncio.create_task(serve(settings, stopping))
        try:

            async def told() -> bool:
                return ports.exists() or service.done()

            await eventually(told, seconds=20)
            if service.done():
                await service
            yield f"https://127.0.0.1:{json.loads(ports.read_text())['webhook']}"
        finally:
            stopping.set()
            await asyncio.gather(service, return_exceptions=True)


async def ask(url: str) -> JsonObject:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/mutate", json=review(example("edge")), ssl=False) as response,
    ):
        return cast("JsonObject", await response.json())


async def test_it_answers_while_nats_is_not_there(tmp_path: Path) -> None:
    async with running(tmp_path, "nats://127.0.0.1:1") as url:
        assert at(await ask(url), "response", "allowed") is True


async def test_the_last_answer_before_the_end_is_recorded(tmp_path: Path, nats_server: Nats) -> None:
    connection = await nats_server.connect()
    await nats_server.provision_anew(connection)
    async with running(tmp_path, nats_server.urls[0]) as url:
        assert at(await ask(url), "response", "allowed") is True
    recorded = (await NatsEventLog(connection, ADMITTED_STREAM).last_per_subject("tapio.admitted.>")).messages
    assert [one.subject for one in recorded] == ["tapio.admitted.local.default.edge"]
    await connection.close()


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BaseExceptionGroup) as caught:
            async with running(tmp_path, "nats://127.0.0.1:1", port=port):
                pass
    (error,) = caught.value.exceptions
    assert isinstance(error, InvalidSettings)
    assert str(error).startswith(f"Port {port} of 127.0.0.1 can't be served: ")
