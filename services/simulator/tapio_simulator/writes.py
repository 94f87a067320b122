"""The record of every write that reached the API, kept as the tests' oracle.

Filled by the request handler alone, before faults and before anything is decided, so it shares no code with what the
operator believes it did.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Write:
    """One mutating request. `version` is 0 when nothing was stored (refused, dry run, or without effect)."""

    verb: str
    """create, update, patch, apply, delete or deletecollection."""
    resource: str
    namespace: str
    name: str
    subresource: str
    user: str
    field_manager: str
    at: int
    """Milliseconds since the epoch."""
    status: int
    version: int
    dry_run: bool

    @property
    def effective(self) -> bool:
        """Whether the request changed what is stored."""
        return self.version != 0


class WriteLog:
    """The last `limit` writes, oldest first."""

    def __init__(self, limit: int = 1_000_000) -> None:
        self._writes: deque[Write] = deque(maxlen=limit)
        self.total = 0

    def record(self, write: Write) -> None:
        self._writes.append(write)
        self.total += 1

    def __iter__(self) -> Iterator[Write]:
        return iter(self._writes)

    def __len__(self) -> int:
        return len(self._writes)

    def since(self, mark: int) -> list[Write]:
        """Writes recorded after `total` was `mark`."""
        wanted = self.total - mark
        return list(self._writes)[-wanted:] if wanted > 0 else []

    def of(self, *, resource: str | None = None, verb: str | None = None, user: str | None = None) -> list[Write]:
        """Writes that match everything given."""
        return [
            write
            for write in self._writes
            if (resource is None or write.resource == resource)
            and (verb is None or write.verb == verb)
            and (user is None or write.user == user)
        ]
