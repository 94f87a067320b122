"""What commands on the history have alike: reaching a log, copying it, and telling an error in its sentence."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tapio_cli.history.codes import PARTIAL, UNUSABLE
from tapio_cli.history.options import Where
from tapio_cli.history.source import Sources
from tapio_cli.history.where import Live, live
from tapio_shared.errors import TapioError

if TYPE_CHECKING:
    from tapio_cli.history.export import Exported

T = TypeVar("T")
Connect = Callable[[Live], AbstractAsyncContextManager[Sources]]


@asynccontextmanager
async def opened(connect: Connect, where: Where) -> AsyncGenerator[Sources]:
    """The history that the options name."""
    if where.archive is not None:
        from tapio_cli.history.archive import Archive

        archive = Archive.open(where.archive)
        yield Sources(archive, archive.admitted)
        return
    async with connect(live(where)) as sources:
        yield sources


async def exported(
    connect: Connect,
    live: Live,
    file: Path,
    *,
    version: str,
    now: int,
    with_users: bool = True,
    progress: Callable[[float], None] | None = None,
) -> Exported:
    """Copy a live log to `file`."""
    from tapio_cli.history.export import export

    async with connect(live) as sources:
        return await export(sources, file, now=now, operator_version=version, with_users=with_users, progress=progress)


def or_exit(work: Callable[[], T]) -> T:
    """What `work` answers; an error of ours, or of a file, is told in its sentence, and ends the command."""
    try:
        return work()
    except TapioError as err:
        print(f"tapioctl: {err}", file=sys.stderr)
    except OSError as err:
        why = err.strerror or str(err)
        named = "" if err.filename is None else f"{str(err.filename).removesuffix(PARTIAL)} can't be read or written: "
        print(f"tapioctl: {named}{why}. See that the folder is there, is yours and has room.", file=sys.stderr)
    sys.exit(UNUSABLE)


@contextmanager
def progress_bar(doing: str) -> Generator[Callable[[float], None]]:
    """A progress bar for somebody who watches; answers how to tell it how much is done, from 0 to 1."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as shown:
        task = shown.add_task(doing, total=1.0)

        def told(done: float) -> None:
            shown.update(task, completed=done)

        yield told
