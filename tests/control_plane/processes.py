"""Child processes of a control plane that can't outlive the test that started them.

Each runs in a process group of its own, which is killed as a whole, and asks Linux to be killed when the thread that
started it dies (PR_SET_PDEATHSIG): a test run ended by SIGKILL leaves nothing behind. Hence start them on the main
thread. `subprocess` rather than asyncio's processes: a session-wide control plane outlives the event loop of a test,
and asyncio's processes belong to one loop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tapio_shared.subprocesses import die_with_parent

_LOG_TAIL = 3_000


class StartFailed(Exception):
    """A program ended, or was not ready in time; the message holds the end of its log."""


class PortTaken(StartFailed):
    """Somebody else bound the port between choosing and using it; worth another try with other ports."""


class Program:
    """One program with its log file; may be started again after it ended."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path) -> None:
        self.name, self.log = name, log
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id, 0 when it is not running."""
        return self._process.pid if self._process is not None and self.running else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the program in the background; returns before it is ready."""
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.log.parent)}
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,  # without the proxies of the machine: everything here is on loopback
                preexec_fn=die_with_parent,
                start_new_session=True,
            )

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole process group, such as SIGSTOP and SIGCONT."""
        if self._process is not None and self.running:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def stop(self, *, grace: float = 5.0) -> None:
        """End the process group: SIGTERM, and SIGKILL after `grace` seconds; at once when `grace` is 0."""
        if grace > 0 and self._process is not None:
            self.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, grace)
        self.kill()

    def kill(self) -> None:
        """End the process group at once, and wait for it."""
        self.send_signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def check(self) -> None:
        """Raise when the program has ended by itself."""
        if self.running:
            return
        code = "never" if self._process is None else f"with exit code {self._process.returncode}"
        kind = PortTaken if "address already in use" in self.log_tail() else StartFailed
        raise kind(f"{self.name} ended {code}. The end of {self.log}:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The last lines of the log, as far as they help a reader."""
        return self.log.read_text(errors="replace")[-_LOG_TAIL:] if self.log.exists() else "(no log)"
