"""`tapioctl history --follow` on a running operator: what was, and then what comes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys

import pytest

from tapio_shared.json import JsonObject, str_at
from tests.support.e2e_objects import small_cluster
from tests.support.operator_run import OperatorRun

pytestmark = pytest.mark.asyncio(loop_scope="session")


def in_the_background() -> None:
    """Ignore SIGINT, as every command does that a shell script starts with `&`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


async def test_events_are_shown_as_they_come_until_it_is_ended(operator: OperatorRun, namespace: str) -> None:
    await operator.kubernetes.apply(small_cluster("one"), namespace)
    await operator.kubernetes.until_condition("one", "Ready", "True", namespace=namespace)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tapio_cli", "history", f"{namespace}/one", "--follow", "-o", "json"),
        *("--nats-url", operator.nats.url, "--object", "Service"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=in_the_background,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            first: JsonObject = json.loads(await process.stdout.readline())
            assert str_at(first, "text").startswith("appeared")
            await operator.kubernetes.kubectl.run("delete", "service", "one-nats", "-n", namespace)
            async for line in process.stdout:
                told: JsonObject = json.loads(line)
                if str_at(told, "text") == "is gone":
                    break
            else:
                raise AssertionError("the time line ended before the Service was gone")
            assert str_at(told, "about") == f"Service {namespace}/one-nats"
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
