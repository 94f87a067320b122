"""The commands on the history, as the command line has them; `__main__` hands in how to reach a live log."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from tapio_cli.history.export import export
from tapio_cli.history.printing import Format, print_document, print_summary
from tapio_cli.history.replay import UNUSABLE, replay
from tapio_cli.history.where import Live, live
from tapio_shared.codec import to_document
from tapio_shared.errors import InvalidSettings, TapioError
from tapio_shared.keys import OrderingKey
from tapio_shared.ports import EventLog

Connect = Callable[[Live], AbstractAsyncContextManager[EventLog]]


T = TypeVar("T")
_WHERE = "Which history"
"""A group of options in `--help`."""

Archive = Annotated[
    Path | None,
    typer.Option("--from", help="Archive that `tapioctl export` has made.", rich_help_panel=_WHERE),
]
Url = Annotated[
    str,
    typer.Option(
        "--nats-url",
        envvar="TAPIO_NATS_URL",
        help="The operator's NATS, such as nats://localhost:4222 through a port-forward.",
        rich_help_panel=_WHERE,
    ),
]
Credentials = Annotated[
    str,
    typer.Option(
        "--nats-credentials",
        envvar="TAPIO_NATS_CREDENTIALS",
        help="File with which to connect, as a service has it.",
        rich_help_panel=_WHERE,
    ),
]
Ca = Annotated[
    str,
    typer.Option("--nats-ca", envvar="TAPIO_NATS_CA", help="CA of the NATS servers.", rich_help_panel=_WHERE),
]
Directory = Annotated[
    Path,
    typer.Option(help="Folder of a run on this machine, used when nothing else is named.", rich_help_panel=_WHERE),
]
Output = Annotated[Format, typer.Option("--output", "-o", help="For people, or for programs.")]
Target = Annotated[str, typer.Option(help="Name of the Kubernetes cluster, where the operator serves several.")]


def add_history_commands(app: typer.Typer, connect: Connect, *, version: str, now: Callable[[], int]) -> None:
    """Add every command of this module to `app`."""

    @app.command(name="export")
    def export_command(
        file: Annotated[Path, typer.Argument(help="File to write.")],
        url: Url = "",
        credentials: Credentials = "",
        ca: Ca = "",
        directory: Directory = Path(".run"),
    ) -> None:
        """Write the whole history to one file: compressed, versioned, checksummed.

        Every command on the history reads such a file with --from. It holds no Secret: none is in the log.

        \b
        Exit codes: 0 written; 1 the history can't be read.

        \b
        Examples:
          tapioctl export today.tapio
          kubectl port-forward -n tapio-system service/tapio-nats 4222 &
          tapioctl export today.tapio --nats-url nats://localhost:4222 --nats-credentials reader.json
        """
        source = _or_exit(lambda: live(url=url, credentials=credentials, ca=ca, directory=directory))
        messages = _or_exit(lambda: asyncio.run(_exported(connect, source, file, version, now)))
        print(f"{messages} messages are in {file} ({file.stat().st_size} bytes).")

    @app.command(name="replay")
    def replay_command(
        clusters: Annotated[
            list[str] | None, typer.Argument(help="namespace/name of a TapioCluster; several; none means all.")
        ] = None,
        archive: Archive = None,
        url: Url = "",
        credentials: Credentials = "",
        ca: Ca = "",
        directory: Directory = Path(".run"),
        target: Target = "local",
        jobs: Annotated[int, typer.Option(help="Processes; 0 means one per core.")] = 0,
        output: Output = Format.PEOPLE,
    ) -> None:
        """Plan every recorded decision again, from the recorded facts, with this version of the operator.

        Nothing is written anywhere but to the terminal. With the version that recorded them all decisions come out
        identical; with the next version this shows what it would have decided differently: an upgrade preview.

        \b
        Exit codes: 0 all identical; 1 the history can't be read, or holds nothing that can be checked;
        2 at least one decision came out differently.

        \b
        Examples:
          tapioctl replay
          tapioctl replay team/production --from today.tapio
          tapioctl replay --from today.tapio -o json
        """
        keys = _or_exit(lambda: [_key(text, target) for text in clusters or ()])
        with (
            tempfile.TemporaryDirectory() as folder,
            Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as shown,
        ):
            if archive is None:
                source = _or_exit(lambda: live(url=url, credentials=credentials, ca=ca, directory=directory))
                path, reading = Path(folder) / "live.tapio", shown.add_task("reading the history", total=1.0)
                told = partial(_told, shown, reading)
                _or_exit(lambda: asyncio.run(_exported(connect, source, path, version, now, told)))
            else:
                path = archive
            told = partial(_told, shown, shown.add_task("planning again", total=1.0))
            summary = _or_exit(lambda: replay(path, keys, jobs=jobs, progress=told))
        if output is Format.PEOPLE:
            print_summary(summary, Console(highlight=False, soft_wrap=True))
        else:
            print_document(to_document(summary), output)
        sys.exit(summary.code)


async def _exported(
    connect: Connect,
    live: Live,
    file: Path,
    version: str,
    now: Callable[[], int],
    progress: Callable[[float], None] | None = None,
) -> int:
    async with connect(live) as log:
        return await export(log, file, now=now(), operator_version=version, progress=progress)


def _told(shown: Progress, task: TaskID, done: float) -> None:
    shown.update(task, completed=done)


def _key(text: str, target: str) -> OrderingKey:
    namespace, _, name = text.partition("/")
    if not namespace or not name or "/" in name:
        raise InvalidSettings(f"{text!r} names no TapioCluster; write namespace/name, such as team/production.")
    return OrderingKey(target, namespace, name)


def _or_exit(work: Callable[[], T]) -> T:
    """What `work` answers; an error of ours is told in its sentence, and ends the command."""
    try:
        return work()
    except TapioError as err:
        print(f"tapioctl: {err}", file=sys.stderr)
        sys.exit(UNUSABLE)
