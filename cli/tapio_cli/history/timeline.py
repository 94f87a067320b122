"""What happened to one TapioCluster, one line after the other: what was told, decided, done, and asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec

from tapio_cli.history import story as stories
from tapio_cli.history.fields import FieldChange, changed_fields
from tapio_cli.history.story import Story
from tapio_shared.admissions import Admission
from tapio_shared.api.labels import DESIRED_HASH, REVISION
from tapio_shared.facts import (
    ConfigurationObserved,
    CursorMoved,
    DecisionRecorded,
    DiscoveryObserved,
    EpochAdvanced,
    FleetObserved,
    MessageParked,
    ObjectGone,
    ObjectObserved,
    OutcomeRecorded,
    Record,
    SweepMarked,
    Synced,
    TargetObserved,
    TimerDue,
)
from tapio_shared.json import JsonObject, objects_at, str_at
from tapio_shared.keys import address_of

_SHOWN = 3
"""Changed fields that a line names; the others are counted."""
_WAITS_SHOWN = 2


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a time line."""

    at: int
    sequence: int
    """Of the log; 0 for an admission, which lies in a log of its own."""
    what: str
    """fact | decision | outcome | timer | admission."""
    about: str
    """The object or the shared fact; empty for the cluster as a whole."""
    text: str
    user: str = ""


@dataclass(frozen=True, slots=True)
class Happened:
    """One record that says something new, and the record of the same subject before it."""

    one: stories.Record
    what: str
    """fact | decision | outcome | timer."""
    before: Record | None

    @property
    def record(self) -> Record:
        return self.one.entry.record


def timeline(story: Story, admissions: Iterable[Admission] = ()) -> list[Event]:
    """Every event, in the order of time; facts that a sweep wrote again, and say nothing new, are left out."""
    records = sorted((*story.own, *story.shared), key=lambda entry: entry.sequence)
    found = [*(event_of(one) for one in happened(records, {})), *(event_of_admission(one) for one in admissions)]
    return sorted(found, key=lambda one: (one.at, one.sequence))


def happened(records: Iterable[stories.Record], last: dict[str, Record]) -> Iterator[Happened]:
    """What of `records`, in the order of the log, says something new. `last` is the last record of each subject before
    them, and after them."""
    for one in records:
        subject, record = one.message.subject, one.entry.record
        before, last[subject] = last.get(subject), record
        if before != record:
            what = _what(record)
            if what:
                yield Happened(one, what, before)


def stretch(
    story: Story, first: int, admissions: Iterable[Admission] = (), *, is_wanted: Callable[[Event], bool]
) -> list[Event]:
    """The events of `timeline` from the sequence `first` on that are wanted, by what they are about and when.

    What stands before is asked for only as far as a wanted line compares with it.
    """
    last = story.ends if story.part is None else story.part.read_to
    found: list[Event] = []
    for one, before in story.between(first - 1, last, lambda one: is_wanted(_bare(one)), with_shared=True):
        former = None if before is None else before.entry.record
        found += map(event_of, happened([one], {} if former is None else {one.message.subject: former}))
    found += filter(is_wanted, map(event_of_admission, admissions))
    return sorted(found, key=lambda one: (one.at, one.sequence))


def event_of(one: Happened) -> Event:
    """The line for it."""
    return msgspec.structs.replace(_bare(one.one), what=one.what, text=_told(one.record, one.before))


def _bare(one: stories.Record) -> Event:
    """The line of a record without what it says: when, and what it is about."""
    address = address_of(one.message.subject)
    about = str(address.ref) if address.ref is not None else "" if address.key is not None else address.what
    return Event(at=one.at, sequence=one.sequence, what="", about=about, text="")


def _what(record: Record) -> str:
    match record:
        case SweepMarked() | CursorMoved() | EpochAdvanced():
            return ""
        case DecisionRecorded():
            return "decision"
        case OutcomeRecorded():
            return "outcome"
        case TimerDue():
            return "timer"
        case _:
            return "fact"


def _told(record: Record, before: Record | None) -> str:
    match record:
        case ObjectObserved():
            return _observed(record, before)
        case ObjectGone():
            return "is gone" if isinstance(before, ObjectObserved) else "does not exist"
        case DecisionRecorded():
            return decided(record)
        case OutcomeRecorded():
            return _outcome(record)
        case TimerDue():
            return f"timer {record.name} of the decision at {record.decision} is due"
        case MessageParked():
            return f"can't be read: {record.reason}"
        case Synced():
            return f"the log holds a complete observation of {len(record.kinds)} kinds"
        case FleetObserved():
            return f"{record.hosts} hosts in {len(record.zones)} zones"
        case ConfigurationObserved():
            return "; ".join(record.problems) or "the operator's configuration was read"
        case DiscoveryObserved():
            return f"Kubernetes {record.version} serves {len(record.resources)} resources that matter"
        case TargetObserved():
            return record.message or f"the target is {record.state} at {record.server}"
        case SweepMarked() | CursorMoved() | EpochAdvanced():
            return ""


def _observed(record: ObjectObserved, before: Record | None) -> str:
    if not isinstance(before, ObjectObserved) or before.uid != record.uid:
        return f"appeared{_by(record.object, None)}"
    changes = sorted(changed_fields(before.object, record.object), key=_weight)
    if not changes:
        return "was told again"
    shown = ", ".join(str(one) for one in changes[:_SHOWN])
    more = f" and {len(changes) - _SHOWN} more fields" if len(changes) > _SHOWN else ""
    return f"changed{_by(record.object, before.object)}: {shown}{more}"


def _weight(change: FieldChange) -> int:
    """What people and controllers mean comes before what goes with it, and the operator's own marks come last."""
    if change.path.endswith((DESIRED_HASH, REVISION)):
        return 2
    return 1 if change.path.startswith("metadata.") else 0


def _by(document: JsonObject, before: JsonObject | None) -> str:
    """Who wrote it, as the API server noted: the field manager whose entry is new."""
    known = [] if before is None else objects_at(before, "metadata", "managedFields")
    new = [one for one in objects_at(document, "metadata", "managedFields") if one not in known]
    names = sorted({str_at(one, "manager") for one in new if str_at(one, "manager")})
    return f" by {', '.join(names)}" if names else ""


def decided(record: DecisionRecorded) -> str:
    """What a decision does, in a line."""
    parts = [
        f"{verb} {count}"
        for verb, count in (
            ("create", sum(1 for one in record.apply if one.mode in {"create", "generate"})),
            ("apply", sum(1 for one in record.apply if one.mode not in {"create", "generate"})),
            ("delete", len(record.delete)),
        )
        if count
    ]
    parts += ["write status"] if record.status is not None else []
    parts += [f"{record.finalizer} the finalizer"] if record.finalizer else []
    text = ", ".join(parts) or "nothing to do"
    if not record.waiting:
        return text
    more = len(record.waiting) - _WAITS_SHOWN
    waits = " ".join(record.waiting[:_WAITS_SHOWN]) + (f" And {more} more wait." if more > 0 else "")
    return f"{text}; {waits.removesuffix('.')}"  # Whoever puts this into a sentence ends that with a full stop.


def _outcome(record: OutcomeRecorded) -> str:
    failed = [one for one in record.results if one.error]
    well = len(record.results) - len(failed)
    text = "1 write went well" if well == 1 else f"{well} writes went well"
    if failed:
        text += f", {len(failed)} failed: {failed[0].ref}: {failed[0].error}"
    return text


def event_of_admission(one: Admission) -> Event:
    """The line for what the webhook answered."""
    verdict = "was allowed" if one.allowed else f"was refused ({', '.join(one.problems) or 'no reason recorded'})"
    return Event(
        at=one.answered_at,
        sequence=0,
        what="admission",
        about=f"{one.kind} {one.namespace}/{one.name}",
        text=f"{one.operation} {verdict}",
        user=one.user,
    )
