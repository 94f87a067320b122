"""What the planner deletes, on a world without servers: what is no longer wanted, and everything at the end."""

from __future__ import annotations

import copy

import pytest

from tapio_reconciler.core.changes import LONGEST_UNOBSERVED
from tapio_reconciler.core.rules import NEWEST
from tapio_shared.json import JsonObject, object_at, str_at
from tapio_shared.keys import ObjectRef, object_subject
from tests.support.planned_world import PARTITIONS, World, example


def test_what_is_no_longer_wanted_is_pruned_and_data_is_kept() -> None:
    world = World.of(example("quickstart"))
    world.settle()
    claim: JsonObject = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "data-production-neo4j-0-0",
            "namespace": "tapio-system",
            "labels": object_at(
                world.objects()[ObjectRef("apps", "StatefulSet", "tapio-system", "production-neo4j-0")],
                "metadata",
                "labels",
            ),
        },
        "status": {"phase": "Bound"},
    }
    world.observe(claim)
    world.edit(collectors={"kubernetes": {"enabled": True}}, intelligence={"embedded": True})
    planned = world.step()
    gone = {(action.kind, action.name) for action in planned.decision.delete}
    assert ("StatefulSet", "production-neo4j-0") in gone
    assert any(kind == "DaemonSet" for kind, _ in gone)
    assert not gone & {("PersistentVolumeClaim", "data-production-neo4j-0-0"), ("Secret", "production-neo4j-auth")}
    world.settle()
    fresh = World.of({**example("quickstart"), "spec": object_at(world.cluster, "spec")})
    fresh.settle()
    ours = {ref for ref in world.objects() if ref.kind not in {"PersistentVolumeClaim", "Secret"}}
    assert ours == {ref for ref in fresh.objects() if ref.kind != "Secret"}


def test_objects_of_others_are_never_pruned() -> None:
    world = World.of(example("development"))
    world.settle()
    world.observe(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs", "namespace": "default", "uid": "x"}}
    )
    handed_down = copy.deepcopy(world.objects()[ObjectRef("", "ConfigMap", "default", "dev-nats-config")])
    object_at(handed_down, "metadata")["name"] = "handed-down"
    object_at(handed_down, "metadata")["ownerReferences"] = [
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "dev-nats", "uid": "s", "controller": True}
    ]
    world.observe(handed_down)
    assert world.plan().decision.delete == []


@pytest.mark.parametrize("is_deleted", [pytest.param(False, id="pruning"), pytest.param(True, id="teardown")])
def test_what_another_cluster_controls_stays_whatever_its_labels_say(*, is_deleted: bool) -> None:
    """Campaign, seeds 3 and 5: somebody gives an object of one TapioCluster the label of another one."""
    world = World.of(example("development"))
    world.settle()
    others = copy.deepcopy(world.objects()[ObjectRef("apps", "StatefulSet", "default", "dev-nats")])
    object_at(others, "metadata")["name"] = "other-nats"
    owner: JsonObject = {"kind": "TapioCluster", "name": "other", "uid": "o", "controller": True}
    object_at(others, "metadata")["ownerReferences"] = [owner]
    world.observe(others)
    if is_deleted:
        document = copy.deepcopy(world.cluster)
        object_at(document, "metadata")["deletionTimestamp"] = "2026-11-23T00:00:00Z"
        world.observe(document)
    deleted = {(action.kind, action.name) for action in world.plan().decision.delete}
    assert ("StatefulSet", "other-nats") not in deleted
    assert (("StatefulSet", "dev-nats") in deleted) is is_deleted


@pytest.mark.parametrize("is_deleted", [pytest.param(False, id="pruning"), pytest.param(True, id="teardown")])
@pytest.mark.parametrize("name", [pytest.param("kubernetes", id="controlled"), pytest.param("", id="cluster-scoped")])
def test_what_somebody_says_to_manage_goes_all_the_same(name: str, *, is_deleted: bool) -> None:
    """Campaign, seeds 351, 367 and 401: relabelled, and no longer wanted before the label was put right."""
    world = World.of(example("edge"))
    world.settle()
    kind = "NetworkPolicy" if name else "ClusterRoleBinding"
    ref, relabelled = next(
        (ref, copy.deepcopy(one)) for ref, one in world.objects().items() if ref.kind == kind and name in ref.name
    )
    object_at(relabelled, "metadata", "labels")["app.kubernetes.io/managed-by"] = "Helm"
    world.observe(relabelled)
    if is_deleted:
        document = copy.deepcopy(world.cluster)
        object_at(document, "metadata")["deletionTimestamp"] = "2026-11-23T00:00:00Z"
        world.observe(document)
    else:
        world.edit(collectors={"kubernetes": {"enabled": False}})
    assert (ref.kind, ref.name) in {(action.kind, action.name) for action in world.plan().decision.delete}


@pytest.mark.parametrize(
    ("policy", "kept"), [pytest.param("Retain", True, id="retain"), pytest.param("Delete", False, id="delete")]
)
def test_teardown_removes_everything_and_treats_data_by_policy(policy: str, kept: bool) -> None:
    world = World.of(example("quickstart"))
    world.edit(deletionPolicy=policy)
    world.settle()
    document = copy.deepcopy(world.cluster)
    object_at(document, "metadata")["deletionTimestamp"] = "2026-11-23T00:00:00Z"
    world.observe(document)
    planned = world.step()
    assert planned.decision.finalizer == ""
    assert str_at(world.cluster, "status", "phase") == "Deleting"
    assert any(action.kind == "ClusterRole" for action in planned.decision.delete)
    assert world.step().decision.finalizer == "remove"
    left = {ref.kind for ref in world.objects()}
    assert left == ({"Secret"} if kept else set())


def _deleted_before_its_binding_was_told_of(logic: int = NEWEST) -> tuple[World, JsonObject]:
    """A world in which a TapioCluster is deleted, and nobody has told of a ClusterRoleBinding that was just made."""
    world = World.of(example("edge"))
    world.logic = logic
    world.step()
    ref, binding = next((ref, one) for ref, one in world.objects().items() if ref.kind == "ClusterRoleBinding")
    del world.state.own[object_subject(world.key, ref, PARTITIONS)]
    document = copy.deepcopy(world.cluster)
    object_at(document, "metadata")["deletionTimestamp"] = "2026-11-23T00:00:00Z"
    world.observe(document)
    world.step()
    return world, binding


def test_the_end_waits_for_what_was_written_and_has_not_been_told_of() -> None:
    """Campaign, seed 102339: the log was lost after that, and nobody knew any more whose the binding was."""
    world, binding = _deleted_before_its_binding_was_told_of()
    waits = world.step()
    assert waits.decision.finalizer == ""
    name = str_at(binding, "metadata", "name")
    what = f"ClusterRoleBinding.rbac.authorization.k8s.io {name}"
    assert waits.decision.waiting == [f"{what} was written and has not been observed yet; it is deleted then."]
    assert [timer.due_at for timer in waits.decision.timers] == [world.now + LONGEST_UNOBSERVED]
    assert what in str(world.cluster["status"])
    assert not world.step().has_effects
    world.observe(binding)
    assert [action.name for action in world.step().decision.delete] == [name]
    assert world.step().decision.finalizer == "remove"


def test_the_end_does_not_wait_for_ever_for_what_somebody_may_have_deleted() -> None:
    world, _ = _deleted_before_its_binding_was_told_of()
    world.now += LONGEST_UNOBSERVED
    assert world.step().decision.finalizer == "remove"


def test_by_former_rules_the_end_waits_for_nothing_that_nobody_told_of() -> None:
    world, _ = _deleted_before_its_binding_was_told_of(logic=8)
    assert world.step().decision.finalizer == "remove"
