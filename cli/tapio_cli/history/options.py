"""Options that every command on the history has alike, declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Set
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, cast

import typer

from tapio_cli.history.printing import Format
from tapio_shared.errors import InvalidSettings
from tapio_shared.installation import NAMESPACE, NATS_SERVICE, OWN_TARGET
from tapio_shared.keys import OrderingKey

_PANEL = "Which history"

Output = Annotated[Format, typer.Option("--output", "-o", help="Output for people, or for programs.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which history a command is about, as its options name it."""

    archive: Annotated[
        Path | None,
        typer.Option("--from", help="Archive made by `tapioctl export`.", rich_help_panel=_PANEL),
    ] = None
    url: Annotated[
        str,
        typer.Option(
            "--nats-url",
            envvar="TAPIO_NATS_URL",
            help="The operator's NATS, such as nats://localhost:4222 through a port-forward.",
            rich_help_panel=_PANEL,
        ),
    ] = ""
    credentials: Annotated[
        str,
        typer.Option(
            "--nats-credentials",
            envvar="TAPIO_NATS_CREDENTIALS",
            help="Credentials file to connect with, in the form that services use.",
            rich_help_panel=_PANEL,
        ),
    ] = ""
    ca: Annotated[
        str,
        typer.Option(
            "--nats-ca", envvar="TAPIO_NATS_CA", help="CA certificate of the NATS servers.", rich_help_panel=_PANEL
        ),
    ] = ""
    through: Annotated[
        str,
        typer.Option(
            "--through",
            metavar="CONTEXT",
            help="Context of your kubeconfig in which the operator runs; its NATS is reached by a port-forward.",
            rich_help_panel=_PANEL,
        ),
    ] = ""
    service: Annotated[
        str,
        typer.Option(
            "--nats-service",
            metavar="NAMESPACE/NAME",
            help="Service of the operator's NATS, for --through.",
            rich_help_panel=_PANEL,
        ),
    ] = f"{NAMESPACE}/{NATS_SERVICE}"
    directory: Annotated[
        Path,
        typer.Option(
            "--directory",
            help="Folder of a run on this machine, used when nothing else is named.",
            rich_help_panel=_PANEL,
        ),
    ] = Path(".run")
    target: Annotated[
        str,
        typer.Option(
            "--target",
            help="Name of the Kubernetes cluster, if the operator serves several.",
            rich_help_panel=_PANEL,
        ),
    ] = OWN_TARGET

    def key(self, text: str) -> OrderingKey:
        """The TapioCluster that `text` names. InvalidSettings when it names none."""
        namespace, _, name = text.partition("/")
        if not namespace or not name or "/" in name:
            raise InvalidSettings(f"{text!r} names no TapioCluster; write namespace/name, such as team/production.")
        return OrderingKey(self.target, namespace, name)

    def keys_in(self, text: str) -> str | None:
        """The namespace whose TapioClusters `text` (`namespace/`, or nothing for all) means; None when it names one."""
        if not text:
            return ""
        return text[:-1] if text.endswith("/") and text.count("/") == 1 and len(text) > 1 else None


def with_history(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with the options of Where instead of its parameter `where`: Typer reads options off a signature."""
    return _with_options(command, frozenset())


def with_history_but(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same `without` the options for some fields: one that a command can't heed would be a lie."""
    return lambda command: _with_options(command, frozenset(without))


def _with_options(command: Callable[..., None], without: Set[str]) -> Callable[..., None]:
    own = inspect.signature(command, eval_str=True)
    shared = inspect.signature(Where, eval_str=True)
    kinds = inspect.Parameter.KEYWORD_ONLY
    parameters = [one for one in own.parameters.values() if one.name != "where"]
    options_of = [one for one in shared.parameters.values() if one.name not in without]
    parameters += [one.replace(kind=kinds) for one in options_of]

    @wraps(command)
    def wrapped(*arguments: object, **options: object) -> None:
        given = {one.name: options.pop(one.name) for one in options_of}
        make = cast("Callable[..., Where]", Where)
        command(*arguments, where=make(**given), **options)

    wrapped.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapped
