"""`tapioctl doctor` and `tapioctl diagnostics`, as the command line has them."""

from __future__ import annotations

import asyncio
import platform
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tapio_cli.history.completing import clusters
from tapio_cli.history.exporting import Connect, opened, or_exit
from tapio_cli.history.known import named_keys
from tapio_cli.history.options import Output, Where, with_history
from tapio_cli.history.printing import Format, moment, print_document
from tapio_cli.history.source import Sources
from tapio_cli.history.story import Story, read_story
from tapio_cli.kubectl import Kubectl
from tapio_shared.codec import to_document
from tapio_shared.errors import InvalidSettings, LogMissing, LogRefused
from tapio_shared.installation import NAMESPACE
from tapio_shared.json import JsonObject
from tapio_shared.ports import LogInfo

if TYPE_CHECKING:
    from tapio_cli.doctor.findings import Finding

SICK = 2
"""Exit code: at least one check found a problem."""
_MARKS = {"ok": "[green]ok[/]", "problem": "[bold red]problem[/]", "unknown": "[yellow]unknown[/]"}
_OF_A_RUN = "kubeconfig"


Some = Annotated[
    str,
    typer.Argument(
        metavar="CLUSTER",
        help="namespace/name of a TapioCluster; namespace/ means all in it, none means all.",
        autocompletion=clusters,
    ),
]
Kubeconfig = Annotated[
    Path | None, typer.Option(help="Kubeconfig of the operator's cluster, to check its Leases and webhook.")
]
Context = Annotated[str, typer.Option(help="Context in that kubeconfig; by default its current one.")]
Namespace = Annotated[str, typer.Option(help="The operator's own namespace.")]


def add_doctor_command(
    app: typer.Typer, connect: Connect, *, version: Callable[[], str], now: Callable[[], int]
) -> None:
    """Add both commands to `app`."""

    @app.command(name="doctor")
    @with_history
    def doctor_command(
        where: Where,
        cluster: Some = "",
        kubeconfig: Kubeconfig = None,
        context: Context = "",
        namespace: Namespace = NAMESPACE,
        output: Output = Format.PEOPLE,
    ) -> None:
        """Check the operator and its TapioClusters: what is wrong, what shows it, and what to do next.

        Checked of a TapioCluster: RBAC, node selectors and security contexts of its collectors; volumes, memory and
        init containers of Neo4j; network policies, Services and credentials of NATS; whether somebody else changes its
        objects again and again, or keeps them from being deleted; and anything else that has failed.
        Checked of the operator: log, window, partitions, versions and, with a kubeconfig, its Leases, its rights, the
        webhook's certificate, and whether the webhook answers (a dry run). Nothing is changed.

        Exit codes: 0 no check found a problem; 1 the checks can't be made; 2 at least one found a problem.

        \b
        Examples:
          tapioctl doctor
          tapioctl doctor team/production --kubeconfig ~/.kube/config
          tapioctl doctor --from today.tapio -o json
        """
        kubectl = _kubectl(where, kubeconfig, context)
        answers = or_exit(
            lambda: asyncio.run(_examined(connect, where, cluster, kubectl, namespace=namespace, now=now()))
        ).findings
        if output is Format.PEOPLE:
            for about, findings in answers.items():
                _print(about, findings)
            print(_summed_up(answers))
        else:
            print_document(
                {about: [to_document(one) for one in findings] for about, findings in answers.items()}, output
            )
        if any(one.verdict == "problem" for findings in answers.values() for one in findings):
            sys.exit(SICK)

    @app.command(name="diagnostics")
    @with_history
    def diagnostics_command(
        where: Where,
        file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write, such as tapio.tar.gz.")],
        cluster: Some = "",
        kubeconfig: Kubeconfig = None,
        context: Context = "",
        namespace: Namespace = NAMESPACE,
    ) -> None:
        """Pack what somebody else needs to find a fault into one file, without secrets and names of users.

        It holds what doctor finds; each TapioCluster's status, its objects as last observed and its recent history;
        with a kubeconfig, the operator's own objects; and, of a run in this folder, the services' output. Names of
        users and every value that could be a secret are left out. Look through it before you hand it on: it lists what
        it holds.

        Exit codes: 0 written; 1 the history can't be read, or the file can't be written.

        \b
        Examples:
          tapioctl diagnostics tapio.tar.gz
          tapioctl diagnostics tapio.tar.gz team/production --kubeconfig ~/.kube/config
          tapioctl diagnostics tapio.tar.gz --from today.tapio
        """
        from tapio_cli.doctor.bundle import (
            Files,
            cluster_files,
            finding_files,
            kubernetes_files,
            log_files,
            write_bundle,
        )

        kubectl = _kubectl(where, kubeconfig, context)

        async def gathered() -> Files:
            found = await _examined(connect, where, cluster, kubectl, namespace=namespace, now=now())
            about: JsonObject = {"tapioctl": version(), "python": platform.python_version(), "madeAt": moment(now())}
            files = finding_files(found.findings, found.info, about) | cluster_files(found.stories)
            if kubectl is not None:
                files |= await kubernetes_files(kubectl, namespace)
            return files

        def work() -> Files:
            files = asyncio.run(gathered())
            if where.archive is None and not where.url and not where.through:
                files |= log_files(where.directory / "logs")
            try:
                write_bundle(file, files, made_at=now())
            except OSError as err:
                raise InvalidSettings(f"{file} can't be written: {err.strerror or err}. Name another file.") from err
            return files

        files = or_exit(work)
        print(f"{len(files)} files are in {file} ({file.stat().st_size} bytes). Look into it before you hand it on.")


def _kubectl(where: Where, kubeconfig: Path | None, context: str) -> Kubectl | None:
    """kubectl on the operator's cluster: the one that is named, or else that of the run in the folder, or None."""
    beside = where.directory / _OF_A_RUN
    is_run = where.archive is None and not where.url and not where.through and beside.is_file()
    found = kubeconfig or (beside if is_run else None)
    return None if found is None else or_exit(lambda: Kubectl(found, context))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examined:
    findings: dict[str, list[Finding]]
    """About the operator, and about each cluster by its name."""
    stories: list[Story] = field(repr=False)
    info: LogInfo


async def _examined(
    connect: Connect, where: Where, cluster: str, kubectl: Kubectl | None, *, namespace: str, now: int
) -> _Examined:
    """What is found, and what it was found by."""
    from tapio_cli.doctor.cluster import examine
    from tapio_cli.doctor.operator import examine_kubernetes, examine_log, is_webhook_off

    async with opened(connect, where) as sources:
        every = where.keys_in(cluster)
        keys = [where.key(cluster)] if every is None else await named_keys(sources.log, where.target, every)
        stories = [await read_story(sources.log, key) for key in keys]
        living = await _living(sources)
        own = await examine_log(
            sources.log, stories, now=now, is_live=where.archive is None, target=where.target, living=living
        )
        info, is_off = await sources.log.info(), await is_webhook_off(sources.log)
    own += await examine_kubernetes(kubectl, namespace=namespace, target=where.target, now=now, webhook_is_off=is_off)
    of_clusters = {
        f"{one.key.namespace}/{one.key.name}": examine(one, now, is_live=where.archive is None) for one in stories
    }
    return _Examined(findings={"operator": own, **of_clusters}, stories=stories, info=info)


async def _living(sources: Sources) -> tuple[str, ...] | None:
    """The workers that live; None where the user may not ask, or nobody can."""
    try:
        return None if sources.workers is None else await sources.workers()
    except (LogRefused, LogMissing):
        return None


def _summed_up(answers: Mapping[str, Sequence[Finding]]) -> str:
    """The last line, which is what is to be seen where the tables before it have scrolled away."""
    counted = Counter(str(one.verdict) for findings in answers.values() for one in findings)
    names = [about for about, findings in answers.items() if any(one.verdict == "problem" for one in findings)]
    found = f"{counted['problem']} found a problem: see {', '.join(names)}" if names else "none found a problem"
    unsure = f", {counted['unknown']} can't be made from here" if counted["unknown"] else ""
    return f"Of {counted.total()} checks {found}{unsure}."


def _print(about: str, findings: Sequence[Finding]) -> None:
    table = Table(title=about, title_justify="left", show_lines=False, expand=False)
    for column in ("area", "check", "", "found"):
        table.add_column(column, overflow="fold")
    for one in findings:
        text = escape(one.evidence) + (f"\n→ {escape(one.next_step)}" if one.next_step and one.verdict != "ok" else "")
        table.add_row(one.area, one.check, _MARKS[one.verdict], text)
    Console(highlight=False).print(table)
