"""What an outcome carries on is bounded: failures of what is no longer to be done are dropped."""

from __future__ import annotations

import pytest

from tapio_reconciler.core.changes import Memory
from tapio_reconciler.core.outcomes import outcome_of
from tapio_shared.facts import DecisionRecorded, FailedWrite, Inputs, ObjectResult, OutcomeRecorded

NOW = 1_000_000
REFUSED = ObjectResult(ref="ConfigMap default/a", action="delete", code=500, error="broken", retryable=True)


def _failed(action: str, retry_at: int) -> FailedWrite:
    return FailedWrite(
        action=action, digest="", code=500, error_reason="", error="broken", attempt=3, failed_at=1, retry_at=retry_at
    )


@pytest.mark.parametrize(
    ("failure", "results", "attempts"),
    [
        pytest.param(_failed("delete", NOW + 1), [], [3], id="a-deletion-that-waits-is-kept"),
        pytest.param(_failed("delete", NOW - 1), [], [], id="a-deletion-with-nothing-left-is-dropped"),
        pytest.param(_failed("delete", NOW - 1), [REFUSED], [4], id="a-deletion-refused-again-counts-on"),
        pytest.param(_failed("apply", NOW + 1), [], [], id="a-write-no-longer-wanted-is-dropped"),
    ],
)
def test_failures_that_are_carried_on(failure: FailedWrite, results: list[ObjectResult], attempts: list[int]) -> None:
    before = OutcomeRecorded(decision=1, ended_at=1, failures={REFUSED.ref: failure})
    inputs = Inputs(now=NOW, operator_version="1", logic=1, partition_epoch=1)
    decision = DecisionRecorded(revision=1, inputs=inputs, digest="", desired_digest="")
    outcome = outcome_of(
        2, decision, results, {}, Memory(1, before), {}, corrected=[], retry_after={}, dropped={}, now=NOW
    )
    assert [one.attempt for one in outcome.failures.values()] == attempts
