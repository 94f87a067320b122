"""Stopping a process so that it has really stopped: SIGSTOP is answered before every thread stands still."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Protocol

from tests.support.eventually import eventually


class Freezable(Protocol):
    @property
    def pid(self) -> int: ...

    def send_signal(self, number: signal.Signals) -> None: ...


async def freeze(process: Freezable) -> None:
    """Send SIGSTOP and wait until no thread runs any more; `send_signal(SIGCONT)` thaws it."""
    process.send_signal(signal.SIGSTOP)

    async def stands_still() -> bool:
        tasks = Path(f"/proc/{process.pid}/task").iterdir()
        # proc(5): the state follows the command's name, which is in parentheses and may hold any character.
        return all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)

    await eventually(stands_still)
