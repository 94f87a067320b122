"""A simulated cluster in this process whose controllers can be stopped and started again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.random import SeededRandom
from tapio_simulator.calls import User
from tapio_simulator.cluster import SimulatedCluster
from tapio_simulator.controllers import ControllerSettings, run_controllers
from tapio_simulator.kubelet import Breakages, KubeletSettings
from tests.support.kube_calls import Calls, new_namespace
from tests.support.workloads import Cluster

QUICK = KubeletSettings(startup=(0.0, 0.02), shutdown=(0.0, 0.0), job_seconds=0.0, crash_backoff=(0.2, 1.0))
"""A kubelet that wastes no time."""

CONTROLLERS = User("system:kube-controller-manager", ("system:masters",))
"""As whom the controllers act."""


class MovingCluster:
    """A simulated cluster and what is broken in it."""

    def __init__(self, settings: KubeletSettings = QUICK) -> None:
        self.simulated = SimulatedCluster(SystemClock(), SeededRandom(1))
        self.breakages = Breakages()
        self._settings = ControllerSettings(kubelet=settings, breakages=self.breakages)

    @asynccontextmanager
    async def moving(self) -> AsyncGenerator[None]:
        """Controllers, scheduler and kubelets run for as long as this lasts."""
        kube = self.simulated.kube(CONTROLLERS, user_agent="kube-controller-manager")
        task = asyncio.create_task(run_controllers(kube, SystemClock(), SeededRandom(2), self._settings))
        try:
            yield
            if task.done():
                task.result()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def namespace(self) -> Cluster:
        """A namespace of its own, in which pods may be created."""
        calls: Calls = await new_namespace(self.simulated.kube(user_agent="tester"))
        cluster = Cluster(calls, self.breakages, admits_by_pod_security=True, serves_retention_policy=True)
        await cluster.until(calls.path("v1", "serviceaccounts", "default"), lambda _: True)
        return cluster


@asynccontextmanager
async def moving_cluster(settings: KubeletSettings = QUICK) -> AsyncGenerator[tuple[MovingCluster, Cluster]]:
    """A moving cluster with a namespace."""
    made = MovingCluster(settings)
    await made.simulated.prepare()
    async with made.moving():
        yield made, await made.namespace()
