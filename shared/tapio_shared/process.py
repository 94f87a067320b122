"""What every service's `__main__` does alike: read settings, set up telemetry, run until a signal, end cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TypeVar

import structlog
import uvloop

from tapio_shared.collecting import spare_the_collector
from tapio_shared.errors import TapioError
from tapio_shared.health import HealthServer
from tapio_shared.settings import Settings, read_settings
from tapio_shared.telemetry import setup_logging, setup_tracing

log = structlog.get_logger(__name__)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""As malloc.h has them."""
_LARGE = 256 * 1024
"""Bytes from which on a block is mapped by itself."""
T = TypeVar("T")
Service = Callable[[Settings, asyncio.Event], Awaitable[None]]


def run_service(name: str, service: Service) -> int:
    """Run `service(settings, stopping)` on uvloop; the event is set on SIGTERM and SIGINT. Answers the exit code.

    1: something is wrong that a restart may mend; 2: the settings are wrong.
    """
    try:
        settings = read_settings(os.environ)
        setup_logging(settings.log_level)
        provider = setup_tracing(f"tapio-{name}", os.environ)
    except TapioError as err:
        print(f"tapio-{name}: {err}", file=sys.stderr)  # noqa: T201 - logging is not set up yet
        return 2
    spare_the_collector()
    _give_memory_back()
    try:
        return uvloop.run(_supervised(name, service, settings))
    finally:
        if provider is not None:
            provider.shutdown()


def process_name(settings: Settings) -> str:
    """The name of this process among its peers: as set, or the host's (a pod's name)."""
    return settings.name or socket.gethostname()


def tell_ports(settings: Settings, health: HealthServer, **more: int) -> None:
    """Write the ports in use to `ports_file`, when one is asked for; whole or not at all."""
    if not settings.ports_file:
        return
    path = Path(settings.ports_file)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"health": health.health_port, "metrics": health.metrics_port, **more}))
    temporary.replace(path)


def _give_memory_back() -> None:
    """Have the C library map large blocks one by one, so that they go back to the system as soon as they are freed.

    By default the first large answer that is freed moves that limit, up to 32 MB, and what is smaller then leaves
    holes. Arenas are per thread; here all but one would hold what a name look-up left. `mallopt(3)`; musl has none.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in ((_M_MMAP_THRESHOLD, _LARGE), (_M_TRIM_THRESHOLD, _LARGE), (_M_ARENA_MAX, 1)):
            mallopt(name, value)


async def _supervised(name: str, service: Service, settings: Settings) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    log.info("service started", service=name)
    try:
        await service(settings, stopping)
    except TapioError as err:
        log.error("service failed", service=name, error=str(err))  # noqa: TRY400 - whole sentences, no stack
        return 1
    except BaseExceptionGroup as group:
        log.exception("service failed", service=name, error=str(group.exceptions[0]))
        return 1
    log.info("service ended", service=name)
    return 0


async def until(stopping: asyncio.Event, *work: Awaitable[None]) -> None:
    """Run `work` together until one of it ends or `stopping` is set; an error of it is raised."""
    running = [asyncio.ensure_future(one) for one in work]
    waiting = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({*running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for task in running:
            if task.done():
                task.result()
    finally:
        waiting.cancel()
        for task in running:
            task.cancel()
        for task in running:
            with contextlib.suppress(asyncio.CancelledError):
                if not task.done():
                    await task


async def unless(stopping: asyncio.Event, work: Coroutine[None, None, T]) -> T | None:
    """What `work` answers; None when `stopping` is set before it does, which then ends unfinished."""
    working = asyncio.create_task(work)
    waiting = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, waiting):
            task.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)
