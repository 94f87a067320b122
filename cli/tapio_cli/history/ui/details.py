"""What a mark is about: its line, what caused it, what it wrote, what it changed, and under which trace."""

from __future__ import annotations

from collections.abc import Iterator

from tapio_cli.history.causes import Decided, causes, changes_between, last_decision, when
from tapio_cli.history.explaining import explain
from tapio_cli.history.fields import changed_fields
from tapio_cli.history.printing import moment
from tapio_cli.history.snapshots import difference, snapshot
from tapio_cli.history.timeline import Happened
from tapio_cli.history.ui.chapter import Chapter, Mark
from tapio_cli.history.ui.lanes import CLUSTER
from tapio_shared.admissions import Admission
from tapio_shared.api.normalise import normalise_spec
from tapio_shared.codec import digest
from tapio_shared.errors import InvalidSettings
from tapio_shared.facts import DecisionRecorded, ObjectObserved, OutcomeRecorded, TimerDue
from tapio_shared.json import JsonObject, JsonValue, object_at
from tapio_shared.keys import ObjectRef, address_of

_TRACE = "traceparent"
_SAME_MOMENT = 5_000
_FIELDS = 200
"""Changed fields that are told; the others are in the diff."""


def details_of(chapter: Chapter, number: int) -> JsonObject:
    """Everything about the mark with this number."""
    mark = chapter.marks[number]
    event = mark.event()
    because: list[JsonValue] = [*dict.fromkeys(_because(chapter, mark))]
    lanes: list[JsonValue] = [*mark.lanes]
    diff: list[JsonValue] = [*_diff(chapter, mark)]
    writes: list[JsonValue] = [*_writes(mark)]
    fields: list[JsonValue] = [*_fields(mark)]
    return {
        "number": number,
        "at": mark.at,
        "when": moment(mark.at),
        "revision": mark.sequence,
        "what": mark.what,
        "bad": mark.bad,
        "about": event.about,
        "text": event.text,
        "user": event.user,
        "lanes": lanes,
        "trace": trace_of(mark),
        "because": because,
        "writes": writes,
        "fields": fields,
        "diff": diff,
        "commands": [*_commands(chapter, mark)],
    }


def trace_of(mark: Mark) -> str:
    """The id of the trace that it was recorded under (W3C Trace Context, version-trace-parent-flags), or nothing."""
    if isinstance(mark.source, Admission):
        return ""
    parts = mark.source.one.message.headers.get(_TRACE, "").split("-")
    return parts[1] if len(parts) >= 4 else ""


def _because(chapter: Chapter, mark: Mark) -> Iterator[str]:
    source = mark.source
    if isinstance(source, Admission):
        yield from _told_as(chapter, source)
        return
    match source.record:
        case DecisionRecorded() as decision:
            yield from causes(chapter.story, chapter.admissions, Decided(mark.sequence, decision))
        case OutcomeRecorded() as outcome:
            yield f"It is how the decision at {when(chapter.story, outcome.decision)} went."
            yield from _of_decision(chapter, outcome.decision)
        case TimerDue() as timer:
            yield f"The decision at {when(chapter.story, timer.decision)} asked to be woken at {moment(timer.due_at)}."
            yield from _of_decision(chapter, timer.decision)
        case _:
            ref = address_of(source.one.message.subject).ref
            if ref is None:
                yield "The watcher told it of what surrounds every TapioCluster of this target."
            else:
                yield from _of_object(chapter, mark, ref)


def _of_object(chapter: Chapter, mark: Mark, ref: ObjectRef) -> Iterator[str]:
    """Who changed it, and why the operator last wrote it."""
    story, until = chapter.story, mark.sequence
    yield from changes_between(story, chapter.admissions, until - 1, until, ref)
    if CLUSTER in mark.lanes:
        wrote = last_decision(story, until, lambda one: one.status is not None)
        if wrote is not None:
            yield f"Its status was last written by the decision at {when(story, wrote.sequence)}."
            yield from causes(story, chapter.admissions, wrote)
        return
    try:
        found = explain(chapter.story, chapter.admissions, until=until, about=f"{ref.kind}/{ref.name}")
    except InvalidSettings:
        yield f"The watcher folds it from several objects; the operator does not write {ref.kind}."
        return
    yield found.answer
    yield from found.because


def _of_decision(chapter: Chapter, sequence: int) -> Iterator[str]:
    found = last_decision(chapter.story, sequence, lambda _: True)
    if found is not None and found.sequence == sequence:
        yield from causes(chapter.story, chapter.admissions, found)


def _told_as(chapter: Chapter, admission: Admission) -> Iterator[str]:
    """The fact that an admission became; a probable join, and marked so."""
    yield f"{admission.user or 'Somebody'} asked for it; the webhook answered at {moment(admission.answered_at)}."
    yield from (f"It was refused for {one}." for one in admission.problems)
    if not admission.allowed:
        return
    for mark in chapter.marks:
        if isinstance(mark.source, Admission) or mark.at < admission.answered_at - _SAME_MOMENT:
            continue
        ref, record = address_of(mark.source.one.message.subject).ref, mark.source.record
        if (
            ref is not None
            and isinstance(record, ObjectObserved)
            and (ref.kind, ref.namespace, ref.name) == (admission.kind, admission.namespace, admission.name)
            and digest(normalise_spec(ref.kind, object_at(record.object, "spec"))) == admission.spec_digest
        ):
            yield f"Probably told at {when(chapter.story, mark.sequence)}: that fact has the spec that was admitted."
            return


def _writes(mark: Mark) -> Iterator[JsonObject]:
    """What a decision writes, or how the writes went."""
    match mark.source:
        case Happened(record=DecisionRecorded() as decision):
            for one in decision.apply:
                ref = ObjectRef(one.group, one.kind, one.namespace, one.name)
                yield {"action": one.mode, "object": str(ref), "text": one.reason, "bad": False}
            for gone in decision.delete:
                ref = ObjectRef(gone.group, gone.kind, gone.namespace, gone.name)
                yield {"action": "delete", "object": str(ref), "text": gone.reason, "bad": False}
        case Happened(record=OutcomeRecorded() as outcome):
            for result in outcome.results:
                text = result.error or "went well"
                yield {"action": result.action, "object": result.ref, "text": text, "bad": bool(result.error)}
        case _:
            pass


def _fields(mark: Mark) -> Iterator[str]:
    """The fields that changed of the object that a fact is about."""
    match mark.source:
        case Happened(record=ObjectObserved() as fact, before=ObjectObserved() as before):
            yield from (str(one) for one in changed_fields(before.object, fact.object)[:_FIELDS])
        case _:
            pass


def _diff(chapter: Chapter, mark: Mark) -> list[str]:
    """What `tapioctl diff @before @after` says."""
    if not mark.sequence:
        return []
    before, after = (snapshot(chapter.told_by(sequence), sequence) for sequence in (mark.sequence - 1, mark.sequence))
    return difference(before, after)


def _commands(chapter: Chapter, mark: Mark) -> Iterator[str]:
    """What to type for the same answer."""
    name = f"{chapter.story.key.namespace}/{chapter.story.key.name}"
    if mark.sequence:
        yield f"tapioctl explain {name} --at @{mark.sequence}"
        if mark.sequence > 1:
            yield f"tapioctl diff @{mark.sequence - 1} @{mark.sequence} {name}"
        yield f"tapioctl at @{mark.sequence} {name}"
