"""Help that fits the reader's terminal: Typer breaks a docstring's paragraphs where the source does.

A paragraph that begins with `\\b`, such as a list of examples, keeps its lines; any other one is a single line, which
the terminal wraps.
"""

from __future__ import annotations

import inspect

import typer

_KEPT = "\b\n"


def flow_help(app: typer.Typer) -> None:
    """Let the help of every command of `app`, and its own, be wrapped where the terminal ends."""
    for one in (*app.registered_commands, app.registered_callback):
        if one is not None and one.callback is not None:
            one.help = flowed(inspect.getdoc(one.callback) or "")


def flowed(text: str) -> str:
    """`text` with every paragraph on one line, but for those that begin with `\\b`."""
    return "\n\n".join(
        one.removeprefix(_KEPT) if one.startswith(_KEPT) else " ".join(one.split("\n")) for one in text.split("\n\n")
    )
