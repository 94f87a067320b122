"""Members of one cluster, each a workload of its own, change one after the other: the others keep the quorum."""

from __future__ import annotations

from collections.abc import Mapping

from tapio_reconciler.core.changes import Act, Change
from tapio_reconciler.core.model import Component, WantedObject
from tapio_reconciler.core.readiness import progress_of
from tapio_reconciler.core.state import Sight
from tapio_shared.keys import ObjectRef


def turn_of(
    one: WantedObject,
    change: Change,
    changes: Mapping[ObjectRef, Change],
    component: Component,
    seen: Sight,
) -> Change:
    """`change`, or to wait until it is this member's turn.

    A member that is not ready is changed at once: it can only get better. One that is ready waits for every other.
    `changes` holds what is done about the members before it.
    """
    if change.act is not Act.APPLY or change.repeated or not _is_ready(one.ref, seen):
        return change
    for other in component.workloads:
        if other == one.ref or seen.get(other) is None:
            continue
        planned = changes.get(other)
        if not _is_ready(other, seen) or (planned is not None and planned.act is not Act.NOTHING):
            return Change(act=Act.AWAIT, reason=f"{one.name} is changed once {other} is ready: one member at a time.")
    return change


def _is_ready(ref: ObjectRef, seen: Sight) -> bool:
    known = seen.get(ref)
    return known is not None and known.document is not None and progress_of(known.document, None, ()).is_ready
