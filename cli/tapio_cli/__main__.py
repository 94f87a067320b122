"""`tapioctl`: the composition root of the command line."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tapio_cli.run import Options, run
from tapio_shared.adapters.nats_private import PrivateNatsServer
from tapio_shared.adapters.random import SystemRandom
from tapio_shared.errors import TapioError
from tapio_shared.telemetry import setup_logging

app = typer.Typer(add_completion=True, no_args_is_help=True, help="The Tapio Operator's command line.")


@app.callback()
def root() -> None:
    """The Tapio Operator's command line."""


@app.command(name="run")
def run_command(
    example: Annotated[Path | None, typer.Option(help="Apply this file and show it becoming Ready.")] = None,
    context: Annotated[
        str, typer.Option(help="Use this context of your kubeconfig instead of the simulated Kubernetes.")
    ] = "",
    kubeconfig: Annotated[Path | None, typer.Option(help="The kubeconfig that holds the context.")] = None,
    directory: Annotated[Path, typer.Option(help="Folder for kubeconfig, logs and the event log.")] = Path(".run"),
    manifests: Annotated[Path, typer.Option(help="The folder deploy/ of the project.")] = Path("deploy"),
    once: Annotated[bool, typer.Option(help="End as soon as the example is Ready.")] = False,
) -> None:
    """Run the whole operator on this machine until Ctrl-C.

    Without --context nothing but a simulated Kubernetes is touched, whatever kubeconfig lies around.
    """
    options = Options(
        directory=directory,
        manifests=manifests,
        example=example,
        context=context,
        kubeconfig=kubeconfig,
        once=once,
    )
    setup_logging("warning")
    console = Console(highlight=False)
    try:
        code = asyncio.run(_interruptible(options, console))
    except TapioError as err:
        console.print(f"tapioctl: {err}", style="red", markup=False)
        code = 1
    sys.exit(code)


async def _interruptible(options: Options, console: Console) -> int:
    """Run until Ctrl-C or SIGTERM, which end everything in order and are no failure."""
    running = asyncio.ensure_future(run(options, _nats, console))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.cancel)
    try:
        return await running
    except asyncio.CancelledError:
        return 0


def _nats(directory: Path, partitions: int) -> PrivateNatsServer:
    return PrivateNatsServer(directory, SystemRandom(), partitions=partitions)


def main() -> None:
    """Entry point of the command `tapioctl`."""
    app()


if __name__ == "__main__":
    main()
