"""`tapioctl import`: a history as the streams it was, with their sequences and time stamps."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec

from tapio_cli.history.archive import Archive
from tapio_cli.history.source import Recorded, Streams
from tapio_shared.errors import InvalidSettings
from tapio_shared.keys import ADMITTED_STREAM, LOG_STREAM

_EVERYTHING = ">"


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages were restored to which streams."""

    messages: dict[str, int]


async def restore(path: Path, streams: Streams, *, with_users: bool = True, overwrite: bool = False) -> Restored:
    """Restore the archive in `path`.

    `ArchiveError` when it can't be trusted: all of it is read before anything is touched. `InvalidSettings` when a
    stream that holds something would have to go and `overwrite` does not say that it may.
    """
    archive = Archive.open(path)
    for _ in archive.messages():
        pass  # It raises where the file was cut off or changed.
    parts: dict[str, Recorded] = {LOG_STREAM: archive}
    if with_users and archive.admitted is not None:
        parts[ADMITTED_STREAM] = archive.admitted
    for stream in parts:
        present = await streams.info(stream)
        if present is not None and present.messages and not overwrite:
            raise InvalidSettings(
                f"Stream {stream} is there and holds {present.messages} messages up to sequence "
                f"{present.last_sequence}, so nothing was imported. Import into another NATS, or give --overwrite to "
                "delete what it holds."
            )
    restored: dict[str, int] = {}
    for stream, recorded in parts.items():
        info = await recorded.info()
        restored[stream] = await streams.replace(
            stream, info, partial(recorded.read, _EVERYTHING, up_to=info.last_sequence)
        )
    return Restored(messages=restored)
