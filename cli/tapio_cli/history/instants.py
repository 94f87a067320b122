"""Instants as people write them: how long ago, an ISO time, or a revision of the log."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from tapio_cli.history.known import NotInWindow
from tapio_cli.history.printing import moment
from tapio_cli.history.story import Story
from tapio_cli.history.timeline import Event
from tapio_shared.errors import InvalidSettings

_AGO = re.compile(r"-(\d+)(ms|s|m|h|d)", re.ASCII)
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LATEST = 253_402_300_799_000
"""The last second of the year 9999: no later one can be written."""
_REVISION = re.compile(r"@?(\d+)", re.ASCII)


def sequence_at(story: Story, text: str, *, now: int) -> int:
    """The sequence of the last record that was there at `text`: `-10m`, `2026-11-23T14:02:00Z`, or `@1234`.

    InvalidSettings for what is no instant; NotInWindow, with the window, for one that the history does not cover.
    """
    revision = _REVISION.fullmatch(text)
    if revision is not None:
        wanted = int(revision[1])
        if wanted > story.ends or not story.is_complete(lambda one: one.sequence <= wanted):
            raise NotInWindow(_refusal(story, f"@{wanted}"))
        return wanted
    instant = _instant(text, now)
    if instant > max(now, story.last_at) or not story.is_complete(lambda one: one.at <= instant):
        raise NotInWindow(_refusal(story, moment(instant)))
    found = story.newest(lambda one: one.at <= instant)
    return 0 if found is None else found.sequence


def _refusal(story: Story, wanted: str) -> str:
    """That what is `wanted` is outside of the window, and what that is."""
    window = story.window
    if window is None:
        return (
            f"The history of {_name(story)} is complete nowhere: what it began with was dropped from the log, and "
            "nothing has been vouched for since."
        )
    first, last = window
    return (
        f"{wanted} is outside of the window. The history of {_name(story)} is complete from {moment(first.at)} "
        f"(@{first.sequence}) to {moment(last.at)} (@{story.ends})."
    )


@dataclass(frozen=True, slots=True)
class Position:
    """About where in a log an instant is: at a sequence, or at milliseconds since the epoch; 0: not that."""

    sequence: int = 0
    milliseconds: int = 0


def position(text: str, *, now: int) -> Position:
    """Where the instant `text` is. InvalidSettings for what is no instant."""
    revision = _REVISION.fullmatch(text)
    if revision is not None:
        return Position(sequence=int(revision[1]))
    return Position(milliseconds=_instant(text, now))


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From where to where events are shown. What has no place in the log, an admission, goes by its instant."""

    first: int = 0
    since: int = 0
    last: int = 0
    """0 leaves that end open, as does an `until` of 0."""
    until: int = 0
    remark: str = ""
    """What a person should know of what is not shown; empty where that is nothing."""

    def holds(self, event: Event) -> bool:
        """Whether `event` lies in it."""
        begun = event.sequence >= self.first if event.sequence and self.first else event.at >= self.since
        if event.sequence and self.last:
            return begun and event.sequence <= self.last
        return begun and (not self.until or event.at <= self.until)


def span(story: Story, since: str, until: str, *, now: int) -> Span:
    """What `--since` and `--until` mean. As `sequence_at`, but to begin before the history does is to begin with it."""
    first = begin = last = end = 0
    remark = ""
    if since:
        revision = _REVISION.fullmatch(since)
        first = int(revision[1]) if revision is not None else 0
        together = [one for one in (*story.own, *story.shared) if one.sequence >= first]
        begin = min((one.at for one in together), default=now) if first else _instant(since, now)
        is_complete = story.is_complete(lambda one: one.sequence <= first if first else one.at <= begin)
        window = None if is_complete else story.window
        if window is not None:
            begins = f"{moment(window[0].at)} (@{window[0].sequence})"
            remark = f"The history of {_name(story)} is complete from {begins} on, and not before."
    if until:
        last = sequence_at(story, until, now=now)
        is_revision = _REVISION.fullmatch(until) is not None
        newest = story.newest(lambda one: one.sequence <= last)
        end = 0 if newest is None else newest.at
        if not is_revision:
            last, end = 0, _instant(until, now)
        if since and begin > end:
            raise InvalidSettings(f"--since {since} is later than --until {until}: nothing lies between. Swap them.")
    return Span(first=first, since=begin, last=last, until=end, remark=remark)


def _name(story: Story) -> str:
    return f"{story.key.namespace}/{story.key.name}"


def _instant(text: str, now: int) -> int:
    """Milliseconds since the epoch; what lies before that, or beyond what can be written, is its nearest end."""
    return min(max(_unbounded(text, now), 1), _LATEST)


def _unbounded(text: str, now: int) -> int:
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
