"""Reading whole partitions when they are taken over: all that wait for it in one pass over the log.

The messages of a partition lie all over the log, and nats-server opens a block of it for each: reading one partition
costs it as much as reading all of them (ADR 0028).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tapio_shared.keys import partition_prefix
from tapio_shared.ports import EventLog, Message

_WORTH_ALL = 8
"""Where no less than one of so many partitions is wanted, all are read, and the others let go by."""


@dataclass(eq=False, slots=True)
class _Wanted:
    """A partition that somebody waits for; `take` is given its last messages in the order of sequences."""

    number: int
    at_least: int
    take: Callable[[Message], None]
    is_read: bool = False


@dataclass(slots=True)
class Takeovers:
    """Shared by the partitions of one worker. Whoever is the first to wait reads for all who wait by then."""

    _waiting: list[_Wanted] = field(default_factory=list[_Wanted])
    _passing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(
        self, event_log: EventLog, number: int, *, of: int, at_least: int, take: Callable[[Message], None]
    ) -> None:
        """Hand the last message of each subject of partition `number` to `take`, complete as of `at_least` or later.

        `of` is how many partitions there are. A message may come twice, and an older one before a newer.
        """
        wanted = _Wanted(number, at_least, take)
        self._waiting.append(wanted)
        try:
            async with self._passing:
                if not wanted.is_read:
                    await _pass(event_log, tuple(self._waiting), of)
        finally:
            self._waiting.remove(wanted)


async def _pass(event_log: EventLog, wanted: Sequence[_Wanted], partitions: int) -> None:
    takes = defaultdict[str, list[_Wanted]](list)
    for one in wanted:
        takes[partition_prefix(one.number)].append(one)
    patterns = ["tapio.log.>"] if len(takes) * _WORTH_ALL >= partitions else [f"{prefix}.>" for prefix in takes]
    at_least = max(one.at_least for one in wanted)
    for pattern in patterns:
        async for message in event_log.each_last(pattern, at_least=at_least):
            end = message.subject.find(".", len("tapio.log."))
            for one in takes.get(message.subject[:end], ()) if end > 0 else ():  # else it is of no partition
                one.take(message)
    for one in wanted:
        one.is_read = True
