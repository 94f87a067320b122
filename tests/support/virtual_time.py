"""An event loop whose time jumps to the next timer when nothing else is to be done: minutes of waiting take no time.

For code in this process alone: with a socket or a thread in play, time would run ahead of it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import TypeVar

T = TypeVar("T")
_START = 1_790_000_000_000


class _NoWait(selectors.SelectSelector):
    """Never waits; tells how long it was asked to."""

    def __init__(self, passed: Callable[[float], None]) -> None:
        super().__init__()
        self._passed = passed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            if timeout is None:
                raise RuntimeError("Everything waits and no timer is set: a deadlock.")
            self._passed(max(timeout, 0.0))
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop."""

    def __init__(self) -> None:
        self._elapsed = 0.0
        super().__init__(_NoWait(self._pass))

    def time(self) -> float:
        return self._elapsed

    def _pass(self, seconds: float) -> None:
        self._elapsed += seconds


class VirtualClock:
    """`ports.Clock` on the running loop's time."""

    def now(self) -> int:
        return _START + int(self.monotonic() * 1000)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def run_virtually(main: Coroutine[None, None, T]) -> T:
    """`asyncio.run` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
