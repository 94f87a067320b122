"""Nothing is made for a TapioCluster before its finalizer is set: nobody would take it apart if that went meanwhile."""

from __future__ import annotations

import pytest

from tapio_reconciler.core.plans import Report
from tapio_reconciler.core.rules import NEWEST
from tapio_shared.facts import ObjectResult
from tapio_shared.json import JsonObject, object_at
from tapio_shared.keys import decision_subject, outcome_subject
from tests.support.planned_world import PARTITIONS, World, example
from tests.support.workloads import condition

WAITS = (
    "Nothing is made before the finalizer of TapioCluster.tapio.io default/dev is set, which failed; it is tried again."
)


def _refused(code: int, reason: str, text: str, *, logic: int = NEWEST) -> World:
    """A new TapioCluster whose finalizer was refused, so that nothing else of the decision was tried (applying.py)."""
    world = World.of(example("development"))
    world.logic = logic
    planned = world.plan()
    assert planned.decision.finalizer == "add"
    world.sequence += 1
    sequence = world.sequence
    world.record(decision_subject(world.key, PARTITIONS), planned.record("test"), sequence)
    refusal = ObjectResult(
        ref="finalizer",
        action="finalizer",
        digest="add",
        code=code,
        error_reason=reason,
        error=text,
        retryable=code == 409,
    )
    outcome = planned.outcome(sequence, Report(results=[refusal]), now=world.now)
    world.record(outcome_subject(world.key, PARTITIONS), outcome)
    return world


def test_what_waits_for_its_finalizer_makes_nothing() -> None:
    """Campaign, seed 104468: it was deleted meanwhile, and the log was lost before anybody told of what was made."""
    world = _refused(409, "Conflict", "the object has been modified")
    planned = world.plan()
    assert not planned.has_effects
    assert planned.decision.waiting == [WAITS]
    world.now = planned.decision.timers[0].due_at
    planned = world.step()
    assert planned.decision.finalizer == "add"
    assert planned.decision.apply
    world.settle()
    assert condition(world.cluster, "Ready")["status"] == "True"


def test_a_finalizer_that_a_person_must_allow_is_said() -> None:
    world = _refused(403, "Forbidden", "tapioclusters is forbidden")
    planned = world.step()
    assert planned.decision.apply == []
    assert condition(world.cluster, "Stalled")["reason"] == "Forbidden"
    assert condition(world.cluster, "Stalled")["message"] == (
        "The finalizer of TapioCluster.tapio.io default/dev failed: tapioclusters is forbidden; it will be tried again."
    )
    assert not world.step().has_effects
    world.now = world.plan().decision.timers[0].due_at
    world.settle()
    assert condition(world.cluster, "Ready")["status"] == "True"


def test_what_failed_with_a_former_one_of_that_name_keeps_nobody_waiting() -> None:
    world = _refused(409, "Conflict", "the object has been modified")
    document: JsonObject = {
        **world.cluster,
        "metadata": {**object_at(world.cluster, "metadata"), "uid": "uid-of-another"},
    }
    world.observe(document)
    planned = world.plan()
    assert planned.decision.finalizer == "add"
    assert planned.decision.apply


@pytest.mark.parametrize("logic", [8])
def test_by_former_rules_all_was_made_while_the_finalizer_waited(logic: int) -> None:
    planned = _refused(409, "Conflict", "the object has been modified", logic=logic).plan()
    assert planned.decision.apply
    assert planned.decision.finalizer == ""
