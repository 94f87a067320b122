"""`tapioctl`: the composition root of the command line.

What only some commands need is imported when they are asked for, so that a question is answered within a second.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tapio_cli.doctor.command import add_doctor_command
from tapio_cli.faults import told_fault
from tapio_cli.help_text import flow_help
from tapio_cli.history.codes import FAULTY, MISUSED
from tapio_cli.history.commands import add_history_commands
from tapio_cli.history.exporting import or_exit
from tapio_cli.history.keeping import add_keeping_commands
from tapio_cli.history.readers import NewReader, add_reader_command
from tapio_cli.history.source import Sources
from tapio_cli.history.ui.command import add_ui_command
from tapio_cli.history.where import KEEPER, Live
from tapio_cli.interrupting import until_interrupted
from tapio_shared.absence import absent
from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.random import SystemRandom
from tapio_shared.api.served import NEWEST, further_groups
from tapio_shared.errors import LogUnavailable, TapioError
from tapio_shared.keys import ADMITTED_STREAM

if TYPE_CHECKING:
    from tapio_shared.adapters.nats_connection import NatsConnection
    from tapio_shared.adapters.nats_private import PrivateNatsServer
    from tapio_shared.adapters.nats_restore import NatsStreams

_PATIENCE = 5.0
"""Seconds to wait for a NATS that a person has named."""
_SLICE = 4
"""Subjects whose last messages are asked for at once, so that nobody who writes to a live log waits for a question."""
_PASSWORD = 32
"""Characters of a new reader's password."""


@asynccontextmanager
async def _nats_of(source: Live, name: str) -> AsyncGenerator[NatsConnection]:
    """A connection to the NATS that holds a history."""
    with absent("rich.traceback"), absent("rich.pretty"):  # Structlog shows exceptions with them, and nobody here does.
        import structlog
    structlog.configure(  # What a program reads stands on standard output, and nothing else.
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    with absent(
        "aiohttp"
    ):  # With it nats-py speaks websockets, which nobody here does; it takes a quarter of a second.
        from tapio_shared.adapters.nats_connection import NatsConnection
    from tapio_shared.adapters.nats_credentials import read_login

    login = read_login(source.credentials) if source.credentials else None
    async with _address(source) as address:
        # Answers go to an inbox of the user's own: who reads one namespace must not hear what another asks for.
        try:
            connection = await NatsConnection.connect(
                [address],
                name=name if login is None else login.user,
                credentials=source.credentials,
                ca_file=source.ca,
                server_name="" if source.forward is None else source.forward.server_name,
                patience=_PATIENCE,
            )
        except LogUnavailable as err:
            raise LogUnavailable(f"{err} {source.hint}") from err
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def _address(source: Live) -> AsyncGenerator[str]:
    """Where that NATS can be reached while this lasts."""
    if source.forward is None:
        yield source.url
        return
    from tapio_cli.history.forwarding import forwarded

    async with forwarded(source.forward) as port:
        yield f"{source.url.partition('://')[0]}://127.0.0.1:{port}"


@asynccontextmanager
async def _connected(source: Live) -> AsyncGenerator[Sources]:
    """The logs of a NATS, for reading."""
    async with _nats_of(source, "tapioctl") as connection:
        from tapio_shared.adapters.nats_log import NatsEventLog
        from tapio_shared.adapters.nats_membership import NatsMembership

        yield Sources(
            NatsEventLog(connection, slice_size=_SLICE),
            NatsEventLog(connection, ADMITTED_STREAM),
            NatsMembership(connection).living,
        )


app = typer.Typer(add_completion=True, no_args_is_help=True, context_settings={"obj": _connected})
"""What completes reaches the history by the context's `obj`."""


def _version() -> str:
    import importlib.metadata

    return importlib.metadata.version("tapio-operator")


def _say_version(is_asked: bool) -> None:
    if is_asked:
        print(f"tapioctl {_version()}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Ask the Tapio Operator what it knows: what is wrong, why, since when, who asked for it, and what would happen.

    CLUSTER is the namespace/name of a TapioCluster. In a folder with a run (make run) no option is needed; elsewhere,
    name the operator's NATS (--through CONTEXT, or --nats-url) or an archive (--from FILE).

    Exit codes: 0 success; 1 the question can't be answered, or the work can't be done; 2 and 3 are answers, which each
    command's help explains; 64 an unknown option, argument or value; 70 a fault of tapioctl itself; 130 Ctrl-C.

    \b
    Examples:
      tapioctl status
      tapioctl explain team/production
      tapioctl doctor team/production --through my-cluster
      tapioctl history team/production --since -1h --from today.tapio
    """


@app.command(name="run")
def run_command(
    example: Annotated[Path | None, typer.Option(help="Apply this file and show it becoming Ready.")] = None,
    context: Annotated[
        str, typer.Option(help="Use this context of your kubeconfig instead of the simulated Kubernetes.")
    ] = "",
    kubeconfig: Annotated[Path | None, typer.Option(help="The kubeconfig that holds the context.")] = None,
    directory: Annotated[Path, typer.Option(help="Folder for kubeconfig, logs and the event log.")] = Path(".run"),
    manifests: Annotated[Path, typer.Option(help="The project's deploy/ folder.")] = Path("deploy"),
    once: Annotated[bool, typer.Option(help="Exit as soon as the example is Ready.")] = False,
) -> None:
    """Run the whole operator on this machine until Ctrl-C.

    Without --context only a simulated Kubernetes is touched, whatever kubeconfig you have.

    Exit codes: 0 stopped by Ctrl-C or SIGTERM, or Ready with --once; 1 a process failed, or the operator can't be run.

    \b
    Examples:
      tapioctl run
      tapioctl run --example examples/production.yaml --once
      tapioctl run --context my-cluster --directory /tmp/trial
    """
    from tapio_cli.run import Options, run
    from tapio_shared.telemetry import setup_logging

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
    sys.exit(or_exit(lambda: asyncio.run(until_interrupted(run(options, _nats, console), 0))))


@app.command(name="render")
def render_command(
    files: Annotated[
        list[str],
        typer.Option(
            "--filename",
            "-f",
            help="File with TapioClusters and their other resources; - is standard input. Can be repeated.",
        ),
    ],
    kubernetes: Annotated[
        str, typer.Option(help="Kubernetes version whose built-in APIs are taken to be served; 1.20 or newer.")
    ] = NEWEST,
    served: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Another group/version that is served; can be repeated. Those used: {', '.join(further_groups())}."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write one file per object to, instead of one stream."),
    ] = None,
    fleet: Annotated[
        str,
        typer.Option(
            help="File with a cluster's Nodes, Namespaces, StorageClasses and PriorityClasses, so that whatever "
            "depends on them is decided; without it, everything that is asked for is rendered."
        ),
    ] = "",
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace of resources that name none.")
    ] = "default",
) -> None:
    """Print the objects that the operator would create, as YAML, without any cluster.

    Objects go to standard output (or into a folder) in a stable order; remarks about them (degraded, skipped, not yet
    supported) go to standard error. The operator's ConfigMap may be among the files. In a folder, files of an earlier
    rendering are replaced or removed, and other files are left alone.

    Exit codes: 0 rendered; 1 a resource would be refused: all that is wrong with it is printed, and no object; 2 a file
    or an option can't be used.

    \b
    Examples:
      tapioctl render -f examples/production.yaml
      tapioctl render -f examples/edge.yaml --kubernetes 1.20 > edge.yaml
      tapioctl render -f cluster.yaml -f deploy/operator/config.yaml --served monitoring.coreos.com/v1 -o rendered
      kubectl get nodes,namespaces,storageclasses,priorityclasses -o yaml > fleet.yaml
      tapioctl render -f cluster.yaml -f collectors.yaml --fleet fleet.yaml
      kubectl get tapiocluster dev -o yaml | tapioctl render -f - --fleet fleet.yaml > dev.yaml
      kubectl diff --server-side --force-conflicts -f dev.yaml
    """
    from tapio_cli.render import UNUSABLE, Request, render

    request = Request(
        files=files, kubernetes=kubernetes, served=served or (), fleet=fleet, namespace=namespace, output=output
    )
    try:
        answer = render(request)
    except TapioError as err:
        print(f"tapioctl: {err}", file=sys.stderr)
        sys.exit(UNUSABLE)
    for remark in answer.remarks:
        print(remark, file=sys.stderr)
    sys.stdout.write(answer.output)
    sys.exit(answer.code)


@asynccontextmanager
async def _to_change(source: Live) -> AsyncGenerator[NatsStreams]:
    """The streams of a NATS, for making them anew."""
    async with _nats_of(source, KEEPER) as connection:
        from tapio_shared.adapters.nats_restore import NatsStreams

        yield NatsStreams(connection)


def _reader(target: str, namespace: str, with_users: bool) -> NewReader:
    """A reader of one namespace, with a password that nobody knows yet."""
    from tapio_shared.adapters.nats_credentials import Login, write_login
    from tapio_shared.adapters.nats_permissions import reader_of

    grant = reader_of(target, namespace, with_users=with_users)
    login = Login(user=grant.service, password=SystemRandom().token(_PASSWORD))
    return NewReader(
        name=grant.service, entry=grant.entry(login.password), write_login=lambda path: write_login(path, login)
    )


_CLOCK = SystemClock()
add_history_commands(app, _connected, version=_version, now=_CLOCK.now)
add_doctor_command(app, _connected, version=_version, now=_CLOCK.now)
add_keeping_commands(app, _connected, _to_change, version=_version, now=_CLOCK.now)
add_reader_command(app, _reader)
add_ui_command(app, _connected, token=lambda length: SystemRandom().token(length))
flow_help(app)


def _nats(directory: Path, partitions: int) -> PrivateNatsServer:
    from tapio_shared.adapters.nats_private import PrivateNatsServer

    return PrivateNatsServer(directory, SystemRandom(), partitions=partitions)


def main() -> None:
    """Entry point of the command `tapioctl`."""
    # Typer ends with 2 on a wrong option, as `tapioctl plan` does where something would change.
    for kind in typer.BadParameter.__mro__:
        if issubclass(kind, Exception) and "exit_code" in vars(kind):
            setattr(kind, "exit_code", MISUSED)  # noqa: B010 - the class that declares it is private to Typer
    try:
        app()
    except Exception as err:  # noqa: BLE001 - whatever nobody foresaw ends here
        print(f"tapioctl: {told_fault(err, sys.argv[1:])}", file=sys.stderr)
        sys.exit(FAULTY)


if __name__ == "__main__":
    main()
