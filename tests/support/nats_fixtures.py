"""nats-servers as pytest fixtures, one of each for the whole run. Loaded as a plugin by tests/conftest.py."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from tests.support.nats_servers import Nats, one_server, three_servers


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Nats]:
    """One nats-server that tests share; each begins with `provision_anew`."""
    async with one_server(tmp_path_factory.mktemp("nats")) as nats:
        yield nats


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats_cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Nats]:
    """Three nats-servers as a cluster that tests share."""
    async with three_servers(tmp_path_factory.mktemp("cluster")) as nats:
        yield nats
