"""What others do to a TapioCluster's objects, in sentences: they keep changing them, or keep them from going.

No condition says either: what is changed again and again is as wanted in between, and what is being deleted is
wanted no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Final

import msgspec

from tapio_cli.history.printing import milliseconds, moment
from tapio_cli.history.story import Story
from tapio_reconciler.core.changes import CORRECTIONS, CORRECTIONS_WITHIN
from tapio_reconciler.core.disputes import others_who_wrote
from tapio_reconciler.core.state import State
from tapio_shared.api.labels import TEARDOWN_FINALIZER
from tapio_shared.api.names import API_GROUP, CLUSTER_KIND
from tapio_shared.facts import ObjectGone, ObjectObserved, OutcomeRecorded
from tapio_shared.json import JsonObject, at, objects_at, str_at
from tapio_shared.keys import ObjectRef, object_subject

_AGAIN_AND_AGAIN: Final = 3
"""Corrections within five minutes from which on it is no person's single edit any more."""
_LOOKED_AT: Final = 16
"""Facts about one object that are looked at for who writes it."""
_KUBERNETES_OWN: Final = frozenset(
    {
        TEARDOWN_FINALIZER,
        "batch.kubernetes.io/job-tracking",
        "foregroundDeletion",
        "kubernetes.io/pv-protection",
        "kubernetes.io/pvc-protection",
        "orphan",
    }
)
"""Finalizers that go by themselves, once what they wait for is gone."""


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    """An object that somebody changes again and again."""

    ref: ObjectRef
    times: int
    """How often the operator set it back within five minutes."""
    last: int
    """When it last did, in milliseconds."""
    who: tuple[str, ...]
    """The field managers that wrote it; empty where the history does not tell."""
    is_deleted: bool = False
    """Whether it is deleted again and again, of which no history says by whom."""

    def __str__(self) -> str:
        if self.is_deleted:
            return (
                f"{self.ref} is deleted again and again: the operator made it again {self.times} times within five "
                f"minutes, last at {moment(self.last)}."
            )
        pause = (
            f" It waits a minute between two corrections now, and {self.ref} stays meanwhile as {self._whoever} left "
            "it."
            if self.times >= CORRECTIONS
            else ""
        )
        return (
            f"{self.ref} is changed again and again by {self._whoever}: the operator set it back {self.times} times "
            f"within five minutes, last at {moment(self.last)}.{pause}"
        )

    @property
    def next_step(self) -> str:
        """What ends it."""
        if self.is_deleted:
            return f"Who deletes {self.ref}, the audit log of the API server says: have that leave it alone."
        return (
            f"Have {self._whoever} leave {self.ref} alone, or ask for its change in the spec of the TapioCluster. Who "
            f"writes it: kubectl get {_named(self.ref)} -o yaml --show-managed-fields"
        )

    @property
    def _whoever(self) -> str:
        return ", ".join(self.who) or "somebody else"


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """An object that is deleted and does not go, since finalizers of others are on it."""

    ref: ObjectRef
    since: str
    finalizers: tuple[str, ...]
    kept: tuple[str, ...]
    """Finalizers that go by themselves."""

    def __str__(self) -> str:
        several = len(self.finalizers) > 1
        done = (
            " The operator has done its part of it, and writes its status no more."
            if (self.ref.group, self.ref.kind) == (API_GROUP, CLUSTER_KIND) and TEARDOWN_FINALIZER not in self.kept
            else ""
        )
        return (
            f"{self.ref} is being deleted since {self.since}, and stays for the finalizer{'s' * several} "
            f"{', '.join(self.finalizers)}, which whoever put {'them' if several else 'it'} there has to take off."
            f"{done}"
        )

    @property
    def next_step(self) -> str:
        """What lets it go."""
        finalizers = "[{}]".format(", ".join(f'"{one}"' for one in self.kept)) if self.kept else "null"
        return (
            f"See whether the controller that {', '.join(self.finalizers)} is of still runs. Only if it is gone for "
            f"good, and what it guards may be left: kubectl patch {_named(self.ref)} --type=merge -p "
            f'\'{{"metadata": {{"finalizers": {finalizers}}}}}\''
        )

    @property
    def began(self) -> int:
        """When its deletion was asked for, in milliseconds."""
        return milliseconds(self.since)


def disputes(story: Story, state: State, until: int, now: int) -> list[Dispute]:
    """What somebody else keeps changing at `now`, in milliseconds, as of sequence `until`; 0 means when that was."""
    outcome = state.find("outcome", OutcomeRecorded)
    if outcome is None or not outcome[1].corrections:
        return []
    refs = {one.name: ref for ref, one in state.seen().items()}
    newest = story.newest(lambda one: one.sequence <= until)
    as_of = now or (0 if newest is None else newest.at)
    found: list[Dispute] = []
    for name, instants in sorted(outcome[1].corrections.items()):
        recent = [instant for instant in instants if instant > as_of - CORRECTIONS_WITHIN]
        if name in refs and len(recent) >= _AGAIN_AND_AGAIN:
            found.append(_dispute(story, refs[name], until, recent))
    return found


def _dispute(story: Story, ref: ObjectRef, until: int, recent: Sequence[int]) -> Dispute:
    facts = story.backwards(object_subject(story.key, ref, story.partitions), until)
    told = [one.entry.record for one in islice(facts, _LOOKED_AT)]
    living = [one.object for one in told if isinstance(one, ObjectObserved)]
    wrote = Counter(name for new, old in pairwise([*living, {}]) for name in _new_writers(old, new))
    most = max(wrote.values(), default=0)
    deleted = sum(1 for one in told if isinstance(one, ObjectGone))
    return Dispute(
        ref=ref,
        times=len(recent),
        last=recent[-1],
        who=tuple(sorted(name for name, times in wrote.items() if times * 2 >= most)),
        is_deleted=deleted > most,
    )


def held(state: State) -> list[Held]:
    """What does not go, though it is being deleted, since finalizers of others are on it."""
    return [one for ref, seen in sorted(state.seen().items()) for one in _held(ref, seen.document)]


def has_finalizer(name: str, document: JsonObject) -> bool:
    """Whether the finalizer `name` is on an object."""
    return name in _finalizers(document)


def _finalizers(document: JsonObject | None) -> tuple[str, ...]:
    found = at(document, "metadata", "finalizers")
    return tuple(str(one) for one in found) if isinstance(found, list) else ()


def _held(ref: ObjectRef, document: JsonObject | None) -> Iterator[Held]:
    since, finalizers = str_at(document, "metadata", "deletionTimestamp"), _finalizers(document)
    foreign = tuple(one for one in finalizers if one not in _KUBERNETES_OWN)
    if since and foreign:
        kept = tuple(one for one in finalizers if one not in foreign)
        yield Held(ref=ref, since=since, finalizers=foreign, kept=kept)


def _new_writers(old: JsonObject, new: JsonObject) -> set[str]:
    known = objects_at(old, "metadata", "managedFields")
    return others_who_wrote([one for one in objects_at(new, "metadata", "managedFields") if one not in known])


def _named(ref: ObjectRef) -> str:
    """An object as kubectl takes it."""
    kind = f"{ref.kind}.{ref.group}".lower() if ref.group else ref.kind.lower()
    return f"{kind} {ref.name} -n {ref.namespace}" if ref.namespace else f"{kind} {ref.name}"
