"""A simulated cluster without controllers, in this process."""

from __future__ import annotations

import pytest_asyncio

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.random import SeededRandom
from tapio_simulator.cluster import SimulatedCluster


@pytest_asyncio.fixture
async def cluster() -> SimulatedCluster:
    made = SimulatedCluster(SystemClock(), SeededRandom(7))
    await made.prepare()
    return made
