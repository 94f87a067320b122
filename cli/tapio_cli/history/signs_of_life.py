"""Whether a watcher still tells the log of its target: without one, everything that is shown is how it was once."""

from __future__ import annotations

from tapio_cli.history.printing import moment
from tapio_cli.history.source import Recorded
from tapio_shared.codec import decode_record
from tapio_shared.errors import LogRefused, Undecodable
from tapio_shared.facts import CursorMoved
from tapio_shared.keys import escape_token

QUIET = 75 * 60_000
"""Milliseconds. A watcher notes once an hour, for each kind, how far its watch has come (tapio_watcher.cursors)."""


async def silence(recorded: Recorded, target: str, *, now: int) -> str:
    """That nothing has been heard of the watcher of `target` for long, as a sentence; empty where something has, and
    where that can't be told."""
    try:
        told = await recorded.last_per_subject(f"tapio.cursor.{escape_token(target)}.*")
    except LogRefused:
        return ""  # A reader of one namespace may not ask.
    heard = max((_moved_at(one.data) for one in told.messages), default=0)
    if not heard or now - heard < QUIET:
        return ""
    return (
        f"Nothing has been heard since {moment(heard)} of the watcher, which otherwise writes once an hour: what is "
        "told may be long past, and nothing that changes is acted upon."
    )


def _moved_at(data: bytes) -> int:
    try:
        record = decode_record(data)
    except Undecodable:
        return 0
    return record.moved_at if isinstance(record, CursorMoved) else 0
