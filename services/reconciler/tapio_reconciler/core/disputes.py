"""Objects that somebody else changes again and again: the Event of it.

A condition does not say so (the workloads are as they were, and a component with them), nor does a decision: an Event
that is no part of one changes no history that is replayed. It follows from the plan alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tapio_reconciler.core.changes import CORRECTIONS, CORRECTIONS_WITHIN
from tapio_reconciler.core.notices import event_of
from tapio_reconciler.core.plans import Plan
from tapio_shared.api.names import FIELD_MANAGER
from tapio_shared.api.reasons import EventReason
from tapio_shared.facts import EventIntent
from tapio_shared.json import JsonObject, objects_at, str_at

_KUBERNETES = "kube-controller-manager"
"""It writes its own fields beside ours (the revision of a Deployment), and ours only by a subresource (scale)."""
_DELETED = (
    f"is deleted again and again: it was made again {CORRECTIONS} times within five minutes. The audit log of the API "
    "server says by whom."
)


def disputes_in(plan: Plan) -> Iterator[EventIntent]:
    """An Event for each object that `plan` sets back as the fifth time within five minutes, or a later one.

    The text is the same each time, so that one Event counts them.
    """
    now = plan.decision.inputs.now
    for name in plan.corrected:
        past = plan.memory.outcome.corrections.get(name, [])
        recent = [instant for instant in past if now - CORRECTIONS_WITHIN < instant <= now]
        if len(recent) + 1 < CORRECTIONS:
            continue
        seen = plan.seen_by_name.get(name)
        if seen is None or seen.document is None:
            yield event_of("Warning", EventReason.CHANGED_BY_ANOTHER, f"{name} {_DELETED}")
            continue
        managers = objects_at(seen.document, "metadata", "managedFields")
        newest = max((str_at(one, "time") for one in managers if others_who_wrote([one])), default="")
        who = ", ".join(sorted(others_who_wrote([one for one in managers if str_at(one, "time") == newest])))
        whoever = who or "somebody else"
        yield event_of(
            "Warning",
            EventReason.CHANGED_BY_ANOTHER,
            f"{name} is changed again and again by {whoever}: it was set back {CORRECTIONS} times within five minutes, "
            f"and is set back once a minute at most now. Have {whoever} leave it alone, or ask for the change in the "
            "spec.",
        )


def others_who_wrote(entries: Sequence[JsonObject]) -> set[str]:
    """The managers of entries of metadata.managedFields, without the operator and what Kubernetes writes beside it."""
    return {
        str_at(one, "manager")
        for one in entries
        if str_at(one, "manager") != FIELD_MANAGER
        and (str_at(one, "manager") != _KUBERNETES or str_at(one, "subresource"))
    }
