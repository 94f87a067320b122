"""`python -m tapio_webhook`: the composition root of the webhook."""

from __future__ import annotations

import tapio_shared.lean  # noqa: F401 # pyright: ignore[reportUnusedImport] - the others then import less

# isort: split
import asyncio
import ipaddress
import sys
from urllib.parse import urlsplit

import structlog
from prometheus_client import CollectorRegistry

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.kube_http import HttpKube
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.errors import LogUnavailable
from tapio_shared.health import HealthServer
from tapio_shared.keys import ADMITTED_STREAM
from tapio_shared.kube_metrics import KubeMetrics
from tapio_shared.listeners import config_from_kubernetes, listener_ports
from tapio_shared.process import process_name, run_service, tell_ports
from tapio_shared.settings import Settings
from tapio_webhook.certificates import CertificateStore
from tapio_webhook.recording import AdmissionRecorder
from tapio_webhook.registration import Endpoint
from tapio_webhook.server import WebhookServer
from tapio_webhook.service import Registrar

log = structlog.get_logger(__name__)
_DRAIN = 2.0
"""Seconds that the last answers have to be recorded when the service ends."""


async def serve(settings: Settings, stopping: asyncio.Event) -> None:
    """Run the webhook until `stopping` is set."""
    clock, registry = SystemClock(), CollectorRegistry()
    recorder = AdmissionRecorder(registry)
    endpoint = Endpoint(url=settings.webhook_url, namespace=settings.namespace)
    names, addresses = _served_names(settings)
    async with await HttpKube.connect(
        kubeconfig=settings.kubeconfig, context=settings.kube_context, metrics=KubeMetrics(registry)
    ) as kube:
        certificates = CertificateStore(kube, clock, namespace=settings.namespace, names=names, addresses=addresses)
        await certificates.refresh()
        registrar = Registrar(kube, certificates, endpoint, namespace=settings.namespace)
        server = WebhookServer(
            certificates.context,
            recorder,
            lambda: registrar.config.trust,
            registry,
            clock,
            target=settings.target,
            address=settings.bind_address,
            port=settings.webhook_port,
        )
        health_port, metrics_port = listener_ports(settings, await config_from_kubernetes(kube, settings.namespace))
        health = HealthServer(
            registry,
            ready={"serving": lambda: not stopping.is_set(), "registration": registrar.is_ready},
            address=settings.bind_address,
            health_port=health_port,
            metrics_port=metrics_port,
        )
        async with health, asyncio.TaskGroup() as group:
            async with server:
                tell_ports(settings, health, webhook=server.port)
                recording = group.create_task(_record(settings, recorder), name="recorder")
                registering = group.create_task(registrar.run(), name="registrar")
                await stopping.wait()
                registering.cancel()
            await recorder.drain(_DRAIN)
            recording.cancel()


async def _record(settings: Settings, recorder: AdmissionRecorder) -> None:
    """Record on NATS, once that is there: answers are given without it."""
    while True:
        try:
            connection = await NatsConnection.connect(
                settings.nats_servers,
                name=f"tapio-webhook/{process_name(settings)}",
                credentials=settings.nats_credentials,
                ca_file=settings.nats_ca,
            )
        except LogUnavailable as err:
            log.warning("answers are not recorded yet", error=str(err))
            continue
        try:
            await recorder.run(NatsEventLog(connection, ADMITTED_STREAM))
        finally:
            await connection.close()


def _served_names(settings: Settings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and addresses that the certificate is for: the Service's, and the host of the URL when one is set."""
    service = f"tapio-webhook.{settings.namespace}"
    names = [f"{service}.svc", f"{service}.svc.cluster.local", "tapio-webhook"]
    addresses: list[str] = []
    host = urlsplit(settings.webhook_url).hostname if settings.webhook_url else None
    if host:
        try:
            addresses.append(str(ipaddress.ip_address(host)))
        except ValueError:
            names.insert(0, host)
    return tuple(names), tuple(addresses)


def main() -> None:
    """Entry point of the command `tapio-webhook`."""
    sys.exit(run_service("webhook", serve))


if __name__ == "__main__":
    main()
