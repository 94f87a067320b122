"""Instants as people write them: how long ago, an ISO time, or a revision of the log."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from tapio_cli.history.printing import moment
from tapio_cli.history.story import NotInWindow, Story
from tapio_shared.errors import InvalidSettings

_AGO = re.compile(r"-(\d+)(ms|s|m|h|d)", re.ASCII)
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_REVISION = re.compile(r"@?(\d+)", re.ASCII)


def sequence_at(story: Story, text: str, *, now: int) -> int:
    """The sequence of the last record that was there at `text`: `-10m`, `2026-11-23T14:02:00Z`, or `@1234`.

    InvalidSettings for what is no instant; NotInWindow, with the window, for one that the history does not cover.
    """
    window = story.window
    if window is None:
        raise NotInWindow(
            f"The history of {story.key} is complete nowhere: what it began with was dropped from the log, and nothing "
            "has been vouched for since."
        )
    first, last = window
    bounds = (
        f"The history of {story.key} is complete from {moment(first.at)} (@{first.sequence}) to {moment(last.at)} "
        f"(@{story.ends})."
    )
    revision = _REVISION.fullmatch(text)
    if revision is not None:
        wanted = int(revision[1])
        if not first.sequence <= wanted <= story.ends:
            raise NotInWindow(f"@{wanted} is outside of it. {bounds}")
        return wanted
    instant = _instant(text, now)
    if instant < first.at or instant > max(now, last.at):
        raise NotInWindow(f"{moment(instant)} is outside of it. {bounds}")
    return max(one.sequence for one in (first, *story.own, *story.shared) if one.at <= instant)


def _instant(text: str, now: int) -> int:
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now - int(ago[1]) * _MILLISECONDS[ago[2]]
    if text == "now":
        return now
    try:
        found = datetime.fromisoformat(text)
    except ValueError as err:
        raise InvalidSettings(
            f"{text!r} is no instant; write how long ago (-10m, -2h, -1d), a time (2026-11-23T14:02:00Z), a revision "
            "(@1234) or now."
        ) from err
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
