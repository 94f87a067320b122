"""`make run` as a newcomer uses it: one terminal runs it, another types what it says, Ctrl-C leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

import psutil
import pytest

from tapio_shared.json import JsonObject, objects_at, str_at
from tests.support.operator_run import ROOT

_KUBECTL = ROOT / ".venv" / "bin" / "kubectl"
_SET_UP = ".venv/.installed"
_GONE_WITHIN = 20.0


class Terminal:
    """A terminal in which `make run` runs in the foreground."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.lines: list[str] = []

    def until(self, start: str) -> str:
        """Read on to the first line that begins with `start`."""
        for line in cast("IO[str]", self._process.stdout):
            self.lines.append(line)
            if line.startswith(start):
                return line
        raise AssertionError(f"The output ended without a line that begins with {start!r}:\n{''.join(self.lines)}")

    def rest(self) -> str:
        """Read to the end; answers everything that was printed."""
        self.lines.extend(cast("IO[str]", self._process.stdout))
        self._process.wait(_GONE_WITHIN)
        return "".join(self.lines)

    def processes(self) -> list[psutil.Process]:
        """`make` and everything below it."""
        top = psutil.Process(self._process.pid)
        return [top, *top.children(recursive=True)]

    def press_ctrl_c(self) -> None:
        """What the terminal driver does: SIGINT for the whole foreground process group."""
        os.killpg(self._process.pid, signal.SIGINT)

    @property
    def code(self) -> int | None:
        return self._process.returncode


@contextmanager
def make(*arguments: str) -> Generator[Terminal]:
    """`make <arguments>` in its own process group. The set-up is taken as done: these tests run inside it."""
    command = ["make", "--old-file", _SET_UP, "--no-print-directory", *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "MAKEFLAGS")}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield Terminal(process)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def kubectl(kubeconfig: str, *arguments: str) -> str:
    """kubectl as a person calls it who has typed the `export KUBECONFIG=…` that was printed."""
    answer = subprocess.run(
        [_KUBECTL, *arguments],
        cwd=ROOT,
        env={**os.environ, "KUBECONFIG": kubeconfig},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, f"kubectl {' '.join(arguments)}: {answer.stderr}"
    return answer.stdout


def test_a_newcomer_tries_the_operator_and_stops_it(tmp_path: Path) -> None:
    """In a folder that has to be quoted in a shell, as a person's home on a Mac may have to be."""
    directory = tmp_path / "a folder"
    with make("run", f"DIRECTORY={directory}") as terminal:
        said = re.search(r"(KUBECONFIG=.+)", terminal.until("ready"))
        assert said is not None
        (setting,) = shlex.split(said[1])
        kubeconfig = setting.removeprefix("KUBECONFIG=")

        kubectl(kubeconfig, "apply", "-f", "examples/development.yaml")
        kubectl(kubeconfig, "wait", "--for=condition=Ready", "tapiocluster/dev", "--timeout=90s")

        header, row = kubectl(kubeconfig, "get", "tpc").splitlines()
        assert header.split() == ["NAME", "PROFILE", "VERSION", "READY", "PHASE", "COMPONENTS", "AGE"]
        assert row.split()[:6] == ["dev", "development", "v0.1.0", "True", "Ready", "6/6"]
        described = kubectl(kubeconfig, "describe", "tapiocluster", "dev")
        assert re.search(r"Normal\s+AllReady\s", described), described
        events = cast("JsonObject", json.loads(kubectl(kubeconfig, "get", "events", "-o", "json")))
        listed = kubectl(kubeconfig, "get", "events", "--sort-by=.lastTimestamp", "-o", "name").split()
        times = {
            f"event/{str_at(one, 'metadata', 'name')}": str_at(one, "lastTimestamp")
            for one in objects_at(events, "items")
        }
        assert set(listed) == set(times)
        assert [times[name] for name in listed] == sorted(times.values())

        kubectl(kubeconfig, "delete", "-f", "examples/development.yaml", "--timeout=60s")
        assert kubectl(kubeconfig, "get", "deployments,statefulsets", "-A", "-l", "tapio.io/cluster=dev") == ""

        running = terminal.processes()
        names = {name for one in running for name in one.cmdline() if name.startswith("tapio_")}
        assert names == {"tapio_simulator", "tapio_watcher", "tapio_webhook", "tapio_reconciler"}
        _connects_as_itself(running, directory)
        terminal.press_ctrl_c()
        assert "stopped." in terminal.rest()
        _, left = psutil.wait_procs(running, timeout=_GONE_WITHIN)
        assert left == []


def _connects_as_itself(running: list[psutil.Process], directory: Path) -> None:
    """Every service was given the file of its own NATS user, which nobody else can read; nothing else is let in."""
    used = {
        (module.replace("_", "-"), one.environ()["TAPIO_NATS_CREDENTIALS"])
        for one in running
        for module in one.cmdline()
        if module in {"tapio_watcher", "tapio_webhook", "tapio_reconciler"}
    }
    users = directory.resolve() / "nats" / "users"
    assert used == {
        (name, str(users / f"{name}.json")) for name in ("tapio-watcher", "tapio-webhook", "tapio-reconciler")
    }
    assert {path.stat().st_mode & 0o777 for path in (*users.iterdir(), users.parent / "nats.conf")} == {0o600}
    assert "iolation" not in (users.parent / "nats.log").read_text()


def test_a_run_ends_when_its_nats_server_does(tmp_path: Path) -> None:
    with make("run", f"DIRECTORY={tmp_path}") as terminal:
        terminal.until("ready")
        (server,) = [one for one in terminal.processes() if "nats-server" in Path(one.exe()).name]
        server.kill()
        output = terminal.rest()

    assert terminal.code == 2, output  # as make ends when its command has failed
    assert f"nats-server ended with code -9. Its output is in {tmp_path}/nats/nats.log." in output.replace("\n", "")


@pytest.mark.parametrize("example", [pytest.param("production", id="production")])
def test_an_example_is_shown_becoming_ready(tmp_path: Path, example: str) -> None:
    with make("run", f"DIRECTORY={tmp_path}", f"EXAMPLE=examples/{example}.yaml", "ONCE=1") as terminal:
        output = terminal.rest()

        assert terminal.code == 0, output
        assert f"TapioCluster default/{example} is Ready." in output
