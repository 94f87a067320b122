"""`tapio-simulator`: a simulated Kubernetes cluster on a local TLS port, until Ctrl-C."""

from __future__ import annotations

import asyncio
import gc
import signal
from pathlib import Path
from typing import Annotated, Literal

import typer
import uvloop

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.random import SeededRandom, SystemRandom
from tapio_shared.ports import Clock, Kube, Random
from tapio_simulator.api import Options
from tapio_simulator.cluster import SimulatedCluster
from tapio_simulator.controllers import ControllerSettings, run_controllers
from tapio_simulator.faults import Fault
from tapio_simulator.kubelet import KubeletSettings, fleet
from tapio_simulator.webhooks import HttpWebhooks

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def run(
    data: Annotated[Path, typer.Option(help="Folder for certificates and the kubeconfig.")] = Path(".run"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TLS port; 0 takes a free one.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Seed of UIDs and choices; random when absent.")] = None,
    rbac: Annotated[bool, typer.Option(help="Enforce RBAC for users outside system:masters.")] = True,
    nodes: Annotated[int, typer.Option(min=1, help="How many nodes there are, spread over three zones.")] = 3,
    events: Annotated[bool, typer.Option(help="Write Events of type Normal too; several writes per pod.")] = False,
    controllers: Annotated[
        bool, typer.Option(help="Run controllers and kubelets; without them what is applied is stored, and no more.")
    ] = True,
    latency: Annotated[float, typer.Option(min=0, help="Seconds that every answer takes longer.")] = 0.0,
    webhook: Annotated[
        list[str] | None,
        typer.Option(help="Where a webhook Service listens: namespace/name=host:port. May be repeated."),
    ] = None,
) -> None:
    """Serve a simulated cluster; prints the path of its kubeconfig when it is ready."""
    services = dict(_service(text) for text in webhook or [])
    settings = ControllerSettings(kubelet=KubeletSettings(nodes=fleet(nodes), normal_events=events))
    uvloop.run(_run(data, host, port, seed, services, settings if controllers else None, rbac=rbac, latency=latency))


def _service(text: str) -> tuple[str, tuple[str, int]]:
    name, _, address = text.partition("=")
    host, _, port = address.rpartition(":")
    if "/" not in name or not host or not port.isdigit():
        raise typer.BadParameter(f"{text!r} is not of the form namespace/name=host:port.")
    return name, (host, int(port))


async def _run(
    data: Path,
    host: str,
    port: int,
    seed: int | None,
    services: dict[str, tuple[str, int]],
    settings: ControllerSettings | None,
    *,
    rbac: bool,
    latency: float,
) -> None:
    clock, random = SystemClock(), SystemRandom() if seed is None else SeededRandom(seed)
    webhooks = HttpWebhooks(services)
    cluster = SimulatedCluster(clock, random, webhooks=webhooks, options=Options(enforce_rbac=rbac))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await cluster.prepare()
    if latency:
        cluster.faults.add(Fault("delay", seconds=(latency, latency)))
    # Stored documents are many small dicts that never form cycles: the default thresholds walk them all the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        async with cluster.serve(data, host=host, port=port) as endpoint:
            stopping = asyncio.create_task(stop.wait(), name="stop")
            running = [stopping]
            if settings is not None:
                kube = cluster.kube(user_agent="tapio-simulator")
                running.append(asyncio.create_task(_controllers(kube, clock, random, settings), name="controllers"))
            typer.echo(f"ready {endpoint.kubeconfig}")
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                task.cancel()
            for result in await asyncio.gather(*running, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result
    finally:
        await webhooks.close()


async def _controllers(kube: Kube, clock: Clock, random: Random, settings: ControllerSettings) -> Literal[True]:
    """Controllers and kubelets, until cancelled."""
    await run_controllers(kube, clock, random, settings)
    return True


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
