"""A seeded run of the simulated cluster is the same every time, in every process: a failure can be looked at again."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]


async def _run(seed: int, hash_seed: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.repeated_moves",
        str(seed),
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return msgspec.json.decode(output.splitlines()[-1], type=list[str])  # log lines come before


async def test_the_same_seed_gives_the_same_writes_whatever_the_order_of_hashing() -> None:
    first, second, other = await asyncio.gather(_run(1, "0"), _run(1, "4711"), _run(2, "0"))

    assert len(first) > 200
    assert first == second
    assert first != other
