"""Bad input at the command line ends with a sentence that says what is wrong, where, and what is allowed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from tapio_cli.__main__ import app
from tapio_cli.history.where import CLIENT_FILE
from tests.support.operator_in_process import NAMES
from tests.support.recorded_histories import recorded_history, write_archive

ONE, NOBODY = f"default/{NAMES[0]}", "default/nobody"
NO_TARGET = "Nothing is recorded of a Kubernetes cluster typo (--target). There are: local.\n"
NO_NAMESPACE = "No TapioCluster of namespace no of local is recorded."
OF_ALL = {
    "status": ["status"],
    "doctor": ["doctor"],
    "diagnostics": ["diagnostics", "nowhere"],
    "replay": ["replay"],
    "ui": ["ui", "--port", "0"],
}
OF_ONE = {
    **OF_ALL,
    "history": ["history"],
    "at": ["at", "now"],
    "diff": ["diff", "-1s", "now"],
    "explain": ["explain"],
}
"""Everything that takes CLUSTER, without it."""


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command in this process configures the logs of its process: other tests of it would write to its closed end."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive `good`, one that is cut off, and files of other kinds."""
    made = tmp_path_factory.mktemp("given")
    whole = write_archive(made / "good", recorded_history()).read_bytes()
    (made / "cut").write_bytes(whole[: len(whole) // 2])
    (made / "empty").touch()
    for name, text in (("half", '{"url": "nats://'), ("other", "[1]")):
        client = made / name / CLIENT_FILE
        client.parent.mkdir(parents=True)
        client.write_text(text)
    (made / "pod.yaml").write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n")
    (made / "open.yaml").write_text("a: [\n")
    (made / "key.yaml").write_text("? [a]\n: b\n")
    return made


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["at", "-99999999999999999999h", ONE], "1970-01-01T00:00:00.001Z is outside of", id="long ago"),
        pytest.param(["at", "9999-12-31T23:59:59-12:00", ONE], "9999-12-31T23:59:59.000Z is outside of", id="far on"),
        pytest.param(["at", "ü", ONE], "'ü' is no instant; write how long ago", id="no instant"),
        pytest.param(["at", f"@{'9' * 30}", ONE], f"@{'9' * 30} is outside of the window", id="a huge revision"),
        pytest.param(
            ["history", ONE, "--since", "now", "--until", "-1h"],
            "--since now is later than --until -1h: nothing lies between. Swap them.",
            id="the wrong way round",
        ),
        pytest.param(["status", "a/b/c"], "'a/b/c' names no TapioCluster; write namespace/name", id="no name"),
        pytest.param(["status", "x/ø"], "Nothing is recorded of TapioCluster x/ø of local. There are:", id="unknown"),
        *(
            pytest.param(
                [*arguments, NOBODY], f"Nothing is recorded of TapioCluster {NOBODY} of local. There are:", id=what
            )
            for what, arguments in OF_ONE.items()
        ),
        *(
            pytest.param([*arguments, ONE, "--target", "typo"], NO_TARGET, id=f"{what} of no target")
            for what, arguments in OF_ONE.items()
        ),
        *(
            pytest.param([*arguments, "--target", "typo"], NO_TARGET, id=f"{what} of all of no target")
            for what, arguments in OF_ALL.items()
        ),
        *(
            pytest.param(
                [*OF_ALL[what], "no/"], f"{NO_NAMESPACE} There are some in: default.", id=f"{what} of no namespace"
            )
            for what in ("status", "doctor", "diagnostics")
        ),
        *(
            pytest.param([*OF_ALL[what], "no/", "--target", "typo"], NO_TARGET, id=f"{what} of neither")
            for what in ("status", "doctor", "diagnostics")
        ),
        pytest.param(["replay", ONE, NOBODY], f"Nothing is recorded of TapioCluster {NOBODY}", id="one of two"),
        pytest.param(["plan", "-f", "examples/edge.yaml", "--target", "typo"], NO_TARGET, id="plan for no target"),
    ],
)
def test_a_question_that_has_no_answer(folder: Path, arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, [*arguments, "--from", str(folder / "good")])
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"tapioctl: {said}" in done.stderr


def test_more_than_there_is_may_be_asked_for(folder: Path) -> None:
    done = CliRunner().invoke(app, ["history", ONE, "--since", "-99999999999999h", "--from", str(folder / "good")])
    assert done.exit_code == 0
    assert done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(["status", "--from", "{}/cut"], 1, "{}/cut is cut off in block ", id="an archive that is cut off"),
        pytest.param(["ui", "--from", "{}/cut"], 1, "{}/cut is cut off in block ", id="the same as a page"),
        pytest.param(["status", "--from", "{}/empty"], 1, "{}/empty is no archive of a history", id="an empty archive"),
        pytest.param(["status", "--from", "{}"], 1, "{} is a folder. Name an archive", id="a folder"),
        pytest.param(
            ["status", "--directory", "{}/half"],
            1,
            "{}/half/nats/client.json does not say where the NATS of the run in this folder is: start it again",
            id="a run that was cut off while it began",
        ),
        pytest.param(
            ["status", "--directory", "{}/other"], 1, "{}/other/nats/client.json does not say where", id="no run at all"
        ),
        pytest.param(["export", "{}/no/x", "--directory", "{}"], 1, "No history is named and none is", id="no run"),
        pytest.param(
            ["status", "--nats-url", "nats://h:99999"],
            1,
            "nats://h:99999 can't be an address of NATS: Port out of range 0-65535. Write it like nats://host:4222.",
            id="a port that there is not",
        ),
        pytest.param(
            ["status", "--nats-url", "http://h:4222"],
            1,
            "http://h:4222 can't be an address of NATS: 'http' is none of nats, tls, ws, wss. Write it like nats://host:",
            id="another protocol",
        ),
        pytest.param(
            ["render", "-f", "examples/edge.yaml", "-o", "{}/pod.yaml"],
            2,
            "{}/pod.yaml can't be written: Not a directory.",
            id="a file where a folder belongs",
        ),
        pytest.param(
            ["status", "--nats-url", "nats://[::1"],
            1,
            "nats://[::1 can't be an address of NATS: Invalid",
            id="half an address",
        ),
        pytest.param(
            ["status", "--nats-url", "nats://h", "--nats-credentials", "{}/no"],
            1,
            "The NATS login file {}/no can't be used: ",
            id="no credentials",
        ),
        pytest.param(
            ["reader", "a.*", "--credentials", "{}/reader"],
            1,
            "'a.*' is no namespace; it must be a lower-case DNS label, such as default.",
            id="a namespace with a wildcard",
        ),
        pytest.param(
            ["reader", "a", "--credentials", "{}/reader", "--target", "a.*"],
            1,
            "--target is 'a.*'; it must be a lower-case DNS label, such as local.",
            id="a target with a wildcard",
        ),
        pytest.param(
            ["render", "-f", "{}/pod.yaml"], 2, "There is no TapioCluster in {}/pod.yaml; there is", id="a Pod"
        ),
        pytest.param(
            ["render", "-f", "{}/pod.yaml", "-n", "Ünï"],
            2,
            "--namespace is 'Ünï'; it must be a lower-case DNS label, such as default.",
            id="a namespace that no API server takes",
        ),
        pytest.param(
            ["render", "-f", "{}/open.yaml"],
            2,
            "{}/open.yaml is not valid YAML: while parsing",
            id="a list without end",
        ),
        pytest.param(
            ["plan", "-f", "{}/key.yaml", "--from", "{}/good"],
            1,
            "{}/key.yaml is not valid YAML: while constructing a mapping at line 1, column 1 found unhashable key",
            id="a list for a key",
        ),
        pytest.param(["run", "--example", "{}/no"], 1, "{}/no can't be read: No such file", id="no example"),
        pytest.param(["run", "--example", "{}/open.yaml"], 1, "{}/open.yaml is not valid YAML: ", id="no YAML"),
        pytest.param(["run", "--manifests", "{}"], 1, "{} is not the deploy/ folder", id="no manifests"),
        pytest.param(["run", "--directory", "{}/empty"], 1, "{}/empty can't be read or written: ", id="no folder"),
    ],
)
def test_what_is_named_and_can_not_be_used(folder: Path, arguments: list[str], code: int, said: str) -> None:
    done = CliRunner().invoke(app, [one.format(folder) for one in arguments])
    assert (done.exit_code, done.stdout) == (code, "")
    assert f"tapioctl: {said.format(folder)}" in done.stderr


@pytest.mark.parametrize("command", [["export", "x"], ["import", "x"], ["erase", "x"]], ids=lambda one: one[0])
def test_a_target_can_not_be_named_where_it_would_count_for_nothing(command: list[str]) -> None:
    done = CliRunner().invoke(app, [*command, "--target", "east"])
    assert (done.exit_code, done.stdout) == (2, "")  # 64 in a process of its own: test_help_and_completion.py
    assert "No such option: --target" in done.stderr


def test_a_fault_of_tapioctl_is_a_sentence_and_a_file() -> None:
    program = "from tapio_cli import __main__ as it; it.app = lambda: {}['none']; it.main()"
    done = subprocess.run([sys.executable, "-c", program, "a b"], capture_output=True, text=True, check=False)
    told = re.fullmatch(
        r"tapioctl: This is a fault of tapioctl itself, not of what you typed: KeyError: 'none'\. Please report it "
        r"with what you typed, and ask another way meanwhile\. Its traceback is in (\S+)\.\n",
        done.stderr,
    )
    assert told is not None, done.stderr
    assert (done.returncode, done.stdout) == (70, "")
    file = Path(told[1])
    text = file.read_text()
    file.unlink()
    assert text.startswith("tapioctl 'a b'\n\nTraceback (most recent call last):\n")
    assert text.endswith("KeyError: 'none'\n")


def test_a_reader_that_goes_away_ends_a_command_without_a_word(folder: Path) -> None:
    command = [str(Path(sys.executable).with_name("tapioctl")), "history", ONE, "--from", str(folder / "good")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
