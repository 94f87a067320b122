"""Which log this is: its creation time and how far it was seen, so that a lost or shortened one is noticed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tapio_shared.facts import Record, Synced
from tapio_shared.ports import LogInfo


@dataclass(frozen=True, slots=True)
class Remembered:
    """The log as this process last saw it."""

    created_at: str
    last_sequence: int
    lost: str = ""
    """Why it is not what it was, as a sentence, where that was found while it was in use."""


def went_backwards(remembered: Remembered | None, info: LogInfo) -> str:
    """Why the log is not the one that was seen, as a sentence; empty when it is."""
    if remembered is None:
        return ""
    if info.created_at != remembered.created_at:
        return f"The stream was made anew at {info.created_at}; everything is observed again."
    if info.last_sequence < remembered.last_sequence:
        return (
            f"The stream ends at {info.last_sequence} and {remembered.last_sequence} was seen; "
            "everything is observed again."
        )
    return remembered.lost


def generation_of(info: LogInfo, told: Record | None, *, backwards: bool, now: int) -> str:
    """The generation that the observation belongs to: what the log's own `Synced` says, unless it is of another log.

    `told` is the last `Synced` of the log. A new generation begins with a new stream and after it went backwards.
    """
    if not backwards and isinstance(told, Synced) and told.generation.startswith(f"{info.created_at}/"):
        return told.generation
    return f"{info.created_at}/{now}"
