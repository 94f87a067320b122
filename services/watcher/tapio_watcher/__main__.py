"""`python -m tapio_watcher`: the composition root of the watcher."""

from __future__ import annotations

import tapio_shared.lean  # noqa: F401 # pyright: ignore[reportUnusedImport] - the others then import less

# isort: split
import asyncio
import sys
from collections import defaultdict

from prometheus_client import CollectorRegistry

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.kube_http import HttpKube
from tapio_shared.adapters.kube_lease import KubeLease
from tapio_shared.adapters.kube_target import connect_target
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.provisioning import provision
from tapio_shared.adapters.random import SystemRandom
from tapio_shared.health import HealthServer
from tapio_shared.installation import watcher_lease
from tapio_shared.kube_metrics import KubeMetrics
from tapio_shared.listeners import config_from_kubernetes, listener_ports
from tapio_shared.pacing import Pacing
from tapio_shared.ports import Kube, Lease
from tapio_shared.process import process_name, run_service, tell_ports, unless, until
from tapio_shared.settings import Settings
from tapio_watcher.metrics import Metrics
from tapio_watcher.targets import Given, Targets
from tapio_watcher.watcher import Identity, Watcher


async def serve(settings: Settings, stopping: asyncio.Event) -> None:
    """Run the watcher until `stopping` is set."""
    name, clock, registry = process_name(settings), SystemClock(), CollectorRegistry()
    kube_metrics, metrics = KubeMetrics(registry), Metrics(registry, settings.target)
    identity = Identity(target=settings.target, namespace=settings.namespace, partitions=settings.partitions)
    connecting = NatsConnection.connect(
        settings.nats_servers,
        name=f"tapio-watcher/{name}",
        credentials=settings.nats_credentials,
        ca_file=settings.nats_ca,
    )
    connection = await unless(stopping, connecting)
    if connection is None:
        return

    async def make_streams() -> None:
        await provision(
            connection,
            partitions=settings.partitions,
            replicas=settings.nats_replicas,
            max_bytes=settings.log_max_bytes,
            max_age_days=settings.log_max_age_days,
        )

    pacings: defaultdict[str, Pacing] = defaultdict(Pacing)
    async with await HttpKube.connect(
        kubeconfig=settings.kubeconfig,
        context=settings.kube_context,
        metrics=kube_metrics,
        pacing=pacings[settings.target],
    ) as kube:
        event_log, random = NatsEventLog(connection), SystemRandom()

        held: set[str] = set()

        def lease_of(target: str) -> KubeLease:
            lease = watcher_lease(target)
            return KubeLease(kube, clock, namespace=settings.namespace, name=lease, holder=name, held=held)

        def watcher_of(api: Kube, lease: Lease, identity: Identity) -> Watcher:
            return Watcher(
                api,
                event_log,
                lease,
                identity,
                provision=make_streams,
                clock=clock,
                random=random,
                metrics=metrics.of(identity.target),
                home=kube,
                limit=pacings[identity.target].limit,
            )

        async def connect(target: str) -> HttpKube:
            return await connect_target(kube, settings.namespace, target, metrics=kube_metrics, pacing=pacings[target])

        lease = lease_of(settings.target)
        watcher = watcher_of(kube, lease, identity)
        targets = Targets(
            Given(
                home=kube,
                event_log=event_log,
                clock=clock,
                random=random,
                metrics=metrics,
                identity=identity,
                lease=lease_of,
                connect=connect,
                watch=watcher_of,
            )
        )
        health_port, metrics_port = listener_ports(settings, await config_from_kubernetes(kube, settings.namespace))
        health = HealthServer(
            registry,
            ready={
                "nats": lambda: connection.is_connected,
                "log": lambda: not watcher.trouble,
                "observation": watcher.is_ready,
            },
            address=settings.bind_address,
            health_port=health_port,
            metrics_port=metrics_port,
        )
        async with health:
            tell_ports(settings, health)
            await until(stopping, watcher.run(), targets.run())
        await lease.release()
    await connection.close()


def main() -> None:
    """Entry point of the command `tapio-watcher`."""
    sys.exit(run_service("watcher", serve))


if __name__ == "__main__":
    main()
