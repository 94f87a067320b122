"""Flows that several components have alike: to telemetry, to what a URL names, from whoever scrapes."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from tapio_reconciler.core.model import Flow
from tapio_reconciler.core.objects.context import Context

API_SERVER = Flow(ports=(443, 6443))
"""No policy can select the API server: it is no pod. Its Service listens on 443, which is 6443 once translated."""
_DEFAULT_PORTS = {"http": 80, "https": 443, "nats": 4222, "tls": 4222, "ws": 80, "wss": 443}


def to_urls(*urls: str | None) -> tuple[Flow, ...]:
    """To the ports that these URLs name; whose addresses those are can't be known here. No flow without a URL."""
    ports = {_port(url) for url in urls if url}
    return (Flow(ports=tuple(sorted(ports))),) if ports else ()


def to_telemetry(ctx: Context) -> tuple[Flow, ...]:
    """To where traces are sent, if anywhere."""
    return to_urls(ctx.effective.spec.monitoring.otlp_endpoint)


def scraped(ctx: Context, port: int) -> tuple[int, ...]:
    """The port of the metrics, open where Prometheus is asked for. Who that is can't be known here."""
    return (port,) if ctx.effective.prometheus else ()


def merged_flows(flows: Sequence[Flow]) -> list[Flow]:
    """One flow for each peer, in the order of their first mention, with all its ports."""
    ports: dict[str, set[int]] = {}
    for flow in flows:
        ports.setdefault(flow.app, set()).update(flow.ports)
    return [Flow(app=app, ports=tuple(sorted(found))) for app, found in ports.items()]


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or _DEFAULT_PORTS[parts.scheme]
