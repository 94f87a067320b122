"""Why: the chain behind a decision, or why nothing happens. The first line is the answer, the rest its reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial

import msgspec

from tapio_cli.history.causes import (
    FOLDED,
    actions_on,
    causes,
    changed_by,
    changes_of,
    last_change_of,
    last_decision,
    when,
)
from tapio_cli.history.failures import failed_writes, failures_of, status_not_written
from tapio_cli.history.interference import disputes, has_finalizer, held
from tapio_cli.history.standing import named_by
from tapio_cli.history.story import Record, Story
from tapio_reconciler.core.state import State
from tapio_shared.admissions import Admission
from tapio_shared.api.kinds import WORKLOADS
from tapio_shared.api.labels import COMPONENT, PAUSED
from tapio_shared.api.names import API_GROUP, CLUSTER_KIND, cluster_ref
from tapio_shared.api.reasons import Reason
from tapio_shared.errors import InvalidSettings
from tapio_shared.facts import DecisionRecorded, DeleteAction, ObjectObserved
from tapio_shared.json import JsonObject, int_at, objects_at, str_at, strings_at
from tapio_shared.keys import ObjectRef, object_subject

_DECIDED_WITHIN = 30_000
"""Milliseconds after which a decision about a change is overdue; it takes less than one second."""
_NAMED = 6
"""Objects that are offered when the one that was asked for is unknown."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, and the chain that leads to it, newest first."""

    cluster: str
    at: int
    answer: str
    because: list[str]


def explain(
    story: Story, admissions: Sequence[Admission] = (), *, until: int, about: str = "", now: int = 0
) -> Explanation:
    """Why the cluster, or its object `about` (a component, `Kind/name` or a name), is as it is at `until`.

    With `now`, in milliseconds, `until` is the present, and what nobody has decided about for long is told too.
    """
    state = story.state(until)
    newest = story.newest(lambda one: one.sequence <= until)
    because: list[str] = []
    if about:
        ref = _the_object(state, about)
        of = _of_resource if ref.group == API_GROUP and ref.kind != CLUSTER_KIND else _of_object
        answer, because = of(story, admissions, state, ref, until)
        meddled = [*_interference(story, admissions, state, until, now=now, ref=ref)]
        if meddled:
            answer, because = meddled[0], [*meddled[1:], answer, *because]
    else:
        lines = [
            *_undecided(story, state, now),
            *_interference(story, admissions, state, until, now=now),
            *_now(story, admissions, state),
        ]
        answer, because = lines[0], lines[1:]
        # What people asked for last comes first: most that goes wrong goes wrong after it.
        asked = last_change_of(story, admissions, cluster_ref(story.key.namespace, story.key.name), until)
        last = last_decision(story, until, lambda one: bool(one.apply or one.delete))
        chain = [] if last is None else causes(story, admissions, last)
        because = [*asked, *because, *(line for line in chain if line not in asked)]
    return Explanation(cluster=str(story.key), at=0 if newest is None else newest.at, answer=answer, because=because)


def _undecided(story: Story, state: State, now: int) -> Iterator[str]:
    """That nobody has decided about the spec as it is: whoever owns the partition does not work."""
    cluster = state.seen().get(cluster_ref(story.key.namespace, story.key.name))
    decision = state.find("decision", DecisionRecorded)
    if not now or cluster is None or cluster.document is None:
        return
    fact = story.at(cluster.sequence)
    told = 0 if fact is None else fact.at
    decided = 0 if decision is None else decision[1].generation
    if int_at(cluster.document, "metadata", "generation") > decided and now - told > _DECIDED_WITHIN:
        yield (
            f"Nothing has been decided about TapioCluster {story.key.namespace}/{story.key.name} since it was changed "
            f"at {when(story, cluster.sequence)}, {(now - told) // 1000} s ago: the operator does not work on it. "
            "tapioctl doctor says whether its workers do."
        )


def _interference(
    story: Story, admissions: Sequence[Admission], state: State, until: int, *, now: int, ref: ObjectRef | None = None
) -> Iterator[str]:
    """What others do to the objects, or to `ref` alone: what they keep changing, and what they keep from going."""
    for one in disputes(story, state, until, now):
        if ref in (None, one.ref):
            yield f"{one} {one.next_step}"
    for kept in held(state):
        if ref not in (None, kept.ref):
            continue
        yield f"{kept} {kept.next_step}"
        subject, last = object_subject(story.key, kept.ref, story.partitions), state.seen()[kept.ref].sequence
        for name in kept.finalizers:
            began = _began(story, subject, last, partial(has_finalizer, name))
            if began is not None:
                by = changed_by(story, admissions, began)
                yield f"{kept.ref} has the finalizer {name} since {when(story, began.sequence)}{by}."


def _now(story: Story, admissions: Sequence[Admission], state: State) -> Iterator[str]:
    """How things stand, the most pressing first, and what is waited for."""
    name = f"TapioCluster {story.key.namespace}/{story.key.name}"
    cluster = state.seen().get(cluster_ref(story.key.namespace, story.key.name))
    if cluster is None or cluster.document is None:
        yield f"{name} does not exist" + (f" since {when(story, cluster.sequence)}." if cluster else ".")
        yield from named_by(state)
        return
    yield from status_not_written(state)
    document = cluster.document
    annotations = strings_at(document, "metadata", "annotations")
    conditions = {str_at(one, "type"): one for one in objects_at(document, "status", "conditions")}
    if annotations.get(PAUSED) == "true":
        began = _began(
            story,
            object_subject(story.key, cluster.ref, story.partitions),
            cluster.sequence,
            lambda one: strings_at(one, "metadata", "annotations").get(PAUSED) == "true",
        )
        since = "some time ago"
        if began is not None:
            since = f"{when(story, began.sequence)}{changed_by(story, admissions, began)}"
        yield f"{name} is paused by the annotation {PAUSED} since {since}. Remove it to let the operator write again."
    yield from _stands(name, conditions)
    degraded = conditions.get("Degraded")
    if degraded is not None and str_at(degraded, "status") == "True":
        yield f"It is degraded: {str_at(degraded, 'reason')}: {str_at(degraded, 'message')}"
    parts = [part for part in objects_at(document, "status", "components") if str_at(part, "state") != "Ready"]
    waiting = [str_at(part, "name") for part in parts if str_at(part, "reason") == str(Reason.WAITING_FOR_DEPENDENCY)]
    for part in parts:
        if str_at(part, "name") not in waiting:
            yield _part_stands(part)
    if waiting:
        yield f"Waiting for what they depend on: {', '.join(waiting)}."
    yield from failed_writes(failures_of(state))


def _part_stands(part: JsonObject) -> str:
    """How a component stands that is not ready."""
    return (
        f"{str_at(part, 'name')} is {str_at(part, 'state')} since {str_at(part, 'since')}: "
        f"{str_at(part, 'reason')}: {str_at(part, 'message')}"
    )


def _stands(name: str, conditions: Mapping[str, JsonObject]) -> Iterator[str]:
    """The condition that says most of a resource."""
    for kind in ("Stalled", "Ready"):
        one = conditions.get(kind)
        if one is None or (kind == "Stalled") != (str_at(one, "status") == "True"):
            continue
        word = "is stalled" if kind == "Stalled" else "is not ready"
        yield (
            f"{name} {word} since {str_at(one, 'lastTransitionTime')}: {str_at(one, 'reason')}: "
            f"{str_at(one, 'message')}"
        )
        break
    ready = conditions.get("Ready")
    if ready is not None and str_at(ready, "status") == "True":
        yield f"{name} is ready since {str_at(ready, 'lastTransitionTime')}: {str_at(ready, 'message')}"
    if not conditions:
        yield f"{name} has no status yet."


def _of_resource(
    story: Story, admissions: Sequence[Admission], state: State, ref: ObjectRef, until: int
) -> tuple[str, list[str]]:
    """How a TapioCollector or TapioIntelligence stands, and what happened to it, the newest first."""
    changes = changes_of(story, admissions, ref, until)[::-1]
    seen = state.seen().get(ref)
    if seen is None or seen.document is None:
        return f"{ref} does not exist.", changes
    conditions = {str_at(one, "type"): one for one in objects_at(seen.document, "status", "conditions")}
    answer, *further = _stands(str(ref), conditions)
    return answer, [*further, *changes]


def _of_object(
    story: Story, admissions: Sequence[Admission], state: State, ref: ObjectRef, until: int
) -> tuple[str, list[str]]:
    wrote = last_decision(story, until, lambda one: bool(actions_on(one, ref)))
    lines = [*_object_stands(story, state, ref)]
    if wrote is None:
        lines.append(f"No decision that is recorded wrote {ref}.")
    else:
        action = actions_on(wrote.decision, ref)[0]
        verb = "deleted" if isinstance(action, DeleteAction) else "written"
        lines.append(f"{ref} was last {verb} by the decision at {when(story, wrote.sequence)}: {action.reason}")
        lines += causes(story, admissions, wrote, ref)
    return lines[0], lines[1:]


def _object_stands(story: Story, state: State, ref: ObjectRef) -> Iterator[str]:
    """What is wrong with an object now, if anything is: that comes before who wrote it last, and why."""
    seen, cluster = state.seen(), state.seen().get(cluster_ref(story.key.namespace, story.key.name))
    document = None if cluster is None else cluster.document
    one = seen.get(ref)
    if one is not None and one.document is None:
        is_paused = strings_at(document, "metadata", "annotations").get(PAUSED) == "true"
        why = f", and is not made again while the TapioCluster is paused ({PAUSED})" if is_paused else ""
        yield f"{ref} is gone since {when(story, one.sequence)}{why}."
    yield from failed_writes({what: one for what, one in failures_of(state).items() if what == str(ref)})
    name = _component(state, ref)
    for part in objects_at(document, "status", "components"):
        is_of = ref.kind in WORKLOADS and str_at(part, "name") == name
        if (is_of or _workload(part) == ref) and str_at(part, "state") != "Ready":
            yield _part_stands(part)


def _workload(part: JsonObject) -> ObjectRef | None:
    """The workload that a component's status names."""
    kind, namespace, name = (str_at(part, "ref", field) for field in ("kind", "namespace", "name"))
    return ObjectRef("batch" if kind == "Job" else "apps", kind, namespace, name) if name else None


def _the_object(state: State, about: str) -> ObjectRef:
    """The object that a person means. InvalidSettings when there is none, or several."""
    kind, slash, name = about.rpartition("/")
    known = [ref for ref in state.seen() if ref.kind not in FOLDED]
    found = sorted(ref for ref in known if ref.name == name and (not slash or ref.kind.lower() == kind.lower()))
    if not found and not slash:  # A component, by the name that status has for it.
        found = sorted(ref for ref in known if ref.kind in WORKLOADS and _component(state, ref) == name)
    if not found and not slash:  # Its workload is gone, and its labels with it.
        found = [ref for ref in known if ref == _workloads(state).get(name)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InvalidSettings(f"Nothing is recorded of {about!r}{_what_there_is(state, known, about)}")
    choices = ", ".join(f"{ref.kind}/{ref.name}" for ref in found)
    raise InvalidSettings(f"{about!r} may mean {choices}; name the kind too.")


def _what_there_is(state: State, known: Sequence[ObjectRef], about: str) -> str:
    """What may be asked about instead of `about`: components, and the objects whose names are most like it."""
    if not known:
        return f": TapioCluster {state.key.namespace}/{state.key.name} had no objects by then. Name a later instant."
    names = [f"{ref.kind}/{ref.name}" for ref in known]
    close = get_close_matches(about, names, n=_NAMED, cutoff=0.0)
    left = f" and {len(names) - len(close)} more" if len(names) > len(close) else ""
    components = ", ".join(_workloads(state))
    offered = f"components: {components}; objects: " if components else ""
    return f"; name a component, or Kind/name of an object. There are {offered}{', '.join(close)}{left}."


def _workloads(state: State) -> dict[str, ObjectRef | None]:
    """Component -> the workload that the TapioCluster's status names for it."""
    cluster = state.seen().get(cluster_ref(state.key.namespace, state.key.name))
    parts = objects_at(None if cluster is None else cluster.document, "status", "components")
    return {str_at(part, "name"): _workload(part) for part in parts}


def _component(state: State, ref: ObjectRef) -> str:
    """The component that an object is of, by its label."""
    seen = state.seen().get(ref)
    return "" if seen is None else strings_at(seen.document, "metadata", "labels").get(COMPONENT, "")


def _began(story: Story, subject: str, until: int, holds: Callable[[JsonObject], bool]) -> Record | None:
    """The fact of `subject` that first said what its last one up to `until` says."""
    began: Record | None = None
    for one in story.backwards(subject, until):
        if isinstance(one.entry.record, ObjectObserved):
            if not holds(one.entry.record.object):
                break
            began = one
    return began
