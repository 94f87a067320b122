"""Health and metrics over HTTP, the same in every service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], bool]


class HealthServer:
    """`/healthz` and `/readyz` on one port, `/metrics` on another; port 0 takes any free one.

    `ready` names what must hold for readiness; `alive` what must hold for liveness. An answer of 503 lists what fails.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        ready: Mapping[str, Check],
        alive: Mapping[str, Check] | None = None,
        address: str = "0.0.0.0",  # noqa: S104 - probes and scrapes come from outside the pod
        health_port: int = 8081,
        metrics_port: int = 8080,
    ) -> None:
        self._registry, self._ready, self._alive = registry, dict(ready), dict(alive or {})
        self._address, self.health_port, self.metrics_port = address, health_port, metrics_port
        self._runners: list[web.AppRunner] = []

    async def __aenter__(self) -> HealthServer:
        health = web.Application()
        health.router.add_get("/healthz", self._answer(self._alive))
        health.router.add_get("/livez", self._answer(self._alive))
        health.router.add_get("/readyz", self._answer(self._ready))
        metrics = web.Application()
        metrics.router.add_get("/metrics", self._metrics)
        self.health_port = await self._serve(health, self.health_port)
        self.metrics_port = await self._serve(metrics, self.metrics_port)
        return self

    async def __aexit__(self, *_: object) -> None:
        for runner in self._runners:
            await runner.cleanup()

    async def _serve(self, application: web.Application, port: int) -> int:
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, self._address, port).start()
        bound: int = runner.addresses[0][1]
        return bound

    def _answer(self, checks: Mapping[str, Check]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(_: web.Request) -> web.Response:
            failing = [name for name, holds in checks.items() if not holds()]
            if failing:
                return web.Response(status=503, text=f"not ready: {', '.join(failing)}\n")
            return web.Response(text="ok\n")

        return answer

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
