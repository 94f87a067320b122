"""One service of the operator as a real process of its own: started, killed, stopped in its tracks, started again."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import aiohttp

from tapio_shared.subprocesses import die_with_parent
from tests.support.eventually import eventually

_START = 60.0
_GRACE = 15.0
_TAIL = 4_000


class ServiceEndedError(RuntimeError):
    """A service ended although it should go on running."""


class ServiceProcess:
    """`python -m <module>`. The log is appended to over all lives of the process."""

    def __init__(
        self,
        name: str,
        module: str,
        *,
        folder: Path,
        environment: Mapping[str, str],
        arguments: tuple[str, ...] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name, self._module, self._arguments = name, module, arguments
        self.log = folder / f"{name}.log"
        self._ports = folder / f"{name}.ports"
        self._environment = {**environment, "TAPIO_PORTS_FILE": str(self._ports)}
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 while none runs."""
        return 0 if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start it; `until_ready` or `until_line` waits for it."""
        self._ports.unlink(missing_ok=True)
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self._module,
                *self._arguments,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    async def until_ready(self) -> None:
        """Wait until /readyz answers 200."""
        await eventually(self._is_ready, seconds=_START)

    async def until_line(self, start: str) -> str:
        """Wait for a line of output that begins with `start`; answers the rest of it."""
        found = ""

        async def printed() -> bool:
            nonlocal found
            self._check()
            lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.startswith(start)]
            found = lines[-1].removeprefix(start).strip() if lines else ""
            return bool(lines)

        await eventually(printed, seconds=_START)
        return found

    async def metrics(self) -> str:
        """What /metrics says now."""
        return (await self._get("metrics", "/metrics"))[1]

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, as Kubernetes does it; kill -9 after a while."""
        await self._end(signal.SIGTERM)

    def send_signal(self, number: signal.Signals) -> None:
        """Any other signal, such as SIGSTOP and SIGCONT."""
        if self._process is not None:
            self._process.send_signal(number)

    def tail(self) -> str:
        """The end of its output, under its name."""
        text = self.log.read_text(errors="replace")[-_TAIL:] if self.log.exists() else ""
        return f"--- {self.name} ---\n{text}"

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            async with asyncio.timeout(_GRACE):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _is_ready(self) -> bool:
        self._check()
        if not self._ports.exists():
            return False
        try:
            return (await self._get("health", "/readyz"))[0] == 200
        except (aiohttp.ClientConnectionError, TimeoutError):
            return False

    async def _get(self, port: str, path: str) -> tuple[int, str]:
        ports: dict[str, int] = json.loads(self._ports.read_text())
        limit = aiohttp.ClientTimeout(total=5)
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.get(f"http://127.0.0.1:{ports[port]}{path}") as response,
        ):
            return response.status, await response.text()

    def _check(self) -> None:
        if self._process is None or self._process.returncode is not None:
            raise ServiceEndedError(f"{self.name} ended. Its output:\n{self.tail()}")
