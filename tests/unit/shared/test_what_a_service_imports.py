"""A service carries what it needs: its imports are most of its memory (docs/benchmarks.md)."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from tapio_shared.absence import absent, deferred

_TOLD = """
import importlib, sys
importlib.import_module(sys.argv[1])
print([name for name in sys.argv[2].split(",") if name in sys.modules])
"""
NOBODY = (
    "jsonschema",
    "kubernetes_asyncio.client",
    "opentelemetry.exporter",
    "opentelemetry.sdk",
    "pygments",
    "requests",
    "rich",
    "typer",
    "urllib3",
)
"""kubernetes-asyncio's models take 35 MB, an exporter of spans 15, colours for a terminal 3, urllib3 1.5."""


@pytest.mark.parametrize(
    ("service", "without", "needed"),
    [
        pytest.param(
            "tapio_watcher",
            ("cryptography", "tapio_shared.api.cluster", "tapio_shared.api.kubernetes_types"),
            "tapio_watcher.watcher",
            id="watcher",
        ),
        pytest.param("tapio_reconciler", ("cryptography",), "tapio_reconciler.shell.worker", id="reconciler"),
        pytest.param("tapio_webhook", (), "tapio_shared.certificates", id="webhook"),
        pytest.param(
            "tapio_streams", ("aiohttp.web", "cryptography", "kubernetes_asyncio"), "nats", id="the making of streams"
        ),
    ],
)
def test_a_service_does_without(service: str, without: tuple[str, ...], needed: str) -> None:
    command = [sys.executable, "-c", _TOLD, f"{service}.__main__", ",".join([*NOBODY, *without, needed])]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout == f"['{needed}']\n"


def test_an_absent_module_can_be_imported_afterwards() -> None:
    sys.modules.pop("colorsys", None)
    with absent("colorsys"), pytest.raises(ModuleNotFoundError):
        importlib.import_module("colorsys")
    assert importlib.import_module("colorsys").rgb_to_hsv(0, 0, 0) == (0.0, 0, 0)


def test_a_deferred_module_is_imported_when_something_is_asked_of_it() -> None:
    sys.modules.pop("colorsys", None)
    with deferred("colorsys"):
        stand_in = importlib.import_module("colorsys")
    assert "colorsys" not in sys.modules
    assert stand_in.rgb_to_hsv(0, 0, 0) == (0.0, 0, 0)
    assert "colorsys" in sys.modules


def test_a_kubeconfig_may_hold_a_password() -> None:
    code = """
import asyncio, sys
from tapio_shared.adapters.kubernetes_configuration import Configuration
configuration = Configuration()
before = "urllib3" in sys.modules
configuration.username, configuration.password = "ann", "secret"
print(before, configuration.get_basic_auth_token())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False Basic YW5uOnNlY3JldA==\n"
