"""Help is wrapped where the terminal ends, not where the source does; examples keep their lines."""

from __future__ import annotations

import pytest

from tapio_cli.__main__ import app
from tapio_cli.help_text import flowed

COMMANDS = [one for one in (*app.registered_commands, app.registered_callback) if one is not None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("One\nline.", "One line.", id="a paragraph"),
        pytest.param("One.\n\nTwo\nlines.", "One.\n\nTwo lines.", id="two of them"),
        pytest.param("\b\nExamples:\n  a\n  b", "Examples:\n  a\n  b", id="a list"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_flowed(text: str, expected: str) -> None:
    assert flowed(text) == expected


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.callback.__name__)
def test_only_examples_keep_their_lines(command: object) -> None:
    text = getattr(command, "help", None)
    assert isinstance(text, str)
    assert [one.partition("\n")[0] for one in text.split("\n\n") if "\n" in one] == ["Examples:"]
