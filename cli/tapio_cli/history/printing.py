"""How answers on the history look: for people in colour, for programs as JSON or YAML."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from tapio_shared.installation import OWN_TARGET
from tapio_shared.json import JsonObject, JsonValue, int_at, list_at, object_at, objects_at, str_at

if TYPE_CHECKING:
    from tapio_cli.history.ahead import Ahead
    from tapio_cli.history.explaining import Explanation
    from tapio_cli.history.replay import Summary
    from tapio_cli.history.timeline import Event


class Format(StrEnum):
    """What `--output` takes."""

    PEOPLE = "people"
    JSON = "json"
    YAML = "yaml"


def print_document(document: JsonValue, output: Format) -> None:
    """Print `document` for a program."""
    if output is Format.JSON:
        print(json.dumps(document, indent=2, sort_keys=True))
    else:
        import yaml  # It takes as long as a twentieth of a question.

        yaml.dump(document, sys.stdout, Dumper=yaml.CSafeDumper, sort_keys=True)


def print_line(document: JsonValue, output: Format) -> None:
    """Print one of many documents at once: a line of JSON, or one of a stream of YAML."""
    if output is Format.JSON:
        print(json.dumps(document, sort_keys=True), flush=True)
    else:
        import yaml

        yaml.dump(document, sys.stdout, Dumper=yaml.CSafeDumper, sort_keys=True, explicit_start=True)
        sys.stdout.flush()


def moment(milliseconds: int) -> str:
    """An instant as people and commands write it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def milliseconds(timestamp: str) -> int:
    """The instant that Kubernetes writes so, in milliseconds."""
    return int(datetime.fromisoformat(timestamp).timestamp() * 1000)


def print_summary(summary: Summary, console: Console) -> None:
    """What a replay came to: a line when all is well, else each first divergence with its differences."""
    for one in summary.divergences:
        console.print(
            f"[bold]{one.key}[/bold]: the decision at {one.sequence} (revision {one.revision}, "
            f"{moment(one.decided_at)}, operator {one.operator_version}) comes out differently:"
        )
        print_difference(one.differences or ["no field that can be shown"], console)
    if summary.skipped:
        table = Table("decisions", "not checked, because", box=None)
        for reason, count in sorted(summary.skipped.items()):
            table.add_row(str(count), reason)
        console.print(table)
    if not summary.checked:
        console.print(
            "No decision could be checked: this history holds none of what was named, or not what it rests on. "
            "`tapioctl status` names the TapioClusters that it knows.",
            style="yellow",
        )
        return
    found = f"{summary.diverged} of {summary.checked}" if summary.diverged else f"{summary.checked}"
    of = "1 cluster" if summary.keys == 1 else f"{summary.keys} clusters"
    how, style = ("differently", "red") if summary.diverged else ("identical", "green")
    by = f"by operator {summary.planned_by}" if summary.planned_by else "again"
    console.print(f"{found} decisions of {of} came out {how}, planned {by}.", style=style)


_MISSING_SHOWN = 8
_NARROW = 4
"""Columns by which what goes on is indented where there is no room for more."""
_COLOURS = {"fact": "cyan", "decision": "magenta", "outcome": "green", "timer": "dim", "admission": "yellow"}
_STATES = {"Ready": "green", "Progressing": "yellow", "Waiting": "yellow", "Failed": "red", "Unavailable": "dim"}


def print_events(events: Sequence[Event], console: Console) -> None:
    """A time line, a line each."""
    for one in events:
        place = f"@{one.sequence}" if one.sequence else ""
        head = Text.assemble(
            (moment(one.at), "dim"), f" {place:>8} ", (f"{one.what:<9}", _COLOURS.get(one.what, "")), " "
        )
        text = f"{one.about}: {one.text}" if one.about else one.text
        _print_hanging(head, f"{text}, asked for by {one.user}" if one.user else text, console)


def print_explanation(answer: Explanation, console: Console) -> None:
    """The answer first, then what led to it."""
    _print_hanging(Text(), answer.answer, console, style="bold")
    for line in answer.because:
        _print_hanging(Text("  "), line, console)


def _print_hanging(head: Text, text: str, console: Console, *, style: str = "") -> None:
    """`text` beside `head`; on a terminal what does not fit goes below it, elsewhere a line stays one line."""
    if not console.is_terminal or len(head) + len(text) <= console.width:
        console.print(head + Text(text, style))
        return
    indent = len(head) + 2 if len(head) <= console.width // 3 else _NARROW
    first, *rest = textwrap.wrap(
        text,
        max(console.width, len(head) + _NARROW),
        initial_indent=" " * len(head),
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
    )
    console.print(head + Text(first[len(head) :], style))
    for line in rest:
        console.print(Text(line, style))


def print_difference(lines: Sequence[str], console: Console) -> None:
    """A unified diff in colour."""
    if lines:
        from rich.syntax import Syntax  # It brings a highlighter for every language there is.

        console.print(Syntax("\n".join(lines), "diff", theme="ansi_dark", background_color="default"))
    else:
        console.print("Nothing differs.")


def print_tree(status: JsonObject, console: Console) -> None:
    """A cluster and its components."""
    ready = object_at(status, "ready")
    head = Text.assemble(
        (str_at(status, "cluster"), "bold"),
        f"  {str_at(status, 'phase')}  {str_at(status, 'version')}  {str_at(ready, 'message')}",
    )
    tree = Tree(head)
    for one in objects_at(status, "components"):
        state = str_at(one, "state")
        line = Text.assemble(
            f"{str_at(one, 'name')}  ",
            (state, _STATES.get(state, "")),
            f"  {int_at(one, 'ready')}/{int_at(one, 'desired')}  {str_at(one, 'version')}",
            (f"  since {str_at(one, 'since')}", "dim"),
        )
        if state != "Ready":
            line.append(f"  {str_at(one, 'reason')}: {str_at(one, 'message')}")
        tree.add(line)
    for one in objects_at(status, "skipped"):
        tree.add(Text(f"{str_at(one, 'collector')}  skipped  {str_at(one, 'reason')}: {str_at(one, 'message')}", "dim"))
    components = {str_at(one, "message") for one in objects_at(status, "components")}
    for condition in objects_at(status, "conditions"):
        kind, reason, message = (str_at(condition, name) for name in ("type", "reason", "message"))
        if message in components:
            continue  # Said beside the component already.
        tree.add(Text(f"{kind}: {message}" if kind == reason else f"{kind}: {reason}: {message}", "yellow"))
    for sentence in list_at(status, "waiting"):
        tree.add(Text(f"waiting: {sentence}", "yellow"))
    for sentence in list_at(status, "remarks"):
        tree.add(Text(str(sentence), "yellow"))
    change = object_at(status, "lastChange")
    if change:
        last = tree.add(Text(f"last change: {str_at(change, 'decided')}"))
        for sentence in list_at(change, "because"):
            last.add(Text(str(sentence)))
    console.print(tree, soft_wrap=False)


def print_as_of(snapshot: JsonObject, status: JsonObject, console: Console) -> None:
    """A cluster as of an instant: its tree, and which of its objects were amiss."""
    console.print(Text(f"As of {moment(int_at(snapshot, 'at'))} (@{int_at(snapshot, 'revision')}):", "bold"))
    if not snapshot.get("exists"):
        console.print(f"{str_at(status, 'cluster')} did not exist then, as far as the operator had been told.")
    else:
        print_tree(status, console)
    objects = {name: object_at(snapshot, "objects", name) for name in object_at(snapshot, "objects")}
    wanted = {name: one for name, one in objects.items() if one.get("wanted")}
    missing = [name for name, one in wanted.items() if one.get("seen") is None]
    failures = object_at(snapshot, "failures")
    console.print(f"{len(wanted)} objects were wanted, of which {len(wanted) - len(missing)} were there.")
    if missing:
        left = f" and {len(missing) - _MISSING_SHOWN} more" if len(missing) > _MISSING_SHOWN else ""
        _print_hanging(Text("  "), f"Not there: {', '.join(missing[:_MISSING_SHOWN])}{left}.", console, style="yellow")
    for name, why in failures.items():
        _print_hanging(Text("  "), f"{name} could not be written: {why}", console, style="red")
    about = f"{str_at(status, 'cluster')} --at @{int_at(snapshot, 'revision')}"
    console.print(Text(f"Why: tapioctl explain {about}. Every object whole: -o yaml.", "dim"))


_SIGNS = {"create": ("+", "green"), "change": ("~", "yellow"), "delete": ("-", "red")}


def print_ahead(found: Ahead, console: Console) -> None:
    """What would happen, wave after wave; then whose pods would restart."""
    console.print(Text(found.cluster.removeprefix(f"{OWN_TARGET}/"), style="bold"))
    for sentence in found.refusals:
        console.print(Text(f"  would be refused: {sentence}", style="red"))
    wave = -1
    for one in found.changes:
        if one.wave != wave:
            wave = one.wave
            console.print(Text(f"  wave {wave}", style="dim"))
        sign, colour = _SIGNS[one.action]
        console.print(Text(f"    {sign} {one.object}", style=colour))
        for field in one.fields:
            console.print(Text(f"        {field}"))
    for restart in found.restarts:
        why = "; ".join(restart.because)
        console.print(Text(f"  {restart.pods} pods of {restart.workload} would restart: {why}", "yellow"))
    for sentence in found.notices:
        console.print(Text(f"  {sentence}", style="dim"))
    if not found.changes and not found.refusals:
        console.print("  Nothing would change.")
