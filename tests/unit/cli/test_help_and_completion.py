"""Every command says in its help how it is used and how it ends, and a shell can complete it."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tapio_cli.__main__ import app
from tests.support.operator_in_process import NAMES
from tests.support.recorded_histories import recorded_history, write_archive

COMMANDS = sorted(
    name for one in app.registered_commands if (name := one.name or (one.callback.__name__ if one.callback else ""))
)
DOCUMENTED = Path("docs/exit-codes.md").read_text()


def tapioctl(*arguments: str, environment: Mapping[str, str]) -> str:
    command = [str(Path(sys.executable).with_name("tapioctl")), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    return ended.stdout


def test_these_are_the_commands() -> None:
    assert COMMANDS == [
        "at",
        "diagnostics",
        "diff",
        "doctor",
        "erase",
        "explain",
        "export",
        "history",
        "import",
        "plan",
        "reader",
        "render",
        "replay",
        "run",
        "status",
        "ui",
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_examples_and_exit_codes(name: str) -> None:
    callbacks = [one.callback for one in app.registered_commands if one.name == name]
    text = inspect.cleandoc((callbacks[0].__doc__ if callbacks[0] else None) or "")
    assert re.search(rf"\n  tapioctl {name}\b|[|&] *tapioctl {name}\b", text), text
    assert "Exit codes: 0 " in text
    assert re.search(rf"^\| .*`{name}[` ]", DOCUMENTED, re.MULTILINE), f"docs/exit-codes.md says nothing of {name}"


@pytest.mark.parametrize(
    ("words", "position", "completed"),
    [
        pytest.param("tapioctl exp", 1, ["explain", "export"], id="a command"),
        pytest.param("tapioctl replay --fr", 2, ["--from"], id="an option"),
        pytest.param("tapioctl status -o y", 3, ["yaml"], id="a value"),
    ],
)
def test_bash_completes(words: str, position: int, completed: list[str]) -> None:
    asked = {"_TAPIOCTL_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(position)}
    assert tapioctl(environment=asked).split() == completed


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["plan"], id="an option is missing"),
        pytest.param(["diff", "-1h", "now"], id="an argument is missing"),
        pytest.param(["doctor", "--no-such-option"], id="an option that there is not"),
        pytest.param(["replay", "-o", "xml"], id="a value that there is not"),
        pytest.param(["replay", "--jobs", "-5"], id="fewer than no processes"),
        pytest.param(["explian"], id="a command that there is not"),
    ],
)
def test_a_wrong_option_is_never_taken_for_an_answer(arguments: list[str]) -> None:
    """Exit code 2 says that something would change, differs, or is wrong."""
    command = [str(Path(sys.executable).with_name("tapioctl")), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (64, "")
    assert "Error" in ended.stderr


def test_the_version_is_printed() -> None:
    assert tapioctl("--version", environment={}) == f"tapioctl {importlib.metadata.version('tapio-operator')}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_a_shell_is_printed(shell: str) -> None:
    assert "_TAPIOCTL_COMPLETE" in tapioctl(environment={"_TAPIOCTL_COMPLETE": f"source_{shell}"})


def test_kubectl_completes_as_the_documentation_says(tmp_path: Path) -> None:
    script = re.search(r"```bash\n(#!/bin/sh\n.*?)```", DOCUMENTED, re.DOTALL)
    assert script is not None
    program = tmp_path / "kubectl_complete-tapio"
    program.write_text(script[1])
    program.chmod(0o755)
    beside = Path(sys.executable).parent
    ended = subprocess.run(
        [str(beside / "kubectl"), "__complete", "tapio", "exp"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{beside}:{os.environ['PATH']}"},
    )
    assert ended.stdout.splitlines() == ["explain", "export", ":4"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("history") / "a", recorded_history())


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        pytest.param(["explain"], [f"default/{name}" for name in sorted(NAMES)], id="every TapioCluster"),
        pytest.param(["status", f"default/{NAMES[0][:3]}"], [f"default/{NAMES[0]}"], id="those that begin so"),
        pytest.param(["at", "-10m"], [f"default/{name}" for name in sorted(NAMES)], id="after an instant"),
        pytest.param(
            ["explain", f"default/{NAMES[0]}", f"Deployment/{NAMES[0]}-g"],
            [f"Deployment/{NAMES[0]}-gateway"],
            id="objects of the one named",
        ),
        pytest.param(["explain", "default/none", ""], [], id="objects of one that there is not"),
    ],
)
def test_names_are_completed_from_the_history(words: list[str], completed: list[str], archive: Path) -> None:
    command, *rest = words
    line = ["tapioctl", command, "--from", str(archive), *rest]
    position = len(line) if len(rest) == (1 if command == "at" else 0) else len(line) - 1
    asked = {"_TAPIOCTL_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(line), "COMP_CWORD": str(position)}
    assert tapioctl(environment=asked).split() == completed


def test_where_nothing_can_be_read_nothing_is_offered_and_nothing_said(tmp_path: Path) -> None:
    asked = {"_TAPIOCTL_COMPLETE": "complete_bash", "COMP_WORDS": "tapioctl explain", "COMP_CWORD": "2"}
    command = [str(Path(sys.executable).with_name("tapioctl"))]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **asked}, cwd=tmp_path
    )
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, "", "")
