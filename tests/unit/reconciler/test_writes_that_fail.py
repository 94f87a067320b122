"""What the planner makes of writes that were refused, are not seen yet, or wait for another try."""

from __future__ import annotations

import copy

import pytest

from tapio_reconciler.core.components import SOMEBODY_ELSES
from tapio_reconciler.core.outcomes import retry_wait
from tapio_shared.facts import ObjectResult, TimerDue
from tapio_shared.json import objects_at, str_at
from tapio_shared.keys import ObjectRef, timer_subject
from tests.support.planned_world import PARTITIONS, START, World, example
from tests.support.workloads import condition


def refused(name: str, code: int, reason: str, text: str, *, retryable: bool) -> ObjectResult:
    return ObjectResult(
        ref=name, action="create", digest="", code=code, error_reason=reason, error=text, retryable=retryable
    )


@pytest.mark.parametrize(
    ("code", "reason", "text", "retryable", "shown", "stalled"),
    [
        pytest.param(403, "Forbidden", "exceeded quota: q", False, "QuotaExceeded", True, id="quota"),
        pytest.param(403, "Forbidden", "cannot patch", False, "Forbidden", True, id="rbac"),
        pytest.param(404, "NotFound", 'namespaces "x" not found', False, "NamespaceMissing", True, id="namespace"),
        pytest.param(422, "Invalid", "field is immutable", False, "ImmutableField", True, id="immutable"),
        pytest.param(503, "ServiceUnavailable", "down", True, "RetryScheduled", False, id="unavailable"),
    ],
)
def test_a_refused_write_is_a_condition_with_a_retry(
    code: int, reason: str, text: str, retryable: bool, shown: str, stalled: bool
) -> None:
    world = World.of(example("development"))
    name = "Service default/dev-nats"
    digest = world.plan().decision.objects[name]
    result = ObjectResult(
        ref=name, action="create", digest=digest, code=code, error_reason=reason, error=text, retryable=retryable
    )
    world.step(refuse={name: result})
    planned = world.step(refuse={name: result})
    world.step(refuse={name: result})
    assert name not in {str(ObjectRef(one.group, one.kind, one.namespace, one.name)) for one in planned.decision.apply}
    assert condition(world.cluster, "Ready")["reason"] == shown
    assert bool(condition(world.cluster, "Stalled")) is stalled
    assert [timer.name for timer in world.plan().decision.timers] == ["retry"]
    assert not world.plan().has_effects
    world.now = world.plan().decision.timers[0].due_at
    assert [action.name for action in world.step().decision.apply] == ["dev-nats"]
    world.settle()
    assert condition(world.cluster, "Ready")["status"] == "True"


@pytest.mark.parametrize(
    ("logic", "statuses", "reasons"),
    [
        pytest.param(
            7,
            2,
            [("QuotaExceeded", "True"), ("Applying", "")],
            id="7: the status comes and goes with each try",
        ),
        pytest.param(8, 0, [("QuotaExceeded", "True"), ("QuotaExceeded", "True")], id="8: it stays"),
    ],
)
def test_a_secret_that_is_tried_again(logic: int, statuses: int, reasons: list[tuple[str, str]]) -> None:
    world = World.of(example("development"))
    world.logic = logic
    name = "Secret default/dev-nats-auth"
    digest = world.plan().decision.objects[name]
    result = ObjectResult(
        ref=name, action="generate", digest=digest, code=403, error_reason="Forbidden", error="exceeded quota: q"
    )
    for _ in range(4):
        world.step(refuse={name: result})
    shown = [_stands(world)]
    world.now = world.plan().decision.timers[0].due_at
    tried = world.step(refuse={name: result})
    assert [action.name for action in tried.decision.apply] == ["dev-nats-auth"]
    shown.append(_stands(world))
    after = world.step(refuse={name: result})
    assert shown == reasons
    assert sum(one.decision.status is not None for one in (tried, after)) == statuses
    assert [one.reason for one in after.decision.events] == ["QuotaExceeded"] * statuses


def _stands(world: World) -> tuple[str, str]:
    """The reason of Ready, and the status of Stalled if it is there."""
    conditions = {str_at(one, "type"): one for one in objects_at(world.cluster, "status", "conditions")}
    return str_at(conditions["Ready"], "reason"), str_at(conditions.get("Stalled"), "status")


def test_an_object_that_was_seen_to_be_somebody_elses_is_a_conflict_at_once() -> None:
    world = World.of(example("development"))
    name = "Service default/dev-nats"
    digest = world.plan().decision.objects[name]
    result = ObjectResult(
        ref=name, action="create", digest=digest, code=409, error_reason=SOMEBODY_ELSES, error="exists"
    )
    world.step(refuse={name: result})
    world.step()
    stalled = condition(world.cluster, "Stalled")
    assert stalled["reason"] == "ObjectConflict"
    assert 'tapio.io/adopt: "true"' in str_at(stalled, "message")


def test_an_object_that_exists_after_all_twice_is_a_conflict() -> None:
    world = World.of(example("development"))
    name = "Service default/dev-nats"
    digest = world.plan().decision.objects[name]
    result = ObjectResult(
        ref=name, action="create", digest=digest, code=409, error_reason="AlreadyExists", error="exists"
    )
    world.step(refuse={name: result})
    world.step()
    assert condition(world.cluster, "Ready")["reason"] == "RetryScheduled"
    world.now = world.plan().decision.timers[0].due_at
    world.step(refuse={name: result})
    world.step()
    stalled = condition(world.cluster, "Stalled")
    assert stalled["reason"] == "ObjectConflict"
    assert 'tapio.io/adopt: "true"' in str_at(stalled, "message")


def test_waits_between_tries_double_up_to_five_minutes() -> None:
    waits = [retry_wait("Service default/x", attempt, retryable=True) for attempt in range(1, 14)]
    assert all(1_000 * 2**index <= wait < 1_250 * 2**index for index, wait in enumerate(waits[:8]))
    assert all(300_000 <= wait <= 375_000 for wait in waits[9:])


def test_a_write_that_is_not_observed_yet_is_not_repeated() -> None:
    world = World.of(example("development"))
    before = copy.deepcopy(world.state)
    world.step()
    memory = {
        subject: entry for subject, entry in world.state.own.items() if subject.endswith((".decision", ".outcome"))
    }
    world.state = before
    world.state.own.update(memory)
    world.state.revision = world.sequence
    stale = world.plan()
    assert stale.decision.apply == []
    assert stale.decision.timers[0].name == "observe"


def test_timers_of_a_key_replace_one_another() -> None:
    world = World.of(example("development"))
    world.settle()
    subject = timer_subject(world.key, "retry", PARTITIONS)
    for count in range(3):
        world.record(subject, TimerDue(name="retry", due_at=START, fired_at=START + count, decision=1, cluster_uid="u"))
    assert sum(1 for one in world.state.own if ".timer." in one) == 1
    assert not world.plan().has_effects
