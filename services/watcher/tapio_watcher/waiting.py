"""What waits to be appended to one subject, and what of it a newer fact replaces. Pure.

The latest observation wins; a deletion of something the log told of is never dropped. At most two entries wait: the end
of the former object and how the present one looks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from opentelemetry.trace import Span

from tapio_watcher.encoding import EncodedFact


@dataclass(slots=True)
class Waiting:
    """One fact that waits.

    `is_stale`: somebody else wrote first, so the object must be read again. `is_read`: that is how it was found.
    """

    fact: EncodedFact
    ticket: int
    told_at: float
    headers: Mapping[str, str]
    span: Span
    refetch: Callable[[], Awaitable[None]] | None = None
    is_awaited: bool = False
    is_stale: bool = False
    is_read: bool = False

    @property
    def is_gone(self) -> bool:
        return self.fact.is_gone

    @property
    def is_read_again(self) -> bool:
        """Whether its object is read again, and what it says is not appended."""
        return self.is_stale and self.refetch is not None

    def end(self) -> None:
        """The fact is durable, or needless."""
        self.span.end()


@dataclass(slots=True)
class Again:
    """The last fact of the subject, to be appended once more by a sweep."""

    ticket: int
    is_stale: bool = False
    is_gone = False
    is_read_again = False

    def end(self) -> None:
        """Nothing hangs on it."""


Entry = Waiting | Again


def merged(queue: list[Entry], entry: Waiting) -> tuple[list[Entry], list[Entry]]:
    """The queue with `entry` at its end, and the entries whose place it took.

    An entry keeps the oldest ticket of those it stands for, so that whoever waits for an older fact waits for it.
    """
    if not queue:
        return [entry], []
    last = queue[-1]
    if last.is_gone and not entry.is_gone:
        return [*queue, entry], []
    kept = queue[:-1]
    last.end()
    if entry.is_gone and kept and kept[-1].is_gone:
        # The present object was never told of, so neither is its end; the former one's is.
        entry.end()
        return kept, [last, entry]
    entry.ticket, last.ticket = last.ticket, entry.ticket
    return [*kept, entry], [last]
