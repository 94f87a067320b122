"""The commands that keep, move and clear a history: `export`, `import`, `erase`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapio_cli.history.exporting import Connect, exported, or_exit
from tapio_cli.history.options import Output, Where, with_history_but
from tapio_cli.history.printing import Format, moment, print_document
from tapio_cli.history.source import Streams
from tapio_cli.history.where import Live, live, live_to_change
from tapio_shared.codec import to_document
from tapio_shared.errors import InvalidSettings

if TYPE_CHECKING:
    from tapio_cli.history.erasing import Erasure
    from tapio_cli.history.restoring import Restored

Change = Callable[[Live], AbstractAsyncContextManager[Streams]]
"""How to reach the streams of a NATS, to make them anew."""
WithUsers = Annotated[bool, typer.Option("--with-users/--without-users", help="Whether to include who asked for what.")]


def add_keeping_commands(
    app: typer.Typer, connect: Connect, change: Change, *, version: Callable[[], str], now: Callable[[], int]
) -> None:
    """Add every command of this module to `app`."""

    @app.command(name="export")
    @with_history_but("archive", "target")
    def export_command(
        where: Where,
        file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write.")],
        with_users: WithUsers = True,
    ) -> None:
        """Write the whole history to one file: compressed, versioned, checksummed.

        Every command that reads a history takes such a file with --from, and `tapioctl import` turns it back into
        streams. It holds no Secrets, because the log has none. It does hold names of users, unless --without-users
        leaves out everything that the webhook answered.

        Exit codes: 0 written; 1 the history can't be read.

        \b
        Examples:
          tapioctl export today.tapio
          tapioctl export for-the-vendor.tapio --without-users
          kubectl port-forward -n tapio-system service/tapio-operator-nats 4222 &
          tapioctl export today.tapio --nats-url nats://localhost:4222 --nats-credentials reader.json
        """
        source = or_exit(lambda: live(where))
        done = or_exit(
            lambda: asyncio.run(exported(connect, source, file, version=version(), now=now(), with_users=with_users))
        )
        answers = "no answers of the webhook" if done.admissions is None else f"{done.admissions} of the webhook"
        print(f"{done.messages} messages of the log and {answers} are in {file} ({file.stat().st_size} bytes).")

    @app.command(name="import")
    @with_history_but("archive", "target")
    def import_command(
        where: Where,
        file: Annotated[Path, typer.Argument(metavar="FILE", help="Archive made by `tapioctl export`.")],
        with_users: WithUsers = True,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Delete existing streams with everything in them.")
        ] = False,
    ) -> None:
        """Restore an archive to the streams it came from, with their sequences and timestamps.

        For a NATS that no operator uses, such as one on a laptop, to examine production's history with any tool. It
        needs nats-server 2.15 and a user that may create streams. Nothing that is restored expires. The whole archive
        is checked before anything is touched.

        Exit codes: 0 restored; 1 the archive is damaged, a stream is in the way, or NATS refuses.

        \b
        Examples:
          nats-server -js &
          tapioctl import today.tapio --nats-url nats://localhost:4222
          tapioctl history team/production --nats-url nats://localhost:4222
        """

        async def work() -> Restored:
            from tapio_cli.history.restoring import restore

            if overwrite and not where.url and not where.through:
                raise InvalidSettings(
                    f"--overwrite would delete the log of the run in {where.directory}, which its operator lives on. "
                    "Name the NATS whose streams may go (--nats-url)."
                )
            async with change(live_to_change(where)) as streams:
                return await restore(file, streams, with_users=with_users, overwrite=overwrite)

        done = or_exit(lambda: asyncio.run(work()))
        for stream, count in done.messages.items():
            print(f"{stream}: {count} messages restored, with their sequences and time stamps.")

    @app.command(name="erase")
    @with_history_but("target")
    def erase_command(
        where: Where,
        user: Annotated[str, typer.Argument(metavar="USER", help="The user's name, as `tapioctl history` shows it.")],
        yes: Annotated[
            bool, typer.Option("--yes", help="Erase; without this, only show what would be erased.")
        ] = False,
        output: Output = Format.PEOPLE,
    ) -> None:
        """Show where a user's name is in the history, and erase it with --yes. The requests stay, by "(erased)".

        Only the stream TAPIO_ADMITTED holds names of users. It is rebuilt without the name, which needs nats-server
        2.15 and takes some seconds in which the webhook's answers are not recorded. Archives that were exported before
        still hold the name.

        Exit codes: 0 erased, or shown; 1 the name can't be erased; 2 the name is nowhere.

        \b
        Examples:
          tapioctl erase alice@example.org
          tapioctl erase alice@example.org --yes
        """
        from tapio_cli.history.codes import DIVERGED

        found = or_exit(lambda: asyncio.run(_erased(connect, change, where, user, yes=yes)))
        if output is Format.PEOPLE:
            for one in found:
                print(f"{moment(one.answered_at)}  @{one.sequence}  {one.operation} of {one.about}")
            done = "was erased from" if yes else "would be erased from"
            hint = "" if yes else " Nothing was changed; give --yes to do it."
            nowhere = f"{user} is in no answer of the webhook that is recorded."
            print(f"{user} {done} {len(found)} answers of the webhook.{hint}" if found else nowhere)
        else:
            print_document({"erased": yes, "answers": to_document(found)}, output)
        sys.exit(0 if found else DIVERGED)


async def _erased(connect: Connect, change: Change, where: Where, user: str, *, yes: bool) -> list[Erasure]:
    from tapio_cli.history.erasing import erase, erasures

    if where.archive is not None:
        raise InvalidSettings(
            "Names are erased from a live history, and an archive is not changed. Erase there, then export again."
        )
    async with connect(live(where)) as sources:
        assert sources.admitted is not None, "a live log has both streams"
        found = await erasures(sources.admitted, user)
        if yes and found:
            async with change(live_to_change(where)) as streams:
                await erase(sources.admitted, streams, user)
        return found
