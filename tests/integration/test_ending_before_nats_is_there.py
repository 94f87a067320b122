"""A service that waits for NATS ends when it is asked to: a roll-out of one that can't begin is not to take longer."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tapio_shared.adapters.nats_connection import PATIENCE
from tests.support.eventually import eventually


@pytest.mark.parametrize("module", ["tapio_reconciler", "tapio_watcher"])
async def test_a_service_ends_while_it_waits_for_nats(module: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    # Nobody listens on the port of discard.
    environment = {"PATH": os.environ["PATH"], "TAPIO_NAME": "one", "TAPIO_NATS_URL": "nats://127.0.0.1:9"}
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, env=environment, stdout=file, stderr=file
        )

    async def tries() -> bool:
        assert process.returncode is None, output.read_text()
        return "nats error" in output.read_text()

    try:
        await eventually(tries)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE / 3):
            assert await process.wait() == 0
        assert "service ended" in output.read_text()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
