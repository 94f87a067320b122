"""Who a worker is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this worker is, as its decisions and epochs say."""

    worker: str
    operator_version: str
    partitions: int
