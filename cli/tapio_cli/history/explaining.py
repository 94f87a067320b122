"""Why: the chain behind a decision, or why nothing happens. The first line is the answer, the rest its reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from tapio_cli.history.causes import causes, last_decision, when
from tapio_cli.history.printing import moment
from tapio_cli.history.story import Record, Story
from tapio_reconciler.core.state import State
from tapio_shared.admissions import Admission
from tapio_shared.api.labels import PAUSED
from tapio_shared.api.names import cluster_ref
from tapio_shared.errors import InvalidSettings
from tapio_shared.facts import ApplyAction, DecisionRecorded, DeleteAction, ObjectObserved, OutcomeRecorded
from tapio_shared.json import JsonObject, objects_at, str_at, strings_at
from tapio_shared.keys import ObjectRef, parse_subject

_NAMED = 12
"""Objects that are offered when the one that was asked for is unknown."""
_NOT_ASKED_ABOUT = frozenset({"Pods", "Refusal"})
"""Facts that the watcher folds from several objects: no objects themselves."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, and the chain that leads to it, newest first."""

    cluster: str
    at: int
    answer: str
    because: list[str]


def explain(story: Story, admissions: Sequence[Admission] = (), *, until: int, about: str = "") -> Explanation:
    """Why the cluster, or its object `about` (`Kind/name` or a name), is as it is at `until`."""
    state = story.state(until)
    at = max((one.at for one in (*story.own, *story.shared) if one.sequence <= until), default=0)
    because: list[str] = []
    if about:
        ref = _the_object(state, about)
        answer, because = _of_object(story, admissions, state, ref, until)
    else:
        lines = list(_now(story, state))
        answer, because = lines[0], lines[1:]
        last = last_decision(story, until, lambda one: bool(one.apply or one.delete))
        if last is not None:
            because += causes(story, admissions, last)
    return Explanation(cluster=str(story.key), at=at, answer=answer, because=because)


def _now(story: Story, state: State) -> Iterator[str]:
    """How things stand, the most pressing first, and what is waited for."""
    name = f"TapioCluster {story.key.namespace}/{story.key.name}"
    cluster = state.seen().get(cluster_ref(story.key.namespace, story.key.name))
    if cluster is None or cluster.document is None:
        yield f"{name} does not exist" + (f" since {when(story, cluster.sequence)}." if cluster else ".")
        return
    document = cluster.document
    annotations = strings_at(document, "metadata", "annotations")
    conditions = {str_at(one, "type"): one for one in objects_at(document, "status", "conditions")}
    if annotations.get(PAUSED) == "true":
        since = _since(story, cluster.ref, lambda one: strings_at(one, "metadata", "annotations").get(PAUSED) == "true")
        yield f"{name} is paused by the annotation {PAUSED} since {since}. Remove it to let the operator write again."
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
    degraded = conditions.get("Degraded")
    if degraded is not None and str_at(degraded, "status") == "True":
        yield f"It is degraded: {str_at(degraded, 'reason')}: {str_at(degraded, 'message')}"
    for part in objects_at(document, "status", "components"):
        if str_at(part, "state") != "Ready":
            yield (
                f"{str_at(part, 'name')} is {str_at(part, 'state')} since {str_at(part, 'since')}: "
                f"{str_at(part, 'reason')}: {str_at(part, 'message')}"
            )
    outcome = state.find("outcome", OutcomeRecorded)
    if outcome is not None:
        for ref, failure in sorted(outcome[1].failures.items()):
            yield (
                f"The {failure.action} of {ref} failed {failure.attempt} times, last at {moment(failure.failed_at)}: "
                f"{failure.error}; it is tried again at {moment(failure.retry_at)}."
            )


def _of_object(
    story: Story, admissions: Sequence[Admission], state: State, ref: ObjectRef, until: int
) -> tuple[str, list[str]]:
    wrote = last_decision(story, until, lambda one: bool(_actions(one, ref)))
    if wrote is None:
        return f"No decision that is recorded wrote {ref}.", []
    action = _actions(wrote.decision, ref)[0]
    verb = "deleted" if isinstance(action, DeleteAction) else "written"
    seen = state.seen().get(ref)
    gone = " It is gone now." if seen is not None and seen.document is None else ""
    answer = f"{ref} was last {verb} by the decision at {when(story, wrote.sequence)}: {action.reason}{gone}"
    return answer, causes(story, admissions, wrote, ref)


def _actions(decision: DecisionRecorded, ref: ObjectRef) -> list[ApplyAction | DeleteAction]:
    actions: list[ApplyAction | DeleteAction] = [*decision.apply, *decision.delete]
    return [one for one in actions if ObjectRef(one.group, one.kind, one.namespace, one.name) == ref]


def _the_object(state: State, about: str) -> ObjectRef:
    """The object that a person means. InvalidSettings when there is none, or several."""
    kind, slash, name = about.rpartition("/")
    known = [ref for ref in state.seen() if ref.kind not in _NOT_ASKED_ABOUT]
    found = sorted(ref for ref in known if ref.name == name and (not slash or ref.kind.lower() == kind.lower()))
    if len(found) == 1:
        return found[0]
    if not found:
        close = ", ".join(sorted(f"{ref.kind}/{ref.name}" for ref in known)[:_NAMED])
        raise InvalidSettings(f"Nothing is recorded of {about!r}. There are: {close}.")
    choices = ", ".join(f"{ref.kind}/{ref.name}" for ref in found)
    raise InvalidSettings(f"{about!r} may mean {choices}; name the kind too.")


def _since(story: Story, ref: ObjectRef, holds: Callable[[JsonObject], bool]) -> str:
    """When a fact about `ref` first said what its last one says."""
    began: Record | None = None
    for one in story.own:
        if parse_subject(one.message.subject).ref != ref or not isinstance(one.entry.record, ObjectObserved):
            continue
        is_so = holds(one.entry.record.object)
        began = (began or one) if is_so else None
    return "some time ago" if began is None else when(story, began.sequence)
