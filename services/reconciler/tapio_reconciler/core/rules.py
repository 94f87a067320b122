"""Rules of order and of retries by revision, so that a decision is planned again under the rules that it was made by.

A decision records its revision (`inputs.logic`). Which one new decisions are made by is said in the log, by the
operator's configuration (`plannerLogic`), so that a release that brings new rules goes on by the old ones until
somebody says otherwise (ADR 0016). Rules are never changed and never taken away: a new row is added.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from tapio_reconciler.core.state import State
from tapio_shared.facts import ConfigurationObserved, DeleteAction
from tapio_shared.json import int_at

OLDEST: Final = 1


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What differs from one revision to another."""

    longest_refusal_wait: int
    """Milliseconds between two tries of what a person must mend (403, 422), at most, before the spread."""
    deletes_in_order: bool
    """Whether what makes pods goes before what pods need, instead of all at once."""
    awaits_deletions: bool = False
    """Whether a deletion that went well is given time to be observed before it is asked for again."""
    counts_released: bool = False
    """Whether a StatefulSet that was let go of to be made anew still counts among a graph's members, and its pods go
    when it is not wanted any more."""
    counts_kept: bool = False
    """Whether what is kept running, since its spec can't be read, keeps what it needs of others; and whether a
    TapioIntelligence says what its TapioCluster is stalled by."""
    backs_off_unobserved: bool = False
    """Whether a write that nobody tells of is repeated ever more rarely."""
    goes_ahead_when_released: bool = False
    """Whether a workload that is gone and has pods waits for nothing only if the operator let go of them to make it
    anew; not because pods of a former one still end."""
    revives_from_zero: bool = False
    """Whether a Deployment that was scaled to nothing is given a pod, from which its autoscaler goes on."""
    compares_whole: bool = False
    """Whether what others add to an entry of an atomic list, or to a selector, is set back as it is owned: whole."""
    looks_while_paused: bool = False
    """Whether a TapioCluster that is paused says that it is not Ready when what was ready then has ceased to run."""
    settles_statuses: bool = False
    """Whether fields of a status that the API server drops are asked for again only now and then."""
    backs_off_statuses: bool = False
    """Whether a status that can't be written is tried ever more rarely, though none is quite the one before."""
    keeps_failures_of_secrets: bool = False
    """Whether a Secret whose making is tried again keeps its failure until that went well, as any other object does."""
    awaits_before_the_end: bool = False
    """Whether a TapioCluster that is deleted waits for what was written for it and has not been told of yet."""
    claims_first: bool = False
    """Whether nothing is made for a TapioCluster whose finalizer could not be set."""


_1: Final = Rules(longest_refusal_wait=300_000, deletes_in_order=False)
# Who has just mended a permission or a quota waits for nothing else; and a pod that still runs while its ServiceAccount
# or its configuration is deleted ends in errors instead of in order.
_2: Final = replace(_1, longest_refusal_wait=120_000, deletes_in_order=True)
# While nobody tells that an object is gone (the watcher fails over), its deletion was decided 20 times a second.
_3: Final = replace(_2, awaits_deletions=True)
# The last of the members that `replicas` no longer asks for was not made again when volumes grew; and NATS let a
# collector in no more, and its password was deleted, while its spec was invalid.
_4: Final = replace(_3, counts_released=True, counts_kept=True)
# A TapioCluster that was made anew while the former one's pods still ended did not wait for its Secrets, so that NATS
# and all that log in to it were rolled out twice. And while no watcher ran, what was written or deleted last was
# repeated every five seconds: three messages each, which pushed the past out of the log. And who scaled a component to
# 0 below our autoscaler, which never scales from there, switched it off for good, as if it were ready.
_5: Final = replace(_4, goes_ahead_when_released=True, backs_off_unobserved=True, revives_from_zero=True)
# Who added a key to the selector of a Service or to a peer of a NetworkPolicy kept everybody out, or let everybody in,
# and the status said that all is well. And so it did of a TapioCluster that is paused, whatever became of it.
_6: Final = replace(_5, compares_whole=True, looks_while_paused=True)
# Under CRDs that are older than the operator, or lack a field of the status, a status was written 17 times a second.
# While no API server answered, each TapioCluster whose status was to change recorded some 8 KB a second.
_7: Final = replace(_6, settles_statuses=True, backs_off_statuses=True)
# While a Secret could not be made (no namespace, a quota), each try wrote the status twice, there and back: it named
# another object, or nothing, for an instant, and what had been told as an Event was told again.
_8: Final = replace(_7, keeps_failures_of_secrets=True)
# A TapioCluster was deleted within a second, while the watch of ClusterRoleBindings was begun anew: it was gone before
# anybody told of the one just made, and when the log was lost then, nobody knew any more that this had to go. And while
# the finalizer waited for its next try, all objects were made without one.
_9: Final = replace(_8, awaits_before_the_end=True, claims_first=True)
RULES: Final = dict(enumerate((_1, _2, _3, _4, _5, _6, _7, _8, _9), start=1))
NEWEST: Final = max(RULES)

_SCALES: Final = frozenset({"HorizontalPodAutoscaler", "VerticalPodAutoscaler"})
_MAKES_PODS: Final = frozenset({"DaemonSet", "Deployment", "StatefulSet", "CronJob", "Job", "Pod"})


def logic_of(state: State) -> int:
    """The revision that the log asks for; what is newer than this release knows means its newest."""
    found = state.shared_fact("config", ConfigurationObserved)
    asked = OLDEST if found is None else int_at(found[1].configuration, "plannerLogic", default=OLDEST)
    return min(max(asked, OLDEST), NEWEST)


def rules_of(logic: int) -> Rules:
    """The rules of a revision that this release knows."""
    return RULES[logic]


def in_order(delete: list[DeleteAction], rules: Rules) -> list[DeleteAction]:
    """`delete` in the order of its phases: what scales, then what makes pods, then what pods need."""
    phased = (
        [msgspec.structs.replace(one, phase=_phase(one.kind)) for one in delete] if rules.deletes_in_order else delete
    )
    return sorted(phased, key=lambda one: (one.phase, one.kind, one.namespace, one.name))


def _phase(kind: str) -> int:
    if kind in _SCALES:
        return 0
    return 1 if kind in _MAKES_PODS else 2
