"""What others do to a TapioCluster's objects, and a TapioCluster whose deletion does not end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tapio_cli.doctor.findings import Finding, finding
from tapio_cli.history.failures import failed_writes, failures_of
from tapio_cli.history.interference import Dispute, Held, held
from tapio_cli.history.printing import milliseconds
from tapio_reconciler.core.state import State
from tapio_shared.api.labels import PAUSED
from tapio_shared.facts import DecisionRecorded
from tapio_shared.json import JsonObject, str_at, strings_at

_USUAL: Final = 60_000
"""Milliseconds in which finalizers of others are taken off where their controllers run."""
_LONG: Final = 300_000
"""Milliseconds after which a deletion that goes on is none that ends by itself."""
_SHOWN: Final = 5


def examine_writers(area: str, check: str, found: Sequence[Dispute]) -> Finding:
    """Whether somebody else keeps changing what the operator writes."""
    return finding(
        area,
        check,
        [str(one) for one in found],
        ok="Nobody else keeps changing what the operator writes.",
        next_step=" ".join(one.next_step for one in found),
    )


def examine_deletions(area: str, check: str, state: State, now: int) -> Finding:
    """Whether something is kept from going."""
    lasting = _lasting(held(state), now)
    return finding(
        area,
        check,
        [str(one) for one in lasting],
        ok="Nothing that is being deleted is kept by somebody else.",
        next_step=" ".join(one.next_step for one in lasting),
    )


def examine_end(area: str, check: str, state: State, cluster: JsonObject, now: int) -> Finding:
    """Whether the deletion of a TapioCluster goes on: all there is to ask of one that is being deleted."""
    key = state.key
    name, since = f"TapioCluster {key.namespace}/{key.name}", str_at(cluster, "metadata", "deletionTimestamp")
    kept, failed = held(state), failures_of(state)
    problems, steps = [str(one) for one in _lasting(kept, now)], [one.next_step for one in _lasting(kept, now)]
    if strings_at(cluster, "metadata", "annotations").get(PAUSED) == "true":
        problems.append(f"{name} is paused ({PAUSED}), so that nothing of it is deleted.")
        steps.append(f"kubectl annotate tapiocluster {key.name} -n {key.namespace} {PAUSED}-")
    problems += failed_writes(failed)
    going = _going(state)
    if not problems and now - milliseconds(since) > _LONG:
        problems.append(f"{name} is being deleted since {since}, and that has not ended. {going}")
        steps.append(f"tapioctl explain {key.namespace}/{key.name} says what led to it.")
    return finding(
        area, check, problems, ok=f"{name} is being deleted since {since}. {going}".rstrip(), next_step=" ".join(steps)
    )


def _lasting(found: Iterable[Held], now: int) -> list[Held]:
    return [one for one in found if now - one.began > _USUAL]


def _going(state: State) -> str:
    """What is waited for, as the last decision has it."""
    decision = state.find("decision", DecisionRecorded)
    waiting = [] if decision is None else decision[1].waiting
    left = len(waiting) - _SHOWN
    return " ".join([*waiting[:_SHOWN], *([f"And {left} more."] if left > 0 else [])])
