"""`tapioctl doctor`, as the command line has it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tapio_cli.history.exporting import Connect, opened, or_exit
from tapio_cli.history.options import Where, with_history
from tapio_cli.history.printing import Format, print_document
from tapio_cli.history.story import read_story, recorded_keys
from tapio_cli.kubectl import Kubectl
from tapio_shared.codec import to_document

if TYPE_CHECKING:
    from tapio_cli.doctor.findings import Finding

SICK = 2
"""Exit code: at least one check found a problem."""
_MARKS = {"ok": "[green]ok[/]", "problem": "[bold red]problem[/]", "unknown": "[yellow]unknown[/]"}
_OF_A_RUN = "kubeconfig"


def add_doctor_command(app: typer.Typer, connect: Connect, *, now: Callable[[], int]) -> None:
    """Add the command to `app`."""

    @app.command(name="doctor")
    @with_history
    def doctor_command(
        where: Where,
        cluster: Annotated[
            str, typer.Argument(help="namespace/name of a TapioCluster; namespace/ means all in it, none means all.")
        ] = "",
        kubeconfig: Annotated[
            Path | None, typer.Option(help="Of the operator's cluster, for its leases and its webhook.")
        ] = None,
        context: Annotated[
            str, typer.Option(help="Context in the kubeconfig; its current one when none is named.")
        ] = "",
        namespace: Annotated[str, typer.Option(help="The operator's own namespace.")] = "tapio-system",
        output: Annotated[Format, typer.Option("--output", "-o", help="For people, or for programs.")] = Format.PEOPLE,
    ) -> None:
        """Check the operator and its clusters: what is wrong, how that was found, and what to do next.

        Of a cluster: RBAC, node selectors and security contexts of its collectors; volumes, memory and init containers
        of Neo4j; network policies, Services and credentials of NATS. Of the operator: log, window, partitions,
        versions; with a kubeconfig also its leases and its webhook's certificate. Nothing is changed.

        \b
        Exit codes: 0 no check found a problem; 1 the checks can't be made; 2 at least one found a problem.

        \b
        Examples:
          tapioctl doctor
          tapioctl doctor team/production --kubeconfig ~/.kube/config
          tapioctl doctor --from today.tapio -o json
        """
        beside = where.directory / _OF_A_RUN
        found = kubeconfig or (beside if where.archive is None and not where.url and beside.is_file() else None)
        kubectl = None if found is None else or_exit(lambda: Kubectl(found, context))
        answers = or_exit(
            lambda: asyncio.run(_examined(connect, where, cluster, kubectl, namespace=namespace, now=now()))
        )
        if output is Format.PEOPLE:
            for about, findings in answers.items():
                _print(about, findings)
        else:
            print_document(
                {about: [to_document(one) for one in findings] for about, findings in answers.items()}, output
            )
        if any(one.verdict == "problem" for findings in answers.values() for one in findings):
            sys.exit(SICK)


async def _examined(
    connect: Connect, where: Where, cluster: str, kubectl: Kubectl | None, *, namespace: str, now: int
) -> dict[str, list[Finding]]:
    """The findings about the operator, and about each cluster by its name."""
    from tapio_cli.doctor.cluster import examine
    from tapio_cli.doctor.operator import examine_kubernetes, examine_log

    async with opened(connect, where) as sources:
        every = where.keys_in(cluster)
        keys = [where.key(cluster)] if every is None else await recorded_keys(sources.log, where.target, every)
        stories = [await read_story(sources.log, key) for key in keys]
        own = await examine_log(sources.log, stories, now=now, is_live=where.archive is None)
    own += await examine_kubernetes(kubectl, namespace=namespace, target=where.target, now=now)
    return {"operator": own} | {
        f"{one.key.namespace}/{one.key.name}": examine(one.state(one.ends), now) for one in stories if one.own
    }


def _print(about: str, findings: Sequence[Finding]) -> None:
    table = Table(title=about, title_justify="left", show_lines=False, expand=False)
    for column in ("area", "check", "", "found"):
        table.add_column(column, overflow="fold")
    for one in findings:
        text = escape(one.evidence) + (f"\n→ {escape(one.next_step)}" if one.next_step and one.verdict != "ok" else "")
        table.add_row(one.area, one.check, _MARKS[one.verdict], text)
    Console(highlight=False).print(table)
