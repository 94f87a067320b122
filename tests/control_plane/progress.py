"""Named steps of a long build: shown while they run, remembered when done, explained when they fail."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from rich.console import Console

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.subprocesses import die_with_parent

_HEARTBEAT = 20.0
_LOG_TAIL = 2_000


class BuildFailed(Exception):
    """A step failed; the message names the command, the exit code and the log."""


class Progress:
    """Runs commands in steps. What they print goes to `log`; a step that was done before is passed over."""

    def __init__(self, console: Console, log: Path, done: Path, held: int, total: int) -> None:
        """`done` is a folder of marks; `held` a lock's file descriptor, which every command inherits."""
        self._console, self._log, self._done, self._held, self._total = console, log, done, held, total
        self._number, self._clock = 0, SystemClock()
        done.mkdir(parents=True, exist_ok=True)

    @asynccontextmanager
    async def step(self, title: str, seconds: int) -> AsyncGenerator[bool]:
        """Yields whether the step is still to be done; marks it as done when the body ends without an error."""
        self._number += 1
        label = f"[{self._number}/{self._total}] {title}"
        mark = self._done / f"{self._number}"
        if mark.exists():
            self._say(f"{label}: done before")
            yield False
            return
        self._say(f"{label} (about {seconds} s on two cores)")
        begin = self._clock.monotonic()
        heartbeat = asyncio.create_task(self._beat(label, begin), name="progress")
        try:
            yield True
        finally:
            heartbeat.cancel()
            with suppress(asyncio.CancelledError):
                await heartbeat
        mark.touch()
        self._say(f"{label}: took {self._clock.monotonic() - begin:.0f} s")

    async def run(self, *command: str | Path, cwd: Path, environment: Mapping[str, str] | None = None) -> None:
        """Run a command to its end; `BuildFailed` when it fails. Its process group ends with this call.

        It inherits the build's lock: should this process be killed, no other build begins before it has ended.
        """
        with self._log.open("ab") as output:
            output.write(f"$ {' '.join(map(str, command))}\n".encode())
            output.flush()
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=cwd,
                env=dict(os.environ if environment is None else environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
                pass_fds=[self._held],
                start_new_session=True,
            )
            try:
                code = await process.wait()
            finally:
                if process.returncode is None:  # interrupted
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()
        if code != 0:
            raise BuildFailed(f"{shown(command)} ended with exit code {code}. The end of {self._log}:\n{self._tail()}")

    def _tail(self) -> str:
        return self._log.read_bytes()[-_LOG_TAIL:].decode(errors="replace")

    async def _beat(self, label: str, begin: float) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT)
            self._say(f"{label}: {self._clock.monotonic() - begin:.0f} s")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def shown(command: Sequence[str | Path]) -> str:
    """A command as a person recognises it."""
    text = " ".join(map(str, command))
    return text if len(text) <= 160 else text[:160] + "…"
