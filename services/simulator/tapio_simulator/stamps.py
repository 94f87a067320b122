"""Time stamps and UIDs in Kubernetes' forms, from the injected clock and randomness."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime
from functools import lru_cache

from tapio_shared.ports import Random


def timestamp(milliseconds: int) -> str:
    """RFC 3339 with whole seconds, as metav1.Time."""
    return _seconds(milliseconds // 1000)


@lru_cache(maxsize=64)
def _seconds(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> float | None:
    """Seconds since the epoch, or None when `text` is no RFC 3339 time."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def new_uid(random: Random) -> str:
    """A UUID derived from the random port, so that a seeded run gives the same ones."""
    return str(uuid.UUID(bytes=hashlib.blake2b(random.identifier().encode(), digest_size=16).digest(), version=4))
