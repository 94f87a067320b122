"""A short run of both campaigns for every change; the whole of each as a campaign."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


async def _run(module: str, *arguments: str, seconds: float) -> str:
    """The output of a campaign's command, which says by its exit status whether anything failed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"tests.campaign.{module}",
        *arguments,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(seconds):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_some_of_sieves_cases_end_as_if_nothing_had_happened() -> None:
    arguments = ("--scenario", "off-and-on", "--every", "19", "--jobs", "1")
    output = await _run("sieve", *arguments, seconds=240)
    assert re.search(
        r"^Sieve: \d+ cases \(intermediate \d+, stale \d+, unobserved \d+\), 0 failed\.$", output, re.MULTILINE
    )
    assert int(re.findall(r"^Sieve: (\d+) cases", output, re.MULTILINE)[0]) >= 6


async def test_some_of_actos_sequences_end_as_fresh_deployments_do() -> None:
    output = await _run("acto", "--fields", "2", "--sequences", "2", "--jobs", "1", seconds=240)
    assert re.search(r"^Acto: 2 sequences, \d+ transitions .*, 0 sequences failed;", output, re.MULTILINE)


@pytest.mark.campaign
@pytest.mark.timeout(7_200)
async def test_campaign_all_of_sieves_cases() -> None:
    await _run("sieve", seconds=7_000)


@pytest.mark.campaign
@pytest.mark.timeout(7_200)
async def test_campaign_all_of_actos_sequences() -> None:
    await _run("acto", seconds=7_000)
