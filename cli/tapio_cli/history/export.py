"""`tapioctl export`: the log, as it is now, in one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tapio_cli.history.archive import ArchiveWriter, Header, Stream
from tapio_cli.history.source import Recorded

_FACTS = "tapio.log.>"


async def export(
    recorded: Recorded,
    path: Path,
    *,
    now: int,
    operator_version: str,
    progress: Callable[[float], None] | None = None,
) -> int:
    """Write what is recorded, up to this moment, to `path`; answers how many messages that is.

    Epochs and cursors are left out: they say who may write and where a watch goes on, and nothing of what happened.
    """
    info = await recorded.info()
    header = Header(
        made_at=now,
        operator_version=operator_version,
        stream=Stream(
            created_at=info.created_at,
            first_sequence=info.first_sequence,
            last_sequence=info.last_sequence,
            max_age=info.max_age,
            partitions=info.partitions,
        ),
    )
    length = max(info.last_sequence - info.first_sequence + 1, 1)
    with ArchiveWriter(path, header) as writer:
        messages = recorded.read(_FACTS, from_sequence=max(info.first_sequence, 1), up_to=info.last_sequence)
        async for message in messages:
            writer.add(message)
            if progress is not None and writer.messages % 1_000 == 0:
                progress((message.sequence - info.first_sequence) / length)
        return writer.messages
