"""`tapioctl export`: the log, as it is now, in one file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tapio_cli.history.archive import ArchiveWriter, Header, Stream
from tapio_cli.history.source import Sources
from tapio_shared.admissions import ALL_ADMITTED
from tapio_shared.errors import LogMissing, LogRefused
from tapio_shared.ports import LogInfo

_FACTS = "tapio.log.>"


@dataclass(frozen=True, slots=True)
class Exported:
    """What an archive came to hold; `admissions` is None where the webhook's answers are not in it."""

    messages: int
    admissions: int | None


async def export(
    sources: Sources,
    path: Path,
    *,
    now: int,
    operator_version: str,
    with_users: bool = True,
    progress: Callable[[float], None] | None = None,
) -> Exported:
    """Write what is recorded, up to this moment, to `path`.

    Epochs and cursors are left out: they say who may write and where a watch goes on, and nothing of what happened.
    Users' names are in the webhook's answers alone, which are left out without `with_users`, and where the reader may
    not read them.
    """
    info = await sources.log.info()
    admitted = await _answers(sources) if with_users else None
    header = Header(
        made_at=now,
        operator_version=operator_version,
        stream=_stream(info),
        admitted=None if admitted is None else _stream(admitted),
    )
    length = max(info.last_sequence - info.first_sequence + 1, 1)
    with ArchiveWriter(path, header) as writer:
        if admitted is not None and sources.admitted is not None:
            async for message in sources.admitted.read(ALL_ADMITTED, up_to=admitted.last_sequence):
                writer.add_admission(message)
        messages = sources.log.read(_FACTS, from_sequence=max(info.first_sequence, 1), up_to=info.last_sequence)
        async for message in messages:
            writer.add(message)
            if progress is not None and writer.messages % 1_000 == 0:
                progress((message.sequence - info.first_sequence) / length)
        return Exported(writer.messages, None if admitted is None else writer.admissions)


async def _answers(sources: Sources) -> LogInfo | None:
    """The stream of the webhook's answers, where there is one that may be read."""
    if sources.admitted is None:
        return None
    try:
        return await sources.admitted.info()
    except (LogRefused, LogMissing):
        return None


def _stream(info: LogInfo) -> Stream:
    return Stream(
        created_at=info.created_at,
        first_sequence=info.first_sequence,
        last_sequence=info.last_sequence,
        max_age=info.max_age,
        partitions=info.partitions,
    )
