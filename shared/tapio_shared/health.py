"""Health and metrics over HTTP, the same in every service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from tapio_shared.errors import InvalidSettings
from tapio_shared.listening import listening_socket

Check = Callable[[], bool]
_SHUTDOWN_TIMEOUT = 1.0
"""Seconds that a scrape under way may still take when the process ends."""


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
        health.router.add_get("/healthz", self._answer("alive", self._alive))
        health.router.add_get("/livez", self._answer("alive", self._alive))
        health.router.add_get("/readyz", self._answer("ready", self._ready))
        metrics = web.Application()
        metrics.router.add_get("/metrics", self._metrics)
        try:
            self.health_port = await self._serve(health, self.health_port)
            self.metrics_port = await self._serve(metrics, self.metrics_port)
        except InvalidSettings:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def _end(self) -> None:
        while self._runners:
            await self._runners.pop().cleanup()

    async def _serve(self, application: web.Application, port: int) -> int:
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT)
        await runner.setup()
        self._runners.append(runner)
        try:
            await web.SockSite(runner, listening_socket(self._address, port)).start()
        except OSError as err:
            raise InvalidSettings(
                f"Port {port} of {self._address} can't be served: {err.strerror or err}. Choose another port, or 0 for "
                "any free one."
            ) from err
        bound: int = runner.addresses[0][1]
        return bound

    def _answer(self, what: str, checks: Mapping[str, Check]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(_: web.Request) -> web.Response:
            failing = [name for name, holds in checks.items() if not holds()]
            if failing:
                return web.Response(status=503, text=f"not {what}: {', '.join(failing)}\n")
            return web.Response(text="ok\n")

        return answer

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})
