"""Two clusters in which objects move: the simulator with its controllers, and a real control plane with the simulated
nodes alone. One suite runs on both, so what holds on one holds on the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, suppress
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.kube_http import HttpKube
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.json import objects_at, str_at
from tapio_shared.ports import Kube
from tapio_simulator.cluster import SimulatedCluster
from tapio_simulator.controllers import ControllerSettings, run_controllers
from tapio_simulator.kubelet import Breakages, KubeletSettings, run_kubelet
from tests.support.kube_calls import Calls
from tests.support.workloads import Cluster

_names = count(1)


@pytest.fixture(
    params=[
        pytest.param("simulator", id="simulator"),
        pytest.param("real", id="control plane", marks=pytest.mark.real),
    ]
)
def kubeconfig(request: pytest.FixtureRequest) -> Path | None:
    """The kubeconfig of a real control plane; None for the simulator."""
    return Path(request.getfixturevalue("admin_kubeconfig")) if request.param == "real" else None


@pytest_asyncio.fixture
async def cluster(kubeconfig: Path | None) -> AsyncGenerator[Cluster]:
    """A cluster that moves, with a namespace in which pods may be created."""
    breakages = Breakages()
    async with AsyncExitStack() as stack:
        if kubeconfig is None:
            settings = KubeletSettings(
                startup=(0.0, 0.02), shutdown=(0.0, 0.0), job_seconds=0.0, crash_backoff=(0.2, 1.0)
            )
            simulated = SimulatedCluster(SystemClock(), SeededRandom(1))
            await simulated.prepare()
            kube: Kube = simulated.kube()
            running = run_controllers(
                simulated.kube(user_agent="kube-controller-manager"),
                SystemClock(),
                SeededRandom(2),
                ControllerSettings(kubelet=settings, breakages=breakages),
            )
            minor = 33
        else:
            kube = await stack.enter_async_context(await HttpKube.connect(kubeconfig=str(kubeconfig)))
            minor = int(str_at((await Calls(kube, "").get("/version")).document, "minor").rstrip("+"))
            settings = KubeletSettings(
                startup=(0.0, 0.02),
                shutdown=(0.0, 0.0),
                job_seconds=0.0,
                crash_backoff=(0.2, 1.0),
                binds_claims=False,
                checks_pod_security=minor < 23,
            )
            running = run_kubelet(kube, SystemClock(), SeededRandom(2), settings, breakages)
        task = asyncio.create_task(running, name="controllers")
        try:
            calls = Calls(kube, f"workloads-{next(_names)}")
            made = await calls.create("/api/v1/namespaces", {"metadata": {"name": calls.namespace}})
            assert made.status == 201, made.message
            found = Cluster(calls, breakages, admits_by_pod_security=minor >= 23, serves_retention_policy=minor >= 27)
            await found.until(calls.path("v1", "serviceaccounts", "default"), lambda _: True)
            # A claim that is made before there is a default class never gets one (before Kubernetes 1.26).
            await found.until("/apis/storage.k8s.io/v1/storageclasses", lambda one: bool(objects_at(one, "items")))
            yield found
            if kubeconfig is not None:
                await calls.delete(f"/api/v1/namespaces/{calls.namespace}")
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
