"""Whether the log, as a state was read from it, held a complete observation: absence in any other is no evidence."""

from __future__ import annotations

from tapio_reconciler.core.state import State
from tapio_shared.facts import DiscoveryObserved, SweepMarked, Synced

NOTHING_TOLD = "The event log does not hold a complete observation of this Kubernetes cluster yet."
_DROPPED = (
    "The event log begins at {begins} and is vouched for from {complete} on: what it has dropped is told again first."
)


def incompleteness(state: State, log_begins: int) -> str:
    """Why `state` is not to be planned from, as a sentence; empty when it holds all that is known.

    `log_begins` is the first sequence that the log held after the state had been read (`Inputs.log_begins`).
    """
    synced = state.shared_fact("synced", Synced)
    if synced is None or state.shared_fact("discovery", DiscoveryObserved) is None:
        return NOTHING_TOLD
    swept = state.shared_fact("sweep", SweepMarked)
    complete_from = max(synced[1].complete_from, 0 if swept is None else swept[1].complete_from)
    if complete_from and log_begins > complete_from:
        return _DROPPED.format(begins=log_begins, complete=complete_from)
    return ""
