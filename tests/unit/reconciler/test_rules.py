"""Rules of order and retries by revision: none ever changes, and each does what it says."""

from __future__ import annotations

import pytest

from tapio_reconciler.core.changes import Memory
from tapio_reconciler.core.outcomes import outcome_of
from tapio_reconciler.core.rules import NEWEST, RULES, Rules, in_order, logic_of
from tapio_reconciler.core.state import Entry, State
from tapio_shared.facts import (
    ConfigurationObserved,
    DecisionRecorded,
    DeleteAction,
    FailedWrite,
    Inputs,
    ObjectResult,
    OutcomeRecorded,
)
from tapio_shared.json import JsonObject
from tapio_shared.keys import OrderingKey

NOW = 1_000_000
SERVICE = "Service default/x"


def test_a_revision_that_was_ever_recorded_keeps_its_rules() -> None:
    assert {
        1: Rules(longest_refusal_wait=300_000, deletes_in_order=False),
        2: Rules(longest_refusal_wait=120_000, deletes_in_order=True),
        3: Rules(longest_refusal_wait=120_000, deletes_in_order=True, awaits_deletions=True),
        4: Rules(
            longest_refusal_wait=120_000,
            deletes_in_order=True,
            awaits_deletions=True,
            counts_released=True,
            counts_kept=True,
        ),
        5: Rules(
            longest_refusal_wait=120_000,
            deletes_in_order=True,
            awaits_deletions=True,
            counts_released=True,
            counts_kept=True,
            goes_ahead_when_released=True,
            backs_off_unobserved=True,
            revives_from_zero=True,
        ),
        6: Rules(
            longest_refusal_wait=120_000,
            deletes_in_order=True,
            awaits_deletions=True,
            counts_released=True,
            counts_kept=True,
            goes_ahead_when_released=True,
            backs_off_unobserved=True,
            revives_from_zero=True,
            compares_whole=True,
            looks_while_paused=True,
        ),
        7: Rules(
            longest_refusal_wait=120_000,
            deletes_in_order=True,
            awaits_deletions=True,
            counts_released=True,
            counts_kept=True,
            goes_ahead_when_released=True,
            backs_off_unobserved=True,
            revives_from_zero=True,
            compares_whole=True,
            looks_while_paused=True,
            settles_statuses=True,
            backs_off_statuses=True,
        ),
        8: Rules(
            longest_refusal_wait=120_000,
            deletes_in_order=True,
            awaits_deletions=True,
            counts_released=True,
            counts_kept=True,
            goes_ahead_when_released=True,
            backs_off_unobserved=True,
            revives_from_zero=True,
            compares_whole=True,
            looks_while_paused=True,
            settles_statuses=True,
            backs_off_statuses=True,
            keeps_failures_of_secrets=True,
        ),
        9: Rules(
            longest_refusal_wait=120_000,
            deletes_in_order=True,
            awaits_deletions=True,
            counts_released=True,
            counts_kept=True,
            goes_ahead_when_released=True,
            backs_off_unobserved=True,
            revives_from_zero=True,
            compares_whole=True,
            looks_while_paused=True,
            settles_statuses=True,
            backs_off_statuses=True,
            keeps_failures_of_secrets=True,
            awaits_before_the_end=True,
            claims_first=True,
        ),
    } == RULES


@pytest.mark.parametrize(
    ("configuration", "logic"),
    [
        pytest.param(None, 1, id="nothing was told: by the oldest"),
        pytest.param({}, 1, id="a configuration from before there were rules"),
        pytest.param({"plannerLogic": 1}, 1, id="the oldest"),
        pytest.param({"plannerLogic": 2}, 2, id="one between"),
        pytest.param({"plannerLogic": 3}, 3, id="another"),
        pytest.param({"plannerLogic": NEWEST}, NEWEST, id="the newest"),
        pytest.param({"plannerLogic": 99}, NEWEST, id="one of a later release, while workers are rolled"),
        pytest.param({"plannerLogic": 0}, 1, id="none that ever was"),
    ],
)
def test_the_log_says_which_rules_hold(configuration: JsonObject | None, logic: int) -> None:
    state = State(OrderingKey("local", "default", "demo"))
    if configuration is not None:
        state.shared["config"] = Entry(7, ConfigurationObserved(configuration=configuration, observed_at=1))
    assert logic_of(state) == logic


@pytest.mark.parametrize(
    ("logic", "kinds"),
    [
        pytest.param(
            1,
            [(0, "ConfigMap"), (0, "Deployment"), (0, "HorizontalPodAutoscaler"), (0, "ServiceAccount")],
            id="1: all at once",
        ),
        pytest.param(
            2,
            [(0, "HorizontalPodAutoscaler"), (1, "Deployment"), (2, "ConfigMap"), (2, "ServiceAccount")],
            id="2: what scales, what makes pods, what pods need",
        ),
    ],
)
def test_the_order_of_deletions(logic: int, kinds: list[tuple[int, str]]) -> None:
    delete = [_delete(kind) for kind in ("ServiceAccount", "Deployment", "ConfigMap", "HorizontalPodAutoscaler")]
    assert [(one.phase, one.kind) for one in in_order(delete, RULES[logic])] == kinds


@pytest.mark.parametrize(
    ("logic", "longest"), [pytest.param(1, 300_000, id="1: five minutes"), pytest.param(2, 120_000, id="2: two")]
)
@pytest.mark.parametrize("retryable", [pytest.param(True, id="retryable"), pytest.param(False, id="refused")])
def test_how_long_a_failed_write_waits_at_most(logic: int, longest: int, retryable: bool) -> None:
    before = FailedWrite(action="apply", digest="d", error="no", attempt=11, failed_at=NOW, retry_at=NOW)
    wait = _wait(
        ObjectResult(ref=SERVICE, action="apply", digest="d", code=403, error="no", retryable=retryable), before, logic
    )
    expected = 300_000 if retryable else longest
    assert expected <= wait < expected * 5 // 4


@pytest.mark.parametrize(
    ("code", "retryable", "first"),
    [
        pytest.param(409, True, 1_000, id="a conflict"),
        pytest.param(401, True, 1_000, id="a token that has ended"),
        pytest.param(404, False, 1_000, id="a role that the API server has not seen yet, a namespace"),
        pytest.param(403, False, 30_000, id="a quota"),
        pytest.param(422, False, 30_000, id="what is not valid"),
    ],
)
def test_how_soon_a_failed_write_is_tried_again(code: int, retryable: bool, first: int) -> None:
    result = ObjectResult(ref=SERVICE, action="create", digest="d", code=code, error="no", retryable=retryable)
    assert first <= _wait(result, None, NEWEST) < first * 5 // 4


@pytest.mark.parametrize(
    ("logic", "action", "wait"),
    [
        pytest.param(6, "status", 1_000, id="6: each status is another one"),
        pytest.param(7, "status", 8_000, id="7: it goes on from the one before"),
        pytest.param(7, "apply", 1_000, id="7: another manifest is tried at once"),
    ],
)
def test_how_long_what_is_not_the_same_waits(logic: int, action: str, wait: int) -> None:
    before = FailedWrite(action=action, digest="d", error="no", attempt=3, failed_at=NOW, retry_at=NOW)
    result = ObjectResult(ref=SERVICE, action=action, digest="other", code=0, error="no", retryable=True)
    assert wait <= _wait(result, before, logic) < wait * 5 // 4


def _wait(result: ObjectResult, before: FailedWrite | None, logic: int) -> int:
    """Milliseconds until the next try, after `result` and what had failed `before`."""
    decision = DecisionRecorded(
        revision=1,
        inputs=Inputs(now=NOW, operator_version="1", logic=logic),
        digest="",
        desired_digest="",
        objects={SERVICE: "d"},
    )
    failures = {} if before is None else {SERVICE: before}
    memory = Memory(1, OutcomeRecorded(decision=1, ended_at=NOW, failures=failures))
    outcome = outcome_of(2, decision, [result], {}, memory, {}, corrected=[], retry_after={}, dropped={}, now=NOW)
    return outcome.failures[SERVICE].retry_at - NOW


def _delete(kind: str) -> DeleteAction:
    return DeleteAction(
        group="", version="v1", kind=kind, plural="", name="x", uid="u", resource_version="1", reason="It goes."
    )
