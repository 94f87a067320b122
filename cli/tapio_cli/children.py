"""Child processes of `tapioctl run`: started, watched, and ended together."""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tapio_shared.errors import TapioError
from tapio_shared.subprocesses import die_with_parent

_GRACE = 10.0
_TAIL = 2_000


class ChildFailedError(TapioError):
    """A process that should go on running ended, or did not become ready."""


@dataclass(slots=True)
class Child:
    """One running process and where its output goes."""

    name: str
    process: Process
    log: Path

    def tail(self) -> str:
        """The end of its output."""
        return self.log.read_text(errors="replace")[-_TAIL:]


@dataclass(slots=True)
class Children:
    """All processes of one run, in the order in which they were started."""

    logs: Path
    running: list[Child] = field(default_factory=list[Child])

    async def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start `command`; its output goes to `<logs>/<name>.log`."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                env=dict(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        child = Child(name, process, log)
        self.running.append(child)
        return child

    async def until_one_ends(self) -> Child:
        """Wait until any process ends; none is meant to."""
        waits = {asyncio.create_task(child.process.wait(), name=child.name): child for child in self.running}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return waits[done.pop()]
        finally:
            for task in waits:
                task.cancel()

    async def stop(self) -> None:
        """End all processes, the last started first, politely and then not."""
        for child in reversed(self.running):
            if child.process.returncode is None:
                with suppress(ProcessLookupError):
                    child.process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(_GRACE):
                    await child.process.wait()
            except TimeoutError:
                with suppress(ProcessLookupError):
                    child.process.kill()
                await child.process.wait()
        self.running.clear()


async def wait_for_line(child: Child, start: str, *, seconds: float) -> str:
    """The rest of the first line of a child's output that begins with `start`."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                for line in child.log.read_text(errors="replace").splitlines():
                    if line.startswith(start):
                        return line.removeprefix(start).strip()
                _still_running(child)
                await asyncio.sleep(0.05)
    except TimeoutError as err:
        raise ChildFailedError(f"{child.name} did not start within {seconds:g} s. Its output:\n{child.tail()}") from err


async def wait_until_ready(child: Child, ports_file: Path, *, seconds: float) -> dict[str, int]:
    """The ports of a service, once its /readyz answers 200."""
    answer = ""
    try:
        async with asyncio.timeout(seconds):
            while True:
                _still_running(child)
                if ports_file.exists():
                    ports: dict[str, int] = json.loads(ports_file.read_text())
                    ready, answer = await asyncio.to_thread(_readyz, ports["health"])
                    if ready:
                        return ports
                await asyncio.sleep(0.1)
    except TimeoutError as err:
        raise ChildFailedError(
            f"{child.name} was not ready within {seconds:g} s ({answer.strip()}). Its output:\n{child.tail()}"
        ) from err


def _still_running(child: Child) -> None:
    if child.process.returncode is not None:
        raise ChildFailedError(f"{child.name} ended with code {child.process.returncode}. Its output:\n{child.tail()}")


def _readyz(port: int) -> tuple[bool, str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as response:
            return True, response.read().decode()
    except (URLError, OSError) as err:
        return False, str(err)
