"""`tapioctl reader`: a user of the operator's NATS who may read the history of one namespace, and nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tapio_cli.history.exporting import or_exit
from tapio_shared.api.names import is_dns_label
from tapio_shared.errors import InvalidSettings
from tapio_shared.installation import OWN_TARGET
from tapio_shared.json import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReader:
    """A user that is to be: his entry for the server's configuration, and how to write the file for him."""

    name: str
    entry: JsonObject
    write_login: Callable[[Path], None]


def add_reader_command(app: typer.Typer, make: Callable[[str, str, bool], NewReader]) -> None:
    """Add the command to `app`. `make` makes up a user of a target's namespace, with the names of users or without."""

    @app.command(name="reader")
    def reader_command(
        namespace: Annotated[
            str, typer.Argument(metavar="NAMESPACE", help="Namespace whose TapioClusters' history may be read.")
        ],
        file: Annotated[Path, typer.Option("--credentials", help="File to write, with which the reader connects.")],
        target: Annotated[
            str, typer.Option(help="Name of the Kubernetes cluster, if the operator serves several.")
        ] = OWN_TARGET,
        with_users: Annotated[
            bool, typer.Option("--with-users/--without-users", help="Whether the reader may see who asked for what.")
        ] = False,
    ) -> None:
        """Create credentials for a NATS user who may read the history of one namespace only.

        Writes the file that the reader connects with (--nats-credentials), and prints the reader's entry for
        `accounts.TAPIO.users` in the configuration of the operator's nats-server, which enforces it. No server is
        changed. docs/reading-rights.md says what a reader can see and what not.

        Exit codes: 0 created; 1 the file exists already, or can't be written.

        \b
        Examples:
          tapioctl reader team --credentials team-reader.json >> readers.json
          tapioctl reader team --credentials team-lead.json --with-users
          tapioctl explain team/production --nats-url nats://localhost:4222 --nats-credentials team-reader.json
        """

        def work() -> NewReader:
            if not is_dns_label(namespace):
                raise InvalidSettings(
                    f"{namespace!r} is no namespace; it must be a lower-case DNS label, such as default."
                )
            if not is_dns_label(target):
                raise InvalidSettings(
                    f"--target is {target!r}; it must be a lower-case DNS label, such as {OWN_TARGET}."
                )
            if file.exists():
                raise InvalidSettings(f"{file} exists already. Name another file, or remove it.")
            made = make(target, namespace, with_users)
            made.write_login(file)
            return made

        made = or_exit(work)
        print(json.dumps(made.entry, indent=2))
        print(f"{file} is for {made.name}; hand it on, and reload the servers with the entry above.", file=sys.stderr)
