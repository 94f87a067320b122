"""Puts the controllers together over one `Kube`."""

from __future__ import annotations

import asyncio
from typing import Protocol

from tapio_shared.ports import Clock, Kube, Random
from tapio_simulator.controllers.autoscalers import Autoscalers
from tapio_simulator.controllers.daemon_sets import DaemonSets
from tapio_simulator.controllers.deployments import Deployments
from tapio_simulator.controllers.disruption_budgets import DisruptionBudgets
from tapio_simulator.controllers.endpoints import Endpoints
from tapio_simulator.controllers.garbage import GarbageCollector
from tapio_simulator.controllers.jobs import Jobs
from tapio_simulator.controllers.replica_sets import ReplicaSets
from tapio_simulator.controllers.service_accounts import ServiceAccounts
from tapio_simulator.controllers.settings import ControllerSettings
from tapio_simulator.controllers.stateful_sets import StatefulSets
from tapio_simulator.kubelet.running import NodePlane
from tapio_simulator.machinery.client import Client
from tapio_simulator.machinery.events import EventRecorder
from tapio_simulator.machinery.informer import Informers

MANAGER = "kube-controller-manager"


class Controller(Protocol):
    """Everything with a work queue."""

    async def run(self, workers: int) -> None: ...


async def run_controllers(kube: Kube, clock: Clock, random: Random, settings: ControllerSettings | None = None) -> None:
    """Everything that makes objects move in a simulated cluster, until cancelled."""
    chosen = settings or ControllerSettings()
    client = Client(kube, MANAGER)
    informers = Informers(client, random)
    events = EventRecorder(client, clock, random, normal=chosen.kubelet.normal_events)
    plane = NodePlane(client, informers, clock, random, events, chosen.kubelet, chosen.breakages)
    controllers: tuple[Controller, ...] = (
        Deployments(informers, clock, events),
        ReplicaSets(informers, clock, events),
        StatefulSets(informers, clock, events),
        DaemonSets(informers, clock, events),
        Jobs(informers, clock, events),
        Autoscalers(client, informers, clock),
        DisruptionBudgets(informers, clock),
        Endpoints(informers, chosen.endpoints_delay),
        ServiceAccounts(informers),
        GarbageCollector(client, random),
    )
    async with asyncio.TaskGroup() as tasks:
        informers.start(tasks)
        tasks.create_task(events.run(), name="events")
        await informers.synced()
        for controller in controllers:
            tasks.create_task(controller.run(chosen.workers), name=type(controller).__name__)
        tasks.create_task(plane.run(), name="node plane")
