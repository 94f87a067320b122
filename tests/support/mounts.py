"""A small disk: a tmpfs of its own, so that "no space left on device" is the kernel's word and nobody's fake."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

_CAP_SYS_ADMIN = 1 << 21


def cannot_mount() -> bool:
    """Whether this process may mount nothing: it takes root with CAP_SYS_ADMIN, and the command."""
    status = Path("/proc/self/status").read_text()
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    return os.geteuid() != 0 or not effective & _CAP_SYS_ADMIN or shutil.which("mount") is None


@asynccontextmanager
async def small_disk(path: Path, *, megabytes: int) -> AsyncGenerator[Path]:
    """A file system of so many megabytes at `path`; unmounted at the end, with what it holds."""
    path.mkdir(parents=True)
    await _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tapio-test", str(path))
    try:
        yield path
    finally:
        await _run("umount", "--lazy", str(path))


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    if await process.wait() != 0:
        raise OSError(f"{' '.join(command)} failed.")
