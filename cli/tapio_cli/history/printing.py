"""How answers on the history look: for people in colour, for programs as JSON or YAML."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from enum import StrEnum

import yaml
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from tapio_cli.history.replay import Summary
from tapio_shared.json import JsonValue


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
        yaml.dump(document, sys.stdout, Dumper=yaml.CSafeDumper, sort_keys=True)


def moment(milliseconds: int) -> str:
    """An instant as people and commands write it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def print_summary(summary: Summary, console: Console) -> None:
    """What a replay came to: a line when all is well, else each first divergence with its differences."""
    for one in summary.divergences:
        console.print(
            f"[bold]{one.key}[/bold]: the decision at {one.sequence} (revision {one.revision}, "
            f"{moment(one.decided_at)}, operator {one.operator_version}) comes out differently:"
        )
        console.print(Syntax("\n".join(one.differences) or "no field that can be shown", "diff", theme="ansi_dark"))
    if summary.skipped:
        table = Table("decisions", "not checked, because", box=None)
        for reason, count in sorted(summary.skipped.items()):
            table.add_row(str(count), reason)
        console.print(table)
    if not summary.checked:
        console.print("No decision could be checked.", style="yellow")
    elif summary.diverged:
        console.print(
            f"{summary.diverged} of {summary.checked} decisions of {summary.keys} clusters came out differently.",
            style="red",
        )
    else:
        console.print(f"{summary.checked} decisions of {summary.keys} clusters came out identical.", style="green")
