"""The three API servers that one suite runs against. Where they differ, the simulator is wrong."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.kube_http import HttpKube
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.ports import Kube
from tapio_simulator.cluster import SimulatedCluster
from tapio_simulator.webhooks import HttpWebhooks
from tests.support.kube_calls import Calls, new_namespace


@pytest.fixture(
    params=[
        pytest.param("in process", id="simulator"),
        pytest.param("over TLS", id="simulator over TLS"),
        pytest.param("real", id="control plane", marks=pytest.mark.real),
    ]
)
def server(request: pytest.FixtureRequest) -> str | Path:
    """Which API server: how the simulator is reached, or the kubeconfig of a real one."""
    if request.param == "real":
        return Path(request.getfixturevalue("admin_kubeconfig"))
    return str(request.param)


@pytest_asyncio.fixture
async def kube(server: str | Path, tmp_path: Path) -> AsyncGenerator[Kube]:
    """A client that may do everything."""
    async with AsyncExitStack() as stack:
        webhooks = HttpWebhooks()
        stack.push_async_callback(webhooks.close)
        if server == "in process":
            cluster = SimulatedCluster(SystemClock(), SeededRandom(1), webhooks=webhooks)
            await cluster.prepare()
            yield cluster.kube()
            return
        path = server
        if not isinstance(path, Path):
            cluster = SimulatedCluster(SystemClock(), SeededRandom(1), webhooks=webhooks)
            await cluster.prepare()
            path = (await stack.enter_async_context(cluster.serve(tmp_path))).kubeconfig
        yield await stack.enter_async_context(await HttpKube.connect(kubeconfig=str(path)))


@pytest_asyncio.fixture
async def calls(kube: Kube) -> Calls:
    """Calls in a new namespace."""
    return await new_namespace(kube)
