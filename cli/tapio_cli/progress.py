"""A TapioCluster becoming Ready, live: one line per component, redrawn in a terminal, appended elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tapio_cli.kubectl import Kubectl, KubectlError
from tapio_shared.json import JsonObject, int_at, objects_at, str_at

_EVERY = 0.3
_COLOURS = {"Ready": "green", "Failed": "red", "Waiting": "bright_black", "Progressing": "yellow"}


async def show_until_ready(kubectl: Kubectl, clusters: Sequence[tuple[str, str]], console: Console) -> None:
    """Show the TapioClusters (namespace, name) until each has the condition Ready."""
    for namespace, name in clusters:
        await _show_one(kubectl, namespace, name, console)


async def _show_one(kubectl: Kubectl, namespace: str, name: str, console: Console) -> None:
    last = trouble = ""
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        while True:
            try:
                document = await kubectl.document("get", "tapiocluster", name, "-n", namespace)
            except KubectlError as err:
                if str(err) != trouble:
                    trouble = str(err)
                    console.print(trouble, markup=False)
                await asyncio.sleep(_EVERY)
                continue
            if console.is_terminal:
                live.update(_table(namespace, name, document))
            else:
                text = _line(document)
                if text != last:
                    last = text
                    console.print(f"{namespace}/{name}: {text}", soft_wrap=True)
            if _condition(document, "Ready") == "True":
                break
            await asyncio.sleep(_EVERY)
    console.print(f"TapioCluster {namespace}/{name} is Ready.")


def _table(namespace: str, name: str, document: JsonObject) -> Table:
    phase = str_at(document, "status", "phase", default="Pending")
    table = Table(title=f"TapioCluster {namespace}/{name}: {phase}", title_justify="left")
    for column in ("component", "state", "ready", "what it says"):
        table.add_column(column)
    for one in objects_at(document, "status", "components"):
        state = str_at(one, "state")
        count = f"{int_at(one, 'ready')}/{int_at(one, 'desired')}"
        table.add_row(
            str_at(one, "name"), f"[{_COLOURS.get(state, 'white')}]{state}[/]", count, str_at(one, "message")[:100]
        )
    return table


def _line(document: JsonObject) -> str:
    parts = [f"{str_at(one, 'name')}={str_at(one, 'state')}" for one in objects_at(document, "status", "components")]
    phase = str_at(document, "status", "phase", default="Pending")
    return f"{phase} {str_at(document, 'status', 'readyComponents')} {' '.join(parts)}".strip()


def _condition(document: JsonObject, kind: str) -> str:
    found = [one for one in objects_at(document, "status", "conditions") if str_at(one, "type") == kind]
    return str_at(found[0], "status") if found else ""
