"""What led to a decision: everything that had changed since the one before, and who had changed it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass

import msgspec

from tapio_cli.history.fields import changed_fields
from tapio_cli.history.printing import milliseconds, moment
from tapio_cli.history.story import Record, Story
from tapio_cli.history.timeline import decided
from tapio_shared.admissions import Admission
from tapio_shared.api.labels import DESIRED_HASH, REVISION
from tapio_shared.api.names import API_GROUP, FIELD_MANAGER
from tapio_shared.codec import digest
from tapio_shared.facts import ApplyAction, DecisionRecorded, DeleteAction, ObjectGone, ObjectObserved, OutcomeRecorded
from tapio_shared.json import JsonObject, object_at, objects_at, str_at
from tapio_shared.keys import ObjectRef, address_of, decision_subject, object_subject, outcome_subject

_SHOWN = 4
_SHOWN_CHANGES = 6
"""Changes that led to one decision, the last ones."""
_LOOKED_AT = 200
"""Outcomes that are looked at for one that was well: what fails for days is not read to its beginning."""
_SAME_MOMENT = 5_000
"""Milliseconds by which the clocks of webhook and NATS may differ."""
_JUST_MADE = 60_000
"""Milliseconds for which an object is new. One that is older, and told of for the first time, was there before: a log
that has dropped its beginning holds what a sweep has told again, and a new operator is told of what there is."""
FOLDED = frozenset({"Pods", "Refusal", "Authorities"})
"""Facts that the watcher folds from several objects: no objects themselves."""
_SURROUNDINGS = {"config": "operator's configuration", "discovery": "served APIs", "fleet": "nodes"}


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision and where it stands."""

    sequence: int
    decision: DecisionRecorded


def last_decision(story: Story, until: int, wanted: Callable[[DecisionRecorded], bool]) -> Decided | None:
    """The last decision up to `until` that is `wanted`."""
    for one in story.backwards(decision_subject(story.key, story.partitions), until):
        record = one.entry.record
        if isinstance(record, DecisionRecorded) and wanted(record):
            return Decided(one.sequence, record)
    return None


def actions_on(decision: DecisionRecorded, ref: ObjectRef) -> list[ApplyAction | DeleteAction]:
    """What a decision does about one object."""
    actions: list[ApplyAction | DeleteAction] = [*decision.apply, *decision.delete]
    return [one for one in actions if ObjectRef(one.group, one.kind, one.namespace, one.name) == ref]


def when(story: Story, sequence: int) -> str:
    """An instant of the log, as people and commands write it."""
    found = story.at(sequence)
    return f"@{sequence}" if found is None or not found.at else f"{moment(found.at)} (@{sequence})"


def causes(story: Story, admissions: Sequence[Admission], one: Decided, ref: ObjectRef | None = None) -> list[str]:
    """What had changed since the decision before: spec, other resources, surroundings, the operator, the object.

    Of an object, since the decision before that wrote it: what it waited for meanwhile is not what it changed for.
    """
    record = one.decision
    former = last_decision(story, one.sequence - 1, lambda found: ref is None or bool(actions_on(found, ref)))
    before = None if former is None else former.decision
    since = 0 if before is None else before.revision
    lines = [f"Decided at {when(story, one.sequence)} (revision {record.revision}): {decided(record)}."]
    lines += _newest(list(changes_between(story, admissions, since, record.revision, ref)))
    if before is not None:
        if before.inputs.operator_version != record.inputs.operator_version:
            lines.append(
                f"The operator was upgraded from {before.inputs.operator_version} to {record.inputs.operator_version}."
            )
        lines += _surroundings(story, before, record)
    if len(lines) == 1 and former is not None:
        lines += _newest(list(_further_back(story, admissions, one, former, ref)))
    if ref is None and before is not None and before.waiting and not record.waiting:
        lines.append(f"What had been waited for came: {before.waiting[0]}")
    if len(lines) == 1 and record.cause:
        lines.append(f"The newest fact then was {_about(record.cause)}.")
    return lines


def _newest(changes: Sequence[str]) -> list[str]:
    left = len(changes) - _SHOWN_CHANGES
    said = [f"{left} earlier changes are left out; see tapioctl history."] if left > 0 else []
    return [*said, *changes[-_SHOWN_CHANGES:]]


def _further_back(
    story: Story, admissions: Sequence[Admission], one: Decided, former: Decided, ref: ObjectRef | None
) -> Iterator[str]:
    """Where nothing had changed but what was waited for, or tried again: what had changed since the last decision that
    waited for nothing and whose writes went well. Of an object: Secrets, whose digests its pods hold."""
    until = one.decision.revision
    if ref is not None:
        yield from changes_between(story, admissions, former.decision.revision, until, None, kind="Secret")
        return
    calm: Decided | None = None
    outcomes = story.backwards(outcome_subject(story.key, story.partitions), one.sequence - 1)
    for count, outcome in enumerate(outcomes):
        record = outcome.entry.record
        if count == _LOOKED_AT:
            return
        if isinstance(record, OutcomeRecorded) and not record.failures:
            calm = last_decision(story, record.decision, lambda found: not found.waiting)
            break
    yield from changes_between(story, admissions, 0 if calm is None else calm.decision.revision, until, None)


def _about(cause: str) -> str:
    """What a decision's cause is about, in words: a subject of the log, or whatever its worker named instead."""
    about = address_of(cause).ref if cause.startswith("tapio.log.") else None
    return cause if about is None else f"about {about}"


def changed_by(story: Story, admissions: Sequence[Admission], one: Record) -> str:
    """` by <who>` for a fact: the user whom the webhook admitted, else the field managers that wrote; or nothing."""
    record, about = one.entry.record, address_of(one.message.subject).ref
    if about is None or not isinstance(record, ObjectObserved):
        return ""
    former = next(story.backwards(one.message.subject, one.sequence - 1), None)
    old = former.entry.record if former and isinstance(former.entry.record, ObjectObserved) else None
    return _who(admissions, one, about, old, record, ours=_is_ours(about))


def changes_of(story: Story, admissions: Sequence[Admission], ref: ObjectRef, until: int) -> list[str]:
    """What people did to one resource, the newest last."""
    return list(changes_between(story, admissions, 0, until, ref, alone=True))


def last_change_of(story: Story, admissions: Sequence[Admission], ref: ObjectRef, until: int) -> list[str]:
    """The last of them, if there is one; nothing older is looked at."""
    records = story.backwards(object_subject(story.key, ref, story.partitions), until)
    one = next(records, None)
    while one is not None:
        former = next(records, None)
        lines = list(_told(story, admissions, one, former, ref))
        if lines:
            return lines
        one = former
    return []


def _is_ours(about: ObjectRef) -> bool:
    return about.group == API_GROUP and about.kind.startswith("Tapio")


def _who(
    admissions: Sequence[Admission],
    one: Record,
    about: ObjectRef,
    old: ObjectObserved | None,
    new: ObjectObserved,
    *,
    ours: bool,
) -> str:
    writers = ", ".join(sorted(_writers({} if old is None else old.object, new.object) - {FIELD_MANAGER}))
    return (_asked(admissions, one, about, old, new) if ours else "") or (f" by {writers}" if writers else "")


def changes_between(
    story: Story,
    admissions: Sequence[Admission],
    since: int,
    until: int,
    ref: ObjectRef | None,
    *,
    alone: bool = False,
    kind: str = "",
) -> Iterator[str]:
    """Changes of people's resources, unless `ref` is asked about `alone`, and of it or any managed one; and by whom.
    With `kind`, of objects of that kind alone."""

    def is_asked_about(one: Record) -> bool:
        about = address_of(one.message.subject).ref
        if about is None or kind not in ("", about.kind):
            return False
        ours = _is_ours(about)
        is_other = (alone or not ours) and ref is not None and about != ref
        return not is_other and _may_be_told(one.entry.record, ours=ours)

    gone: list[tuple[ObjectRef, int]] = []
    for one, former in story.between(since, until, is_asked_about):
        about = address_of(one.message.subject).ref
        if about is None or about.kind in FOLDED:
            continue
        if isinstance(one.entry.record, ObjectGone) and former is not None and not _is_ours(about):
            gone += [(about, one.sequence)] if isinstance(former.entry.record, ObjectObserved) else []
            continue
        lines = list(_told(story, admissions, one, former, about))
        if lines:
            yield from _lost(story, gone)
            gone = []
        yield from lines
    yield from _lost(story, gone)


def _lost(story: Story, gone: Sequence[tuple[ObjectRef, int]]) -> Iterator[str]:
    """Objects that went one after the other: each by a line, or many by one."""
    if len(gone) <= _SHOWN:
        for about, sequence in gone:
            yield (
                f"{about} was deleted, or lost the labels by which the operator finds it, at {when(story, sequence)}."
            )
        return
    names = ", ".join(str(about) for about, _ in gone[:_SHOWN])
    yield (
        f"{len(gone)} objects were deleted, or lost the labels by which the operator finds them, from "
        f"{when(story, gone[0][1])} to {when(story, gone[-1][1])}: {names} and {len(gone) - _SHOWN} more."
    )


def _may_be_told(record: object, *, ours: bool) -> bool:
    """Whether there may be a line for it, whatever stood before: not for what the operator alone has ever written."""
    if isinstance(record, ObjectGone):
        return True
    return isinstance(record, ObjectObserved) and (ours or not _writers({}, record.object) <= {FIELD_MANAGER})


def _told(
    story: Story, admissions: Sequence[Admission], one: Record, before: Record | None, about: ObjectRef
) -> Iterator[str]:
    """The line for one fact about an object, if it is to be told."""
    record, former = one.entry.record, None if before is None else before.entry.record
    if isinstance(record, ObjectGone) and isinstance(former, ObjectObserved):
        yield f"{about} was deleted at {when(story, one.sequence)}."
    if isinstance(record, ObjectObserved):
        old = former if isinstance(former, ObjectObserved) else None
        yield from _change(story, admissions, one, about, old, record, ours=_is_ours(about))


def _change(
    story: Story,
    admissions: Sequence[Admission],
    one: Record,
    about: ObjectRef,
    former: ObjectObserved | None,
    record: ObjectObserved,
    *,
    ours: bool,
) -> Iterator[str]:
    if former is None:
        made = str_at(record.object, "metadata", "creationTimestamp")
        if ours and made and one.at - milliseconds(made) > _JUST_MADE:
            yield f"{about} was created at {made}, before the history of it begins at {when(story, one.sequence)}."
        elif ours:
            by = _asked(admissions, one, about, None, record)
            yield f"{about} was created at {when(story, one.sequence)}{by}."
        return
    old, new = former.object, record.object
    compared = ("spec", "metadata") if ours else ("spec", "data", "digests", "rules", "metadata")
    changes = [
        change
        for part in compared
        for change in changed_fields({part: object_at(old, part)}, {part: object_at(new, part)})
        if not change.path.endswith((REVISION, DESIRED_HASH)) and not _is_controllers(change.path)
    ]
    writers = _writers(old, new)
    if writers <= {FIELD_MANAGER} and (writers or not ours):
        return  # The operator's own doing; of a person's change nothing may be told but that it was made.
    if any(change.path == "metadata.deletionTimestamp" for change in changes):
        yield (
            f"{about} was asked to be deleted at {when(story, one.sequence)}; by whom, only the audit log of the API "
            "server says."
        )
    elif changes:
        shown = ", ".join(str(change) for change in changes[:_SHOWN])
        more = f" and {len(changes) - _SHOWN} more fields" if len(changes) > _SHOWN else ""
        by = _who(admissions, one, about, former, record, ours=ours)
        yield f"{about} was changed at {when(story, one.sequence)}{by}: {shown}{more}."


def _is_controllers(path: str) -> bool:
    """Fields that Kubernetes' own controllers write on every change."""
    return path.startswith("metadata.") and ("finalizers" in path or "deployment.kubernetes.io" in path)


def _asked(
    admissions: Sequence[Admission], one: Record, about: ObjectRef, old: ObjectObserved | None, new: ObjectObserved
) -> str:
    """Who asked for it, by the webhook's record of the same spec shortly before; a probable join, and marked so.

    Of several the one that was about the version before: the operator's own writes leave the spec as it was, and come
    right after.
    """
    possible = [
        found
        for found in admissions
        if found.allowed
        and (found.kind, found.namespace, found.name) == (about.kind, about.namespace, about.name)
        and found.answered_at <= one.at + _SAME_MOMENT
    ]
    wanted = _digest_of_spec(about.kind, object_at(new.object, "spec"), {found.spec_digest for found in possible})
    matching = [found for found in possible if found.spec_digest == wanted]
    if not matching:
        return ""
    followed = [
        found
        for found in matching
        if (found.operation == "CREATE" if old is None else found.previous_version == old.resource_version)
    ]
    last = max(followed or matching, key=lambda found: found.answered_at)
    return f" by {last.user} (probably: the webhook admitted this spec)"


def _digest_of_spec(kind: str, spec: JsonObject, known: Set[str]) -> str:
    """The digest of a spec's normal form; that is among the `known` ones where it matters.

    The API server has mostly written the normal form. What digests to that of another normal form is it, and need not
    be made into it: that takes the models of the API, which take long to import.
    """
    found = digest(spec)
    if not known or found in known:
        return found
    from tapio_shared.api.normalise import normalise_spec

    return digest(normalise_spec(kind, spec))


def _writers(old: JsonObject, new: JsonObject) -> set[str]:
    known = objects_at(old, "metadata", "managedFields")
    return {str_at(one, "manager") for one in objects_at(new, "metadata", "managedFields") if one not in known}


def _surroundings(story: Story, before: DecisionRecorded, after: DecisionRecorded) -> Iterator[str]:
    """Shared facts that were others than at the decision before, and say something else."""
    for name in sorted(_SURROUNDINGS):
        was, now = (record.inputs.shared_revisions.get(name, 0) for record in (before, after))
        old, new = (None if was == now else story.at(sequence) for sequence in (was, now))
        if old is None or new is None:
            continue
        changes = [
            change
            for change in changed_fields(_document(old.entry.record), _document(new.entry.record))
            if not change.path.endswith(("observed_at", "type"))
        ]
        if changes:
            shown = ", ".join(str(change) for change in changes[:_SHOWN])
            yield f"The {_SURROUNDINGS[name]} had changed at {when(story, now)}: {shown}."


def _document(record: object) -> JsonObject:
    found: JsonObject = msgspec.to_builtins(record)
    return found
