"""A question to the history imports what it needs and nothing that takes long: it is to be answered within a second."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.operator_in_process import NAMES
from tests.support.recorded_histories import recorded_history, write_archive

_TOLD = """
import sys
from tapio_cli.__main__ import app
try:
    app(sys.argv[2:])
finally:
    print([name for name in sys.argv[1].split(",") if name in sys.modules])
"""
PLANNER, MODELS = "tapio_reconciler.core.planning", "tapio_shared.api.cluster"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("history") / "a", recorded_history())


@pytest.mark.parametrize(
    ("arguments", "without"),
    [
        pytest.param(["at", "now"], [PLANNER, MODELS, "aiohttp", "cryptography", "nats", "yaml"], id="at"),
        pytest.param(["explain"], [PLANNER, "aiohttp", "cryptography", "nats"], id="explain"),
        pytest.param(["history"], [PLANNER, MODELS, "aiohttp", "cryptography", "nats", "yaml"], id="history"),
    ],
)
def test_a_question_does_without(arguments: list[str], without: list[str], archive: Path) -> None:
    asked = [*arguments, f"default/{NAMES[0]}", "--from", str(archive), "-o", "json"]
    command = [sys.executable, "-c", _TOLD, ",".join([*without, "tapio_cli.history.story"]), *asked]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "['tapio_cli.history.story']"


def test_a_connection_to_nats_does_without_aiohttp() -> None:
    code = """
import sys
from tapio_shared.absence import absent
with absent("aiohttp"):
    import tapio_shared.adapters.nats_log
print("aiohttp" in sys.modules, "nats" in sys.modules)
import aiohttp
print(aiohttp.ClientSession.__name__)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == ["False True", "ClientSession"]
