"""What the planner deletes, on a world without servers: what is no longer wanted, and everything at the end."""

from __future__ import annotations

import copy

import pytest

from tapio_shared.json import JsonObject, object_at, str_at
from tapio_shared.keys import ObjectRef
from tests.support.planned_world import World, example


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
