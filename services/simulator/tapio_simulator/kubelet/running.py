"""Puts nodes, scheduler, kubelets and volumes together over one `Kube`."""

from __future__ import annotations

import asyncio

from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from tapio_shared.errors import RetryableError
from tapio_shared.ports import Clock, Kube, Random
from tapio_simulator.kubelet.binder import Binder
from tapio_simulator.kubelet.breakages import Breakages
from tapio_simulator.kubelet.kubelet import Kubelet
from tapio_simulator.kubelet.nodes import Nodes
from tapio_simulator.kubelet.scheduler import Scheduler
from tapio_simulator.kubelet.settings import KubeletSettings
from tapio_simulator.kubelet.sight import Sight
from tapio_simulator.machinery.client import Client
from tapio_simulator.machinery.events import EventRecorder
from tapio_simulator.machinery.informer import Informers

MANAGER = "kubelet"


class NodePlane:
    """The moving parts below the API: made before the informers start, run after they are synced."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        clock: Clock,
        random: Random,
        events: EventRecorder,
        settings: KubeletSettings,
        breakages: Breakages,
    ) -> None:
        self._workers = settings.workers
        sight = Sight(informers, settings, breakages)
        self._nodes = Nodes(client, informers, clock, settings, breakages)
        self._scheduler = Scheduler(client, informers, sight, clock, events)
        self._binder = Binder(informers, clock, events, settings)
        self._kubelet = Kubelet(informers, sight, self._nodes, clock, random, events, settings, breakages)

    async def run(self) -> None:
        """Register what a fresh cluster has, then work until cancelled."""
        for begin in (self._nodes.register, self._binder.create_class):
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(RetryableError), wait=wait_exponential(multiplier=0.05, max=10)
            ):
                with attempt:
                    await begin()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._nodes.run(), name="nodes")
            tasks.create_task(self._scheduler.run(self._workers), name="scheduler")
            tasks.create_task(self._binder.run(self._workers), name="binder")
            tasks.create_task(self._kubelet.run(self._workers), name="kubelet")


async def run_kubelet(
    kube: Kube,
    clock: Clock,
    random: Random,
    settings: KubeletSettings | None = None,
    breakages: Breakages | None = None,
) -> None:
    """Nodes, scheduler, kubelets and volumes on any API server, until cancelled."""
    chosen = settings or KubeletSettings()
    client = Client(kube, MANAGER)
    informers = Informers(client, random)
    events = EventRecorder(client, clock, random, normal=chosen.normal_events)
    plane = NodePlane(client, informers, clock, random, events, chosen, breakages or Breakages())
    async with asyncio.TaskGroup() as tasks:
        informers.start(tasks)
        tasks.create_task(events.run(), name="events")
        await informers.synced()
        tasks.create_task(plane.run(), name="node plane")
