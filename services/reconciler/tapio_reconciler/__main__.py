"""`python -m tapio_reconciler`: the composition root of a reconciler worker."""

from __future__ import annotations

import tapio_shared.lean  # noqa: F401 # pyright: ignore[reportUnusedImport] - the others then import less

# isort: split
import asyncio
import importlib.metadata
import sys

from prometheus_client import CollectorRegistry

from tapio_reconciler.shell.applying import Applier
from tapio_reconciler.shell.capacity import Capacity
from tapio_reconciler.shell.events import EventWriter
from tapio_reconciler.shell.identity import Identity, code_digest
from tapio_reconciler.shell.metrics import Metrics
from tapio_reconciler.shell.partition import Partition
from tapio_reconciler.shell.recording import newer_epoch
from tapio_reconciler.shell.targets import Targets
from tapio_reconciler.shell.worker import Worker
from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.kube_http import HttpKube
from tapio_shared.adapters.kube_target import connect_target
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.nats_membership import NatsMembership
from tapio_shared.adapters.random import SystemRandom
from tapio_shared.health import HealthServer
from tapio_shared.kube_metrics import KubeMetrics
from tapio_shared.listeners import config_from_log, listener_ports
from tapio_shared.ports import Kube
from tapio_shared.process import process_name, run_service, tell_ports, unless
from tapio_shared.settings import Settings


async def serve(settings: Settings, stopping: asyncio.Event) -> None:
    """Run one worker until `stopping` is set."""
    name, clock, registry = process_name(settings), SystemClock(), CollectorRegistry()
    metrics, kube_metrics, capacity = Metrics(registry), KubeMetrics(registry), Capacity()
    identity = Identity(
        worker=name,
        operator_version=importlib.metadata.version("tapio-operator"),
        partitions=settings.partitions,
        code=code_digest(),
    )
    connecting = NatsConnection.connect(
        settings.nats_servers,
        name=f"tapio-reconciler/{name}",
        credentials=settings.nats_credentials,
        ca_file=settings.nats_ca,
    )
    connection = await unless(stopping, connecting)
    if connection is None:
        return
    event_log = NatsEventLog(connection)
    async with await HttpKube.connect(
        kubeconfig=settings.kubeconfig,
        context=settings.kube_context,
        metrics=kube_metrics,
        pacing=capacity.pacing_of(settings.target),
    ) as kube:

        def applier_for(api: Kube) -> Applier:
            return Applier(api, SystemRandom(), EventWriter(api, clock), metrics)

        async def connect(target: str) -> HttpKube:
            pacing = capacity.pacing_of(target)
            return await connect_target(kube, settings.namespace, target, metrics=kube_metrics, pacing=pacing)

        targets = Targets(settings.target, applier_for(kube), connect, applier_for)

        def make_partition(number: int) -> Partition:
            return Partition(number, event_log, targets, identity, clock, metrics, capacity)

        async def newer() -> str:
            return await newer_epoch(event_log)

        worker = Worker(name, settings.partitions, NatsMembership(connection), make_partition, metrics, newer)
        health_port, metrics_port = listener_ports(settings, await config_from_log(event_log, settings.target))
        health = HealthServer(
            registry,
            ready={
                "nats": lambda: connection.is_connected,
                "version": lambda: not worker.is_outdated(),
                "partitions": worker.is_ready,
            },
            address=settings.bind_address,
            health_port=health_port,
            metrics_port=metrics_port,
        )
        async with health:
            tell_ports(settings, health)
            running = asyncio.create_task(worker.run(), name="worker")
            waiting = asyncio.create_task(stopping.wait(), name="stopping")
            await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
            worker.stop()
            waiting.cancel()
            await running
        await targets.close()
    await connection.close()


def main() -> None:
    """Entry point of the command `tapio-reconciler`."""
    sys.exit(run_service("reconciler", serve))


if __name__ == "__main__":
    main()
