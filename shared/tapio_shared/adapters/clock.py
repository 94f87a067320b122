"""The system's clock: the one place that reads it."""

from __future__ import annotations

import time


class SystemClock:
    """`ports.Clock` on the machine's clocks."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """`ports.Clock` that stands still until told otherwise; `monotonic` follows `now`."""

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        self._now = now

    def now(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return self._now / 1000

    def advance(self, seconds: float) -> None:
        self._now += int(seconds * 1000)
