"""Where a history comes from: a live log, or an archive of one. Every command reads through this and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Set
from dataclasses import dataclass
from typing import Protocol

from tapio_shared.ports import AsOf, LogInfo, Message, View


class Recorded(Protocol):
    """Recorded messages in one order. `ports.EventLog` is one, and so is an archive."""

    def read(self, filter_subject: str, *, from_sequence: int = 1, up_to: int) -> AsyncIterator[Message]:
        """Every message that matches, in order, up to and including `up_to`; see `ports.EventLog.read`."""
        ...

    async def last_per_subject(self, *filters: str, at_least: int = 0) -> View:
        """The last message of every subject that matches any of `filters`; see `ports.EventLog.last_per_subject`."""
        ...

    async def earliest(self, filter_subject: str, *, from_sequence: int = 1, written_from: int = 0) -> Message | None:
        """The first message that matches from there on; see `ports.BrowsableLog.earliest`."""
        ...

    async def as_of(self, filter_subject: str, sequence: int, *, but: Set[str] = frozenset()) -> AsOf:
        """What stood last at `sequence`, as far as that can be told; see `ports.BrowsableLog.as_of`."""
        ...

    async def info(self) -> LogInfo: ...


@dataclass(frozen=True, slots=True)
class Sources:
    """The log, and the webhook's answers where they can be read."""

    log: Recorded
    admitted: Recorded | None
    workers: Callable[[], Awaitable[tuple[str, ...] | None]] | None = None
    """Asks who works now; None where nobody can be asked, and so is an answer that could not be had."""


class Streams(Protocol):
    """The streams that hold a history, to be made anew: `import` and `erase` alone do that."""

    async def info(self, stream: str) -> LogInfo | None:
        """The stream, or None when there is none of that name."""
        ...

    async def replace(
        self,
        stream: str,
        former: LogInfo,
        messages: Callable[[], AsyncIterator[Message]],
        *,
        keep_settings: bool = False,
    ) -> int:
        """Make `stream` of `messages`, with their sequences and time stamps; answers how many those were.

        One of that name is deleted first; `messages` is asked again when it has to be begun anew. It keeps its limits
        with `keep_settings`; otherwise there are none.
        """
        ...
