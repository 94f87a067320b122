"""Which records of the log make a key worth planning again."""

from __future__ import annotations

from typing import assert_never

from tapio_shared.codec import digest
from tapio_shared.facts import (
    ConfigurationObserved,
    CursorMoved,
    DecisionRecorded,
    DiscoveryObserved,
    EpochAdvanced,
    FleetObserved,
    MessageParked,
    ObjectGone,
    ObjectObserved,
    OutcomeRecorded,
    Record,
    SweepMarked,
    Synced,
    TargetObserved,
    TimerDue,
)


def dirties(record: Record, before: Record | None) -> bool:
    """Whether `record` can change the plan of its key, given the last record of its subject; in doubt, True.

    A sweep publishes equal facts again: they change nothing. Decisions and outcomes are the worker's own words; the
    worker that wrote them goes on by itself.
    """
    match record:
        case ObjectObserved():
            return not (
                isinstance(before, ObjectObserved)
                and before.uid == record.uid
                and before.resource_version == record.resource_version
                and digest(before.object) == digest(record.object)
            )
        case FleetObserved() | ConfigurationObserved() | DiscoveryObserved() | Synced() | TargetObserved():
            return True
        case ObjectGone():
            return not (isinstance(before, ObjectGone) and before.uid == record.uid)
        case TimerDue():
            return True
        case DecisionRecorded() | OutcomeRecorded() | SweepMarked() | EpochAdvanced() | CursorMoved() | MessageParked():
            return False
    assert_never(record)
