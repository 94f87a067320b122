"""StatefulSets that the operator let go of to make them anew, and that have not been made again (recreation.py).

Mostly the spec asks for them, and nothing here is needed. A Neo4j member beyond `replicas` runs only because it is
there: while it is not, something must tell the operator's own deletion from a person's, which ends the member.
The decision that lets go tells, since it is recorded first, and the outcomes after it; and, where the log was lost, the
pods that were left without a controller: whoever deletes a StatefulSet in the ordinary way has its pods deleted too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tapio_reconciler.core.state import Seen, Sight, State
from tapio_shared.facts import DecisionRecorded, DeleteAction, ObjectResult, OutcomeRecorded
from tapio_shared.json import list_at, objects_at
from tapio_shared.keys import ObjectRef

ORPHAN = "Orphan"
_ORPHANING = "orphan"
"""The finalizer of an object that is deleted without what it owns, until that has no owner any more."""


def released_before(state: State, outcome: OutcomeRecorded) -> Mapping[str, str]:
    """What the last decision and `outcome`, the last one, tell of having let go of: StatefulSet -> its UID."""
    found = dict(outcome.released)
    decided = state.find("decision", DecisionRecorded)
    if decided is not None and decided[0] != outcome.decision:  # Nobody has told yet how that went.
        found |= _orphaned(decided[1].delete)
    if not found:
        return found
    known = {one.name: one for one in state.seen().of_kind("StatefulSet")}
    return {name: uid for name, uid in found.items() if name not in known or known[name].uid in {"", uid}}


def released_after(
    before: Mapping[str, str], decision: DecisionRecorded, results: Sequence[ObjectResult]
) -> dict[str, str]:
    """The same after `decision`: what is no longer wanted is forgotten, by a decision that says what is wanted."""
    refused = {one.ref for one in results if one.error and not one.retryable}
    kept = {name: uid for name, uid in before.items() if not decision.objects or name in decision.objects}
    return kept | {name: uid for name, uid in _orphaned(decision.delete).items() if name not in refused}


def is_released(ref: ObjectRef, seen: Sight | Mapping[ObjectRef, Seen], released: Mapping[str, str]) -> bool:
    """Whether a StatefulSet that is gone, or going, was let go of: its pods, where it has any, wait for another one."""
    if str(ref) in released:
        return True
    one = seen.get(ref)
    if one is not None and _ORPHANING in list_at(one.document, "metadata", "finalizers"):
        return True
    pods = seen.get(ObjectRef("tapio.io", "Pods", ref.namespace, f"{ref.kind}-{ref.name}"))
    return pods is not None and bool(tuple(objects_at(pods.document, "ownerless")))


def _orphaned(delete: Sequence[DeleteAction]) -> dict[str, str]:
    return {
        str(ObjectRef(one.group, one.kind, one.namespace, one.name)): one.uid
        for one in delete
        if one.propagation == ORPHAN
    }
