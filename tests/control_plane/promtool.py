"""promtool from Debian's package `prometheus`, unpacked into the cache; nothing is installed."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from .binaries import cache_folder
from .debian import DebianArchive
from .progress import Progress


async def ensure_promtool(environment: Mapping[str, str], console: Console | None = None) -> Path:
    """The machine's promtool, or one that is fetched once (some 20 MB). Safe to run from several processes at once."""
    found = shutil.which("promtool", path=environment.get("PATH"))
    if found is not None:
        return Path(found)
    target = cache_folder(environment).parent / "prometheus-bookworm"
    program = target / "usr" / "bin" / "promtool"
    if program.exists():
        return program
    work = target.with_name(target.name + ".building")
    work.mkdir(parents=True, exist_ok=True)
    held = os.open(target.with_name(target.name + ".lock"), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not program.exists():  # another process may have fetched it while this one waited
            progress = Progress(console or Console(stderr=True), work / "build.log", work / "done", held, total=1)
            async with progress.step("Downloading promtool from Debian", 15):
                archive = DebianArchive(work / "apt", progress)
                await archive.update()
                await archive.unpack_packages(["prometheus"], work / "unpacked")
            (work / "unpacked").rename(target)
            shutil.rmtree(work)
    finally:
        os.close(held)
    return program
