"""How often one object and one key may be told: bursts are free, storms are thinned. Pure: time is a parameter.

A wait is a reservation: whoever asks later waits longer, so nobody has to ask twice. What waits is replaced by what is
newer, so a storm costs its rate and its last word is never lost.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
_PRUNE_ABOVE = 4_096


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, then `per_second`."""

    burst: float
    per_second: float


OBJECT_RATE = Rate(burst=20, per_second=1)
"""A workload that rolls out says some ten things; one that flaps for a day says 86,400 and not millions."""
KEY_RATE = Rate(burst=300, per_second=10)
"""A TapioCluster that is created or deleted changes some hundred objects at once."""


class Buckets(Generic[K]):
    """One token bucket per name; a bucket that is full again takes no memory."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._buckets: dict[K, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def reserve(self, name: K, now: float) -> float:
        """Take a token of `name`; answers the seconds to wait until it is there."""
        tokens = self._tokens(name, now) - 1
        self._buckets[name] = (tokens, now)
        if len(self._buckets) > _PRUNE_ABOVE:
            self._prune(now)
        return max(0.0, -tokens / self._rate.per_second)

    def _tokens(self, name: K, now: float) -> float:
        tokens, since = self._buckets.get(name, (self._rate.burst, now))
        return min(self._rate.burst, tokens + (now - since) * self._rate.per_second)

    def _prune(self, now: float) -> None:
        full = [name for name in self._buckets if self._tokens(name, now) >= self._rate.burst]
        for name in full:
            del self._buckets[name]
