"""The health and metrics ports as probes and scrapes see them."""

from __future__ import annotations

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from tapio_shared.errors import InvalidSettings
from tapio_shared.health import HealthServer


async def get(port: int, path: str, accept: str = "*/*", host: str = "127.0.0.1") -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}{path}", headers={"Accept": accept}) as response,
    ):
        return response.status, await response.text(), response.headers["Content-Type"]


async def test_readiness_names_what_is_missing_and_liveness_is_another_matter() -> None:
    state = {"nats": False, "observation": False}
    server = HealthServer(
        CollectorRegistry(),
        ready={"nats": lambda: state["nats"], "observation": lambda: state["observation"]},
        address="127.0.0.1",
        health_port=0,
        metrics_port=0,
    )
    async with server:
        assert (await get(server.health_port, "/healthz"))[:2] == (200, "ok\n")
        assert (await get(server.health_port, "/readyz"))[:2] == (503, "not ready: nats, observation\n")
        state["nats"] = True
        assert (await get(server.health_port, "/readyz"))[:2] == (503, "not ready: observation\n")
        state["observation"] = True
        assert (await get(server.health_port, "/readyz"))[:2] == (200, "ok\n")
        assert (await get(server.health_port, "/metrics"))[0] == 404


async def test_liveness_has_checks_of_its_own() -> None:
    server = HealthServer(
        CollectorRegistry(),
        ready={},
        alive={"event loop": lambda: False},
        address="127.0.0.1",
        health_port=0,
        metrics_port=0,
    )
    async with server:
        for path in ("/healthz", "/livez"):
            assert (await get(server.health_port, path))[:2] == (503, "not alive: event loop\n")


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        pytest.param("*/*", "text/plain", id="text"),
        pytest.param("application/openmetrics-text; version=1.0.0", "application/openmetrics-text", id="OpenMetrics"),
    ],
)
async def test_metrics_are_served_in_the_format_that_is_asked_for(accept: str, content_type: str) -> None:
    registry = CollectorRegistry()
    Counter("tapio_facts", "Facts.", registry=registry).inc(3)
    server = HealthServer(registry, ready={}, address="127.0.0.1", health_port=0, metrics_port=0)
    async with server:
        status, text, kind = await get(server.metrics_port, "/metrics", accept)
    assert status == 200
    assert "tapio_facts_total 3.0" in text
    assert kind.startswith(content_type)


async def test_a_port_in_use_is_told_and_nothing_stays_open() -> None:
    first = HealthServer(CollectorRegistry(), ready={}, address="127.0.0.1", health_port=0, metrics_port=0)
    async with first:
        second = HealthServer(
            CollectorRegistry(), ready={}, address="127.0.0.1", health_port=0, metrics_port=first.metrics_port
        )
        with pytest.raises(InvalidSettings, match=rf"Port {first.metrics_port} of 127\.0\.0\.1 can't be served"):
            await second.__aenter__()
        with pytest.raises(aiohttp.ClientConnectorError):
            await get(second.health_port, "/healthz")


@pytest.mark.parametrize(
    ("address", "answering", "silent"),
    [
        pytest.param("0.0.0.0", ["127.0.0.1", "[::1]"], [], id="every address, by IPv4's word"),
        pytest.param("::", ["127.0.0.1", "[::1]"], [], id="every address, by IPv6's word"),
        pytest.param("127.0.0.1", ["127.0.0.1"], ["[::1]"], id="one of IPv4"),
        pytest.param("::1", ["[::1]"], ["127.0.0.1"], id="one of IPv6"),
    ],
)
async def test_probes_are_answered_in_whichever_family_they_come(
    address: str, answering: list[str], silent: list[str]
) -> None:
    """On a Kubernetes cluster with IPv6 alone a pod has no other address."""
    server = HealthServer(CollectorRegistry(), ready={}, address=address, health_port=0, metrics_port=0)
    async with server:
        for host in answering:
            assert (await get(server.health_port, "/healthz", host=host))[:2] == (200, "ok\n"), host
            assert (await get(server.metrics_port, "/metrics", host=host))[0] == 200, host
        for host in silent:
            with pytest.raises(aiohttp.ClientConnectorError):
                await get(server.health_port, "/healthz", host=host)
