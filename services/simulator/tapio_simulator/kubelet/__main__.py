"""`python -m tapio_simulator.kubelet`: simulated nodes for an API server that has none, until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.kube_http import HttpKube
from tapio_shared.adapters.random import SeededRandom, SystemRandom
from tapio_simulator.kubelet.running import run_kubelet
from tapio_simulator.kubelet.settings import KubeletSettings, fleet

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def run(
    kubeconfig: Annotated[Path, typer.Option(help="How to reach the API server, as an administrator.")],
    nodes: Annotated[int, typer.Option(min=1, help="How many nodes to make.")] = 3,
    bind_claims: Annotated[
        bool, typer.Option(help="Bind claims too: for API servers without a controller manager.")
    ] = False,
    pod_security: Annotated[
        bool, typer.Option(help="Hold back pods against their namespace's Pod Security level: for servers before 1.23.")
    ] = False,
    shutdown: Annotated[
        float | None, typer.Option(min=0, help="Seconds that every pod takes to end; hardly any when absent.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of start times; random when absent.")] = None,
) -> None:
    """Register nodes, schedule pods, report them running, provision volumes."""
    settings = KubeletSettings(nodes=fleet(nodes), binds_claims=bind_claims, checks_pod_security=pod_security)
    if shutdown is not None:
        settings = replace(settings, shutdown=(shutdown, shutdown))
    uvloop.run(_run(kubeconfig, settings, seed))


async def _run(kubeconfig: Path, settings: KubeletSettings, seed: int | None) -> None:
    random = SystemRandom() if seed is None else SeededRandom(seed)
    loop = asyncio.get_running_loop()
    async with await HttpKube.connect(kubeconfig=str(kubeconfig)) as kube:
        running = asyncio.create_task(run_kubelet(kube, SystemClock(), random, settings), name="kubelet")
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, running.cancel)
        with suppress(asyncio.CancelledError):
            await running


if __name__ == "__main__":
    app()
