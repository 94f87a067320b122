"""`tapio-simulator` as its own process: ready with controllers, and gone on a signal, even with watches open."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

import pytest

from tapio_shared.adapters.kube_http import HttpKube
from tapio_shared.json import int_at
from tests.support.eventually import eventually
from tests.support.kube_calls import Calls, deployment


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminated"])
async def test_serves_until_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tapio_simulator",
        "--data",
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            line = (await process.stdout.readline()).decode().split()
        assert line == ["ready", str(tmp_path / "kubeconfig")]
        async with await HttpKube.connect(kubeconfig=line[1]) as kube:
            calls = Calls(kube, "default")
            made = await calls.apply(calls.path("apps/v1", "deployments", "web"), deployment("web", image="nats:2.12"))
            assert made.status == 201, made.message

            async def available() -> bool:
                reply = await calls.get(calls.path("apps/v1", "deployments", "web"))
                return int_at(reply.document, "status", "availableReplicas") == 1

            await eventually(available, seconds=20)
            async with kube.watch(calls.path("v1", "pods"), query={}) as lines:
                await anext(lines)
                process.send_signal(number)
                async with asyncio.timeout(10):
                    assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_answers_later_when_told_to(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tapio_simulator", "--data", str(tmp_path), "--no-controllers", "--latency", "0.3"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            line = (await process.stdout.readline()).decode().split()
        async with await HttpKube.connect(kubeconfig=line[1]) as kube:
            calls, began = Calls(kube, "default"), time.monotonic()
            assert (await calls.get(calls.path("v1", "configmaps", "absent"))).status == 404
            assert time.monotonic() - began >= 0.3
    finally:
        process.kill()
        await process.wait()
