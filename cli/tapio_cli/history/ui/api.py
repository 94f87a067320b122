"""The page's JSON: what it draws, and what it shows of an instant, a mark and an object.

Marks travel as columns, which a browser turns into typed arrays: 100,000 of them are 3 MB and a tenth of a second.
"""

from __future__ import annotations

import yaml

from tapio_cli.history.explaining import explain
from tapio_cli.history.instants import sequence_at
from tapio_cli.history.known import NotInWindow
from tapio_cli.history.printing import moment
from tapio_cli.history.snapshots import snapshot
from tapio_cli.history.ui.chapter import Chapter
from tapio_cli.history.ui.tree import tree_of
from tapio_shared.errors import InvalidSettings
from tapio_shared.json import JsonObject, JsonValue, object_at, str_at

WHATS = ("fact", "decision", "outcome", "timer", "admission")
MOST_EVENTS = 500
"""Lines that one answer tells."""


def marks_of(chapter: Chapter, first: int = 0) -> JsonObject:
    """Every mark from number `first` on, the states of all lanes, and the span for which the history is complete."""
    marks = chapter.marks[first:]
    lanes: list[JsonValue] = []
    numbers: dict[str, list[JsonValue]] = {name: [] for name in chapter.components.lanes()}
    for number, mark in enumerate(marks, first):
        for lane in mark.lanes:
            numbers[lane].append(number)
    for name, held in numbers.items():
        states: list[JsonValue] = [[at, state] for at, state in chapter.states.get(name, ())]
        lanes.append({"name": name, "marks": held, "states": states})
    window = chapter.story.window
    return {
        "cluster": f"{chapter.story.key.namespace}/{chapter.story.key.name}",
        "first": first,
        "whats": [*WHATS],
        "at": [mark.at for mark in marks],
        "revision": [mark.sequence for mark in marks],
        "what": [WHATS.index(mark.what) for mark in marks],
        "bad": [int(mark.bad) for mark in marks],
        "lanes": lanes,
        "ends": chapter.story.ends,
        "window": None
        if window is None
        else {
            "from": window[0].at,
            "to": window[1].at,
            "fromRevision": window[0].sequence,
            "toRevision": chapter.story.ends,
        },
    }


def events_of(chapter: Chapter, numbers: list[int]) -> list[JsonValue]:
    """The lines of these marks, as `tapioctl history` has them. InvalidSettings for what is no mark."""
    if len(numbers) > MOST_EVENTS:
        raise InvalidSettings(f"{len(numbers)} lines are asked for; ask for at most {MOST_EVENTS} at once.")
    found: list[JsonValue] = []
    for number in numbers:
        check_number(chapter, number)
        mark = chapter.marks[number]
        event = mark.event()
        found.append(
            {
                "number": number,
                "when": moment(event.at),
                "revision": event.sequence,
                "what": event.what,
                "about": event.about,
                "text": event.text,
                "user": event.user,
                "bad": mark.bad,
            }
        )
    return found


def check_number(chapter: Chapter, number: int) -> None:
    """InvalidSettings unless there is a mark with this number."""
    if not 0 <= number < len(chapter.marks):
        raise InvalidSettings(f"There is no mark {number}; marks have numbers from 0 to {len(chapter.marks) - 1}.")


def at_of(chapter: Chapter, instant: str) -> JsonObject:
    """What `tapioctl at INSTANT` says, and the same as a tree. NotInWindow, InvalidSettings as there."""
    sequence = _sequence(chapter, instant)
    story = chapter.told_by(sequence)
    found = snapshot(story, sequence)
    tree: list[JsonValue] = [*tree_of(found, [*story.state(sequence).seen()], chapter.components)]
    return {"revision": sequence, "at": found["at"], "when": moment(_instant(found)), "snapshot": found, "tree": tree}


def object_of(chapter: Chapter, instant: str, name: str) -> JsonObject:
    """One object as of an instant: its document, and why it is so. InvalidSettings when there was none."""
    sequence = _sequence(chapter, instant)
    story = chapter.told_by(sequence)
    one = object_at(snapshot(story, sequence), "objects").get(name)
    ref = next((ref for ref in story.state(sequence).seen() if str(ref) == name), None)
    if one is None:
        raise InvalidSettings(f"Nothing was known of {name} at @{sequence}.")
    because: list[JsonValue] = []
    if ref is not None:
        try:
            found = explain(chapter.story, chapter.admissions, until=sequence, about=f"{ref.kind}/{ref.name}")
            because = [found.answer, *found.because]
        except InvalidSettings:
            because = ["The watcher folds it from several objects; the operator does not write it."]
    document = object_at(one, "seen")
    return {
        "object": name,
        "revision": sequence,
        "wanted": str_at(one, "wanted"),
        "document": yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=True) if document else "",
        "because": because,
    }


def _sequence(chapter: Chapter, instant: str) -> int:
    if instant.startswith("-"):
        raise InvalidSettings(f"{instant!r} is counted from now, which the page is not; name a time or a @revision.")
    return sequence_at(chapter.story, instant, now=chapter.story.last_at)


def _instant(found: JsonObject) -> int:
    at = found["at"]
    return at if isinstance(at, int) else 0


__all__ = ["NotInWindow", "at_of", "events_of", "marks_of", "object_of"]
