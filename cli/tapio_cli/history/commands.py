"""The commands on the history, as the command line has them; `__main__` hands in how to reach a live log.

What only some commands need is imported when they are asked for: the planner and the models of the API take as long to
import as a question may take to be answered.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console

from tapio_cli.history.asking import TOLD_WHOLE, planned, standing, told, told_between
from tapio_cli.history.codes import DIVERGED, REFUSED
from tapio_cli.history.completing import clusters, objects
from tapio_cli.history.exporting import Connect, exported, or_exit, progress_bar
from tapio_cli.history.following import Wanted, follow_history
from tapio_cli.history.instants import sequence_at
from tapio_cli.history.options import Output, Where, with_history
from tapio_cli.history.printing import (
    Format,
    print_ahead,
    print_as_of,
    print_difference,
    print_document,
    print_events,
    print_explanation,
    print_summary,
    print_tree,
)
from tapio_cli.history.snapshots import difference, snapshot
from tapio_cli.history.story import Story
from tapio_cli.history.where import live
from tapio_shared.admissions import Admission
from tapio_shared.codec import to_document
from tapio_shared.errors import InvalidSettings
from tapio_shared.installation import NAMESPACE, OWN_TARGET
from tapio_shared.json import JsonObject

if TYPE_CHECKING:
    from tapio_cli.history.ahead import Ahead
    from tapio_cli.history.explaining import Explanation

T = TypeVar("T")
_INSTANTS = {"ignore_unknown_options": True}
"""-10m is an instant and no option."""

Cluster = Annotated[
    str, typer.Argument(metavar="CLUSTER", help="namespace/name of a TapioCluster.", autocompletion=clusters)
]
Instant = Annotated[
    str,
    typer.Argument(metavar="INSTANT", help="How long ago (-10m), a time (2026-11-23T14:02:00Z), @revision, or now."),
]


def add_history_commands(
    app: typer.Typer, connect: Connect, *, version: Callable[[], str], now: Callable[[], int]
) -> None:
    """Add every command of this module to `app`."""

    def answer_of(
        where: Where, cluster: str, ask: Callable[[Story, Sequence[Admission]], T], *instants: str, now: int
    ) -> T:
        return or_exit(lambda: asyncio.run(told(connect, where.key(cluster), where, ask, *instants, now=now)))

    @app.command(name="replay")
    @with_history
    def replay_command(
        where: Where,
        clusters: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="CLUSTER",
                help="namespace/name of a TapioCluster; can be repeated; none means all.",
                autocompletion=clusters,
            ),
        ] = None,
        jobs: Annotated[int, typer.Option(min=0, help="Number of processes; 0 means one per core.")] = 0,
        release: Annotated[
            str,
            typer.Option(
                "--with",
                metavar="VERSION",
                help="Let another release plan: its wheel's file, or a version from the index that pip is set up with.",
            ),
        ] = "",
        cache: Annotated[
            Path, typer.Option(envvar="TAPIO_CACHE", help="Folder in which such releases stay installed.")
        ] = Path("~/.cache/tapio"),
        output: Output = Format.PEOPLE,
    ) -> None:
        """Plan every recorded decision again from the recorded facts, with this or another version of the operator.

        Nothing is written to any log or cluster. With the version that recorded them, all decisions come out identical;
        with the next version, this shows what it would have decided differently: an upgrade preview.

        Exit codes: 0 all identical; 1 the history can't be read, holds nothing that can be checked, or the release
        can't be installed; 2 at least one decision came out differently.

        \b
        Examples:
          tapioctl replay
          tapioctl replay team/production --from today.tapio
          tapioctl replay --from today.tapio -o json
          tapioctl replay --from last-month.tapio --with 0.2.0
          tapioctl replay --from last-month.tapio --with dist/tapio_operator-0.2.0-py3-none-any.whl
        """
        from tapio_cli.history.archive import Archive
        from tapio_cli.history.known import check_names
        from tapio_cli.history.releases import replay_with
        from tapio_cli.history.replay import Summary, replay

        def verdict(path: Path) -> Summary:
            keys = [where.key(text) for text in clusters or ()]
            if release:
                home = cache.expanduser()
                found = replay_with(release, path, keys, target=where.target, jobs=jobs, cache=home)
            else:
                with progress_bar("planning again") as told:
                    found = replay(path, keys, jobs=jobs, progress=told)
                found.planned_by = version()
            if found.keys < len({*keys}) or where.target != OWN_TARGET:
                asyncio.run(check_names(Archive.open(path), keys, where.target))
            return found

        with tempfile.TemporaryDirectory() as folder:
            path = where.archive
            if path is None:
                source, path = or_exit(lambda: live(where)), Path(folder) / "live.tapio"
                with progress_bar("reading the history") as told:
                    copy = exported(
                        connect, source, path, version=version(), now=now(), with_users=False, progress=told
                    )
                    or_exit(lambda: asyncio.run(copy))
            summary = or_exit(lambda: verdict(path))
        if output is Format.PEOPLE:
            print_summary(summary, _people())
        else:
            print_document(to_document(summary), output)
        sys.exit(summary.code)

    @app.command(name="history")
    @with_history
    def history_command(
        where: Where,
        cluster: Cluster,
        since: Annotated[str, typer.Option(help="Show only what came after: -1h, a time, @revision.")] = "",
        until: Annotated[str, typer.Option(help="Show only what came before.")] = "",
        about: Annotated[
            str,
            typer.Option("--object", help="Show only what is about this object: part of its kind, namespace or name."),
        ] = "",
        follow: Annotated[
            bool,
            typer.Option("--follow", help="Keep showing what happens, until Ctrl-C; as JSON, one line each."),
        ] = False,
        output: Output = Format.PEOPLE,
    ) -> None:
        """Show what was observed, requested, decided and done about a TapioCluster, on one timeline.

        Exit codes: 0 shown; 1 the history can't be read, or an instant is outside the time it covers.

        \b
        Examples:
          tapioctl history team/production --since -1h
          tapioctl history team/production --follow
          tapioctl history team/production --object Deployment --from today.tapio -o json
        """

        if follow:
            wanted = Wanted(since=since, until=until, about=about)
            or_exit(lambda: follow_history(connect, where, where.key(cluster), wanted, output, now=now()))
            return
        asked = told_between(connect, where.key(cluster), where, since, until, about, now=now())
        found = or_exit(lambda: asyncio.run(asked))
        if found.span.remark:
            print(found.span.remark, file=sys.stderr)
        if output is Format.PEOPLE:
            print_events(found.events, _people())
            if not found.events:
                print("Nothing is recorded there: widen --since, --until or --object.", file=sys.stderr)
        else:
            print_document(to_document(found.events), output)

    @app.command(name="at", context_settings=_INSTANTS)
    @with_history
    def at_command(
        where: Where,
        instant: Instant,
        cluster: Cluster,
        output: Output = Format.PEOPLE,
    ) -> None:
        """Show a TapioCluster's state, wanted objects and status at an instant, as the operator knew them then.

        For people, a tree of its components and what is wrong with its objects; as YAML or JSON, every object in full.

        Exit codes: 0 shown; 1 the instant is outside the time that the history covers, whose bounds are named.

        \b
        Examples:
          tapioctl at -10m team/production
          tapioctl at 2026-11-23T14:02:00Z team/production --from today.tapio -o json
          tapioctl at @1234 team/production -o yaml
        """

        moment = now()

        def as_of(story: Story, _: Sequence[Admission]) -> tuple[JsonObject, JsonObject]:
            sequence = sequence_at(story, instant, now=moment)
            document = snapshot(story, sequence)
            if output is not Format.PEOPLE:
                return document, {}
            from tapio_cli.history.standing import status_of

            return document, status_of(story, (), until=sequence, is_whole=False)

        document, status = answer_of(where, cluster, as_of, instant, now=moment)
        if output is Format.PEOPLE:
            print_as_of(document, status, _people())
        else:
            print_document(document, output)

    @app.command(name="diff", context_settings=_INSTANTS)
    @with_history
    def diff_command(
        where: Where,
        before: Instant,
        after: Instant,
        cluster: Cluster,
    ) -> None:
        """Show what differs in a TapioCluster between two instants: spec, status, objects, decision.

        Exit codes: 0 nothing differs; 2 something does; 1 an instant is outside the time that the history covers.

        \b
        Examples:
          tapioctl diff -1h now team/production
          tapioctl diff @1200 @1300 team/production --from today.tapio
        """

        moment = now()

        def between(story: Story, _: Sequence[Admission]) -> list[str]:
            first, second = (sequence_at(story, one, now=moment) for one in (before, after))
            return difference(snapshot(story, first), snapshot(story, second))

        lines = answer_of(where, cluster, between, before, after, now=moment)
        print_difference(lines, _people())
        sys.exit(DIVERGED if lines else 0)

    @app.command(name="explain")
    @with_history
    def explain_command(
        where: Where,
        cluster: Cluster,
        about: Annotated[
            str,
            typer.Argument(
                metavar="OBJECT",
                help="A component, Kind/name of an object, or its name.",
                autocompletion=objects,
            ),
        ] = "",
        at: Annotated[str, typer.Option(help="At this instant: -10m, a time, @revision.")] = "now",
        output: Output = Format.PEOPLE,
    ) -> None:
        """Say why a TapioCluster, or one of its objects, is as it is: what changed, who asked, what it waits for.

        Exit codes: 0 shown; 1 the history can't be read, or an instant is outside the time it covers.

        \b
        Examples:
          tapioctl explain team/production
          tapioctl explain team/production gateway
          tapioctl explain team/production Deployment/production-gateway --at -2h
        """
        from tapio_cli.history.explaining import explain

        moment = now()

        def why(story: Story, admissions: Sequence[Admission]) -> Explanation:
            is_now = at == "now" and where.archive is None
            latest = moment if story.part is not None and not is_now else max(moment, story.last_at)
            until = sequence_at(story, at, now=latest)
            return explain(story, admissions, until=until, about=about, now=moment if is_now else 0)

        answer = answer_of(where, cluster, why, *(() if at == "now" else (at,)), now=moment)
        if output is Format.PEOPLE:
            print_explanation(answer, _people())
        else:
            print_document(to_document(answer), output)

    @app.command(name="plan")
    @with_history
    def plan_command(
        where: Where,
        files: Annotated[
            list[str],
            typer.Option("--filename", "-f", help="File with resources; - is standard input. Can be repeated."),
        ],
        namespace: Annotated[str, typer.Option("--namespace", "-n", help="Namespace of resources that name none.")] = (
            "default"
        ),
        output: Output = Format.PEOPLE,
    ) -> None:
        """Show what applying files would do: objects created, changed, deleted; which pods would restart, and why.

        The files are compared with what the operator knew last, live or in an archive. Nothing is written.

        Exit codes: 0 nothing would change; 2 something would; 3 it would be refused; 1 there is no telling.

        \b
        Examples:
          tapioctl plan -f production.yaml
          tapioctl plan -f production.yaml --from today.tapio -o json
        """

        from tapio_cli.documents import in_namespace, read_documents

        def work() -> list[Ahead]:
            documents = [in_namespace(one, namespace) for one in read_documents(files)]
            if not documents:
                raise InvalidSettings(f"There is no resource in {', '.join(files)}, so there is nothing to plan.")
            return asyncio.run(planned(connect, documents, where, now()))

        found = or_exit(work)
        if output is Format.PEOPLE:
            for one in found:
                print_ahead(one, _people())
        else:
            print_document(to_document(found), output)
        refused = any(one.refusals for one in found)
        sys.exit(REFUSED if refused else DIVERGED if any(one.changes for one in found) else 0)

    @app.command(name="status")
    @with_history
    def status_command(
        where: Where,
        cluster: Annotated[
            str,
            typer.Argument(
                metavar="CLUSTER",
                help="namespace/name; namespace/ means all in it, none means all.",
                autocompletion=clusters,
            ),
        ] = "",
        output: Output = Format.PEOPLE,
    ) -> None:
        """Show every component of a TapioCluster: ready, version, what it waits for and since when, the last change.

        Exit codes: 0 shown; 1 the history can't be read, or an instant is outside the time it covers.

        \b
        Examples:
          tapioctl status
          tapioctl status team/
          tapioctl status team/production -o json
        """

        answer = or_exit(lambda: asyncio.run(standing(connect, where, cluster, now=now())))
        found = answer.statuses
        if answer.silence:
            print(f"{answer.silence} Look at its pods: kubectl get pods -n {NAMESPACE}.", file=sys.stderr)
        if output is Format.PEOPLE:
            for one in found:
                print_tree(one, _people())
            if not found:
                print(
                    "No TapioCluster is recorded there. If there should be one, see tapioctl doctor.", file=sys.stderr
                )
            elif len(found) > TOLD_WHOLE:
                print("What changed last, and by whom: tapioctl status CLUSTER, or tapioctl explain CLUSTER.")
        else:
            print_document([*found], output)


def _people() -> Console:
    return Console(highlight=False, soft_wrap=True)
