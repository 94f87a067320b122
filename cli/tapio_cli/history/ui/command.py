"""`tapioctl ui`: the page as the command line starts it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

import typer

from tapio_cli.history.exporting import Connect, opened, or_exit
from tapio_cli.history.options import Where, with_history
from tapio_cli.history.where import live
from tapio_shared.errors import LogRefused

_PORT = 8745
_TOKEN = 32


def add_ui_command(app: typer.Typer, connect: Connect, *, token: Callable[[int], str]) -> None:
    """Add the command to `app`. `token` makes a secret of so many characters."""

    @app.command(name="ui")
    @with_history
    def ui_command(
        where: Where,
        cluster: Annotated[
            str, typer.Argument(metavar="CLUSTER", help="namespace/name; if none is given, the page asks.")
        ] = "",
        host: Annotated[str, typer.Option(help="Loopback address to listen on: 127.0.0.1, ::1 or localhost.")] = (
            "127.0.0.1"
        ),
        port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.", min=0, max=65535)] = _PORT,
        browser: Annotated[bool, typer.Option("--open", help="Open the page in your browser.")] = False,
    ) -> None:
        """Show a history as a web page on this machine: a lane per component, every instant, every cause.

        The page answers what history, at, explain and diff answer, and follows a live log as it grows. It listens on
        this machine only, and its address holds a token. Press ? for the keys it knows, and Ctrl-C here to stop it.

        Exit codes: 0 stopped by Ctrl-C or SIGTERM; 1 the history can't be read, or the address can't be served.

        \b
        Examples:
          tapioctl ui
          tapioctl ui team/production --from today.tapio --open
          tapioctl ui --port 0 --nats-url nats://localhost:4222 --nats-credentials reader.json
        """
        or_exit(lambda: asyncio.run(_served(connect, where, cluster, host, port, token(_TOKEN), browser)))


async def _served(
    connect: Connect, where: Where, cluster: str, host: str, port: int, token: str, browser: bool
) -> None:
    """Serve until a signal says to end."""
    from tapio_cli.history.ui.guarding import loopback
    from tapio_cli.history.ui.library import Library
    from tapio_cli.history.ui.serving import Page

    loopback(host)
    only = where.key(cluster) if cluster else None
    ending, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ending.set)
    async with opened(connect, where) as sources:
        title = where.archive.name if where.archive is not None else live(where).url
        library = Library(sources, where.target, live=where.archive is None)
        if only is not None:
            await library.chapter(only)
        else:
            with suppress(LogRefused):  # Who may read one namespace alone can still name a TapioCluster of it.
                await library.keys()  # So that what can't be read is told here, and not by every page.
        page = Page(library, target=where.target, title=title, only=only, token=token, host=host, port=port)
        async with page:
            print(f"The page is at {page.url} (Ctrl-C ends it).", flush=True)
            if browser:
                typer.launch(page.url)
            await ending.wait()
