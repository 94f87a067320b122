"""What is to be done about one object: nothing, wait, or write it, each with its reason.

Level-triggered: the answer follows from what is wanted, what was last observed and what our last writes came to,
never from which event arrived. Instants are milliseconds.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from tapio_reconciler.core.comparison import holds, settled_digest
from tapio_reconciler.core.model import WantedObject
from tapio_reconciler.core.scaling import has_too_few_replicas
from tapio_reconciler.core.state import Seen
from tapio_shared.api.labels import ADOPT, CLUSTER_UID, DESIRED_HASH, key_of_made, key_of_object
from tapio_shared.api.names import CLUSTER_KIND
from tapio_shared.facts import AppliedWrite, DeletedObject, FailedWrite, OutcomeRecorded
from tapio_shared.json import JsonObject, at, str_at, strings_at

OBSERVE_WITHIN = 5_000
"""How long a write may take to come back as a fact before its object is compared by what is known."""
REPEAT_UNOBSERVED = 60_000
"""How long until a write that never came back is repeated; applying is idempotent, so this is safe, not urgent."""
LONGEST_UNOBSERVED = 300_000
"""How long that takes at most: each time that it was written again and not observed doubles it."""
CORRECTIONS = 5
CORRECTIONS_WITHIN = 300_000
CORRECTION_PAUSE = 60_000
"""After 5 corrections of one object in 5 minutes somebody else keeps changing it: one correction a minute."""


class Act(Enum):
    """What is to be done about an object."""

    NOTHING = "nothing"
    AWAIT = "await"
    """Our last write has not been observed yet, or the object is being deleted."""
    BACK_OFF = "back off"
    """The last write failed; it is tried again later."""
    CREATE = "create"
    APPLY = "apply"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """The answer about one object. Each flag tells what an `act` and its `reason` leave open."""

    act: Act
    reason: str = ""
    due_at: int = 0
    """When to look again, for AWAIT and BACK_OFF; 0 means that a fact will come."""
    failure: FailedWrite | None = None
    correction: bool = False
    """Whether this undoes somebody else's change."""
    repeated: bool = False
    """Whether nothing is known to be different: written again because a person asked for it."""
    unknown: bool = False
    """Whether it is left alone because nothing is known of it."""
    lost: bool = False
    """Whether it is gone, and only a person can bring it back."""

    @property
    def writes(self) -> bool:
        return self.act is Act.CREATE or self.act is Act.APPLY  # No set: hashing a member of an Enum is slow.


NOTHING = Change(act=Act.NOTHING)


class Memory(msgspec.Struct, frozen=True):
    """What the last outcome knows of our writes, and where it stands in the log."""

    sequence: int
    outcome: OutcomeRecorded

    def unobserved(self, name: str, seen: Seen | None) -> AppliedWrite | None:
        """Our last write of `name`, as long as no fact shows it or something newer."""
        write = self.outcome.applied.get(name)
        if write is None:
            return None
        if seen is not None:
            if seen.document is not None and seen.resource_version == write.resource_version:
                return None
            if seen.sequence > (write.recorded or self.sequence):
                return None
        return write

    def is_deleted(self, name: str, seen: Seen | None) -> DeletedObject | None:
        """Our deletion of the object last observed as `seen`, as long as nothing newer is told of it."""
        gone = self.outcome.deleted.get(name)
        if gone is None or seen is None or seen.uid != gone.uid or seen.sequence > (gone.recorded or self.sequence):
            return None
        return gone


NO_MEMORY = Memory(0, OutcomeRecorded(decision=0, ended_at=0))


def waits(since: int, until: int, now: int) -> bool:
    """Whether what began at `since` is still to be waited for at `now`.

    A clock that was set back ends the wait: how long it has been is unknown then, and an hour too long is worse than
    a try too many.
    """
    return since <= now < until


def time_to_observe(write: AppliedWrite | DeletedObject, first: int = OBSERVE_WITHIN) -> int:
    """How long a write is given to be observed before it is repeated; `first` is how long the first time."""
    return min(first << min(write.repeats, 20), LONGEST_UNOBSERVED)


def change_of(
    wanted: WantedObject, seen: Seen | None, memory: Memory, *, now: int, forced: bool, whole: bool
) -> Change:
    """What to do about a wanted object, last observed as `seen`; `whole` as in `holds`."""
    if not forced and not wanted.least_replicas and seen is not None and _held(seen, whole).get(wanted.digest):
        return NOTHING  # What most plans find of most objects, so it is asked first.
    change = _change_of(wanted, seen, memory, now=now, forced=forced, whole=whole)
    return with_failure(change, memory, wanted.name, wanted.digest) if change.writes else change


def with_failure(change: Change, memory: Memory, name: str, digest: str) -> Change:
    """A write with how it failed before, if it is tried again: a status does not flicker with every try."""
    failure = memory.outcome.failures.get(name)
    is_tried_again = failure is not None and failure.digest == digest
    return msgspec.structs.replace(change, failure=failure) if is_tried_again else change


def _change_of(
    wanted: WantedObject, seen: Seen | None, memory: Memory, *, now: int, forced: bool, whole: bool
) -> Change:
    name, digest = wanted.name, wanted.digest
    observed = None if seen is None else seen.document
    if observed is not None and str_at(observed, "metadata", "deletionTimestamp"):
        return Change(act=Act.AWAIT, reason=f"{name} is being deleted; it is made again once it is gone.")
    if not forced:
        if seen is not None and _is_as_wanted(wanted, seen, memory, whole) and not has_too_few_replicas(wanted, seen):
            return NOTHING
        failure = memory.outcome.failures.get(name)
        if failure is not None and failure.digest == digest and waits(failure.failed_at, failure.retry_at, now):
            return Change(act=Act.BACK_OFF, reason=failure.error, due_at=failure.retry_at, failure=failure)
        write = memory.unobserved(name, seen)
        if write is not None and write.digest == digest:
            first = OBSERVE_WITHIN if observed is not None else REPEAT_UNOBSERVED
            until = write.applied_at + time_to_observe(write, first)
            if waits(write.applied_at, until, now):
                return Change(act=Act.AWAIT, reason=f"{name} was written and not observed yet.", due_at=until)
            return Change(act=Act.APPLY, reason=f"{name} was written and has not been observed since; repeated.")
        if write is not None and observed is None:
            return Change(act=Act.APPLY, reason=f"What is wanted of {name} has changed.")
    if seen is None:
        return Change(act=Act.CREATE, reason=f"{name} does not exist yet.")
    if observed is None:
        return Change(act=Act.CREATE, reason=f"{name} was deleted and is wanted.", correction=True)
    if forced:
        if _is_as_wanted(wanted, seen, memory, whole):
            why = f"{name} is written again because tapio.io/force-reconcile asks for it."
            return Change(act=Act.APPLY, reason=why, repeated=True)
        return Change(act=Act.APPLY, reason=f"{name} is not as wanted, and tapio.io/force-reconcile asks for it.")
    if str_at(observed, "metadata", "annotations", DESIRED_HASH) != digest:
        return Change(act=Act.APPLY, reason=f"What is wanted of {name} has changed.")
    if has_too_few_replicas(wanted, seen):
        why = f"{name} was scaled to 0, from which no HorizontalPodAutoscaler scales it."
        return _correction(name, memory, now, why)
    return _correction(name, memory, now, f"{name} no longer holds what is wanted of it.")


def _held(seen: Seen, whole: bool) -> dict[str, bool]:
    return seen.held_whole if whole else seen.held


def _is_as_wanted(wanted: WantedObject, seen: Seen, memory: Memory, whole: bool) -> bool:
    observed = seen.document
    if observed is None or str_at(observed, "metadata", "annotations", DESIRED_HASH) != wanted.digest:
        return False
    known = _held(seen, whole)
    held = known.get(wanted.digest)
    if held is None:
        held = known[wanted.digest] = holds(observed, wanted.manifest, whole=whole)
    return held or memory.outcome.settled.get(wanted.name) == settled_digest(observed)


def _correction(name: str, memory: Memory, now: int, why: str) -> Change:
    past = memory.outcome.corrections.get(name, [])
    recent = [instant for instant in past if now - CORRECTIONS_WITHIN < instant <= now]
    if len(recent) >= CORRECTIONS and now < recent[-1] + CORRECTION_PAUSE:
        return Change(
            act=Act.AWAIT,
            reason=(
                f"{name} has been changed by somebody else {len(recent)} times in five minutes; "
                "the next correction waits a minute. Find out who else writes it (metadata.managedFields)."
            ),
            due_at=recent[-1] + CORRECTION_PAUSE,
        )
    return Change(act=Act.APPLY, reason=why, correction=True)


def is_managed(document: JsonObject, *, cluster: str, namespace: str) -> bool:
    """Whether an object was made for this TapioCluster, or carries its labels."""
    return key_of_made(document) == (namespace, cluster)


def may_take_over(live: JsonObject, wanted: JsonObject, *, cluster: str, namespace: str) -> bool:
    """Whether an object that exists under a name we need is ours, or was handed to us by its owner.

    Ours is also what somebody took our labels off, or gave another TapioCluster's: it still wears our hash, and the
    TapioCluster of `wanted` controls it, or, where it can have no controller, its labels still hold that one's UID.
    """
    if is_managed(live, cluster=cluster, namespace=namespace):
        return True
    annotations, labels = strings_at(live, "metadata", "annotations"), strings_at(live, "metadata", "labels")
    if annotations.get(ADOPT) == "true":
        return True
    uid = strings_at(wanted, "metadata", "labels").get(CLUSTER_UID)
    if not uid or DESIRED_HASH not in annotations:
        return False
    owners = at(live, "metadata", "ownerReferences")
    if isinstance(owners, list) and any(
        str_at(owner, "uid") == uid and at(owner, "controller") is True for owner in owners
    ):
        return True
    return key_of_object(labels) is None and labels.get(CLUSTER_UID) == uid


def is_controlled_by_cluster(document: JsonObject, *, cluster: str, namespace: str) -> bool:
    """Whether an object's controller is this TapioCluster, or it can't have one (other namespace, cluster scope).

    Objects that carry our labels because a workload handed them down (ReplicaSets, PersistentVolumeClaims, Pods) are
    controlled by that workload, and never ours to prune. Nor is what another TapioCluster controls, whatever labels
    somebody gave it.
    """
    if str_at(document, "metadata", "namespace") != namespace:
        return at(document, "metadata", "ownerReferences") in (None, [])
    owners = at(document, "metadata", "ownerReferences")
    return isinstance(owners, list) and any(
        str_at(owner, "kind") == CLUSTER_KIND and str_at(owner, "name") == cluster and at(owner, "controller") is True
        for owner in owners
    )
