"""One TapioCluster's history as the page needs it: numbered marks in lanes, and the state at any instant at once.

A chapter grows while a live log is followed. It answers with the functions that the commands use, on a story that is
cut down to what they look at, so that an instant costs as many records as there are subjects and not all of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tapio_cli.history.story import Record, Story
from tapio_cli.history.timeline import Event, Happened, event_of, event_of_admission, happened
from tapio_cli.history.ui.lanes import Components, is_bad, lanes_of, states_of
from tapio_shared.admissions import Admission
from tapio_shared.facts import Record as Fact


@dataclass(frozen=True, slots=True)
class Mark:
    """One event of the page. Its number is its place in `Chapter.marks`."""

    source: Happened | Admission
    lanes: tuple[str, ...]
    bad: bool

    @property
    def at(self) -> int:
        """When, in milliseconds."""
        return self.source.answered_at if isinstance(self.source, Admission) else self.source.one.at

    @property
    def sequence(self) -> int:
        """Of the log; 0 for an admission."""
        return 0 if isinstance(self.source, Admission) else self.source.one.sequence

    @property
    def what(self) -> str:
        """fact | decision | outcome | timer | admission."""
        return "admission" if isinstance(self.source, Admission) else self.source.what

    def event(self) -> Event:
        """Its line, as `tapioctl history` has it."""
        return event_of_admission(self.source) if isinstance(self.source, Admission) else event_of(self.source)


@dataclass(slots=True)
class _Told:
    """The records of one subject, in order."""

    shared: bool
    sequences: list[int] = field(default_factory=list[int])
    records: list[Record] = field(default_factory=list[Record])


class Chapter:
    """Everything that the page shows of one TapioCluster."""

    def __init__(self, story: Story, admissions: Sequence[Admission]) -> None:
        self.components = Components()
        self.marks: list[Mark] = []
        self.states: dict[str, list[tuple[int, str]]] = {}
        """Lane -> when which state began."""
        self._last: dict[str, Fact] = {}
        self._subjects: dict[str, _Told] = {}
        self.story = replace(story, own=(), shared=(), ends=0)
        self.admissions: list[Admission] = []
        self.grow(story, admissions)

    def grow(self, story: Story, admissions: Sequence[Admission]) -> None:
        """Take in what `story`, which only ever gets longer, and `admissions` hold beyond what this chapter does."""
        own, shared = story.own[len(self.story.own) :], story.shared[len(self.story.shared) :]
        for records, is_shared in ((own, False), (shared, True)):
            for record in records:
                told = self._subjects.setdefault(record.message.subject, _Told(is_shared))
                told.sequences.append(record.sequence)
                told.records.append(record)
        news = list(happened(sorted((*own, *shared), key=lambda one: one.sequence), self._last))
        known_requests = {one.request for one in self.admissions}
        asked = [one for one in admissions if one.request not in known_requests]
        self.components.learn(news)
        self.story = story
        self.admissions += asked
        sources: list[Happened | Admission] = [*news, *asked]
        marks = [Mark(one, lanes_of(one, self.components), is_bad(one)) for one in sources]
        for mark in sorted(marks, key=lambda one: (one.at, one.sequence)):
            self.marks.append(mark)
            states = states_of(mark.source)
            for lane in (*states, *(self.states if states else ())):
                known, state = self.states.setdefault(lane, []), states.get(lane, "")
                if not known or known[-1][1] != state:
                    known.append((mark.at, state))

    def told_by(self, sequence: int) -> Story:
        """The story cut down to the last record of each subject up to `sequence`: it has the same state there."""
        own: list[Record] = []
        shared: list[Record] = []
        for told in self._subjects.values():
            place = bisect_right(told.sequences, sequence)
            if place:
                (shared if told.shared else own).append(told.records[place - 1])
        return replace(self.story, own=tuple(own), shared=tuple(shared))
