"""Volumes grow without a pod being touched, never shrink, and say what keeps them from it."""

from __future__ import annotations

import msgspec
import pytest

from tapio_shared.api.names import cluster_ref
from tapio_shared.facts import DecisionRecorded, ObjectResult
from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at
from tapio_shared.keys import ObjectRef, outcome_subject
from tests.support.planned_world import FLEET, PARTITIONS
from tests.support.volume_world import VolumeWorld


def cluster(**spec: JsonValue) -> JsonObject:
    return {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioCluster",
        "metadata": {"name": "one", "namespace": "default"},
        "spec": {"profile": "development", **spec},
    }


def running(**spec: JsonValue) -> VolumeWorld:
    world = VolumeWorld.of(cluster(**spec))
    world.settle()
    return world


def larger(world: VolumeWorld) -> None:
    world.edit(nats={"storage": "5Gi"}, intelligence={"neo4j": {"storage": "50Gi"}})


GROWN = {"data-one-nats-0": "5Gi", "data-one-neo4j-0-0": "50Gi"}
TEMPLATES = {"one-nats": "5Gi", "one-neo4j-0": "50Gi"}


def test_claims_grow_before_their_stateful_set_is_made_anew() -> None:
    world = running()
    assert world.claims() == {"data-one-nats-0": "2Gi", "data-one-neo4j-0-0": "10Gi"}
    larger(world)

    steps = [_writes(world) for _ in range(6)]
    assert steps == [
        ["expand data-one-nats-0"],
        ["Orphan one-nats"],
        ["create one-nats"],
        ["expand data-one-neo4j-0-0"],
        ["Orphan one-neo4j-0"],
        ["create one-neo4j-0"],
    ]
    world.settle()
    assert world.templates() == TEMPLATES
    assert world.condition("Ready")[0] == "True"
    assert world.condition("Degraded")[0] == "False"
    assert not world.plan().has_effects


def _writes(world: VolumeWorld) -> list[str]:
    """One step: what is done about StatefulSets and claims."""
    decision = world.step().decision
    kinds = {"StatefulSet", "PersistentVolumeClaim"}
    return [f"{one.mode} {one.name}" for one in decision.apply if one.kind in kinds] + [
        f"{one.propagation} {one.name}" for one in decision.delete
    ]


@pytest.mark.parametrize("writes", range(4))
@pytest.mark.parametrize("steps", range(7))
def test_an_operator_that_ends_between_two_writes_goes_on_from_what_it_sees(steps: int, writes: int) -> None:
    world = running()
    larger(world)
    for _ in range(steps):
        world.step()
    world.crash(writes)
    for decision in _settle(world):
        deleted = {(one.kind, one.propagation) for one in decision.delete}
        assert deleted <= {("StatefulSet", "Orphan")}
    assert world.claims() == GROWN
    assert world.templates() == TEMPLATES


def _settle(world: VolumeWorld) -> list[DecisionRecorded]:
    before = len(world.plans)
    world.settle()
    return [one.decision for one in world.plans[before:]]


def test_a_stateful_set_that_is_made_anew_does_not_wait_for_what_it_depends_on() -> None:
    world = running()
    world.edit(intelligence={"neo4j": {"storage": "50Gi"}})
    assert _writes(world) == ["expand data-one-neo4j-0-0"]
    assert _writes(world) == ["Orphan one-neo4j-0"]
    nats = ObjectRef("apps", "StatefulSet", "default", "one-nats")
    document = world.find(nats)
    assert document is not None
    object_at(document, "status")["readyReplicas"] = 0
    world.observe(document)
    assert _writes(world) == ["create one-neo4j-0"]


@pytest.mark.parametrize(("logic", "at_once"), [(4, {"one-nats", "one-neo4j-0"}), (5, set[str]())])
def test_pods_that_end_with_a_former_cluster_keep_nothing_from_waiting(logic: int, at_once: set[str]) -> None:
    world = running()
    world.logic = logic
    former = world.cluster
    for ref in [*world.objects(), cluster_ref("default", "one")]:
        if ref.kind != "Pods":
            world.lose(ref)
    world.observe({**former, "metadata": {**object_at(former, "metadata"), "uid": "uid-of-another"}})
    first = world.step().decision
    assert {one.name for one in first.apply if one.kind == "StatefulSet"} == at_once
    assert ("nats waits until its Secrets have been made and observed." in first.waiting) is (not at_once)


def test_a_class_that_lets_nothing_grow_keeps_only_its_own_volumes_as_they_are() -> None:
    world = VolumeWorld.of(cluster())
    world.storage_class = "fixed"
    world.settle()
    world.edit(nats={"storage": "5Gi"}, gateway={"replicas": 2})
    world.settle()

    assert world.claims()["data-one-nats-0"] == "2Gi"
    assert world.templates()["one-nats"] == "2Gi"
    assert world.condition("Ready")[0] == "True"
    assert world.condition("Degraded") == (
        "True",
        "VolumeNotGrown",
        "spec.nats.storage asks for 5Gi and the volume stays at 2Gi: StorageClass fixed of PersistentVolumeClaim "
        "data-one-nats-0 does not let volumes grow. If its storage system can, allow it (kubectl patch storageclass "
        "fixed -p '{\"allowVolumeExpansion\": true}'); else set the size back.",
    )
    gateway = world.find(ObjectRef("apps", "Deployment", "default", "one-gateway"))
    assert object_at(gateway, "spec")["replicas"] == 2
    config = world.find(ObjectRef("", "ConfigMap", "default", "one-nats-config"))
    before = VolumeWorld.of(cluster())
    before.settle()
    known = before.find(ObjectRef("", "ConfigMap", "default", "one-nats-config"))
    assert object_at(config, "data") == object_at(known, "data")

    allowed = msgspec.structs.replace(FLEET, expandable_storage_classes=["fixed", "standard"])
    world.share("fleet", allowed)
    assert [one.name for one in world.plan().decision.apply if one.mode == "expand"] == ["data-one-nats-0"]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        pytest.param({"nats": {"storage": "1Gi"}}, "StorageShrinkRefused", id="nats"),
        pytest.param({"intelligence": {"neo4j": {"storage": "5Gi"}}}, "StorageShrinkRefused", id="neo4j"),
    ],
)
def test_a_volume_never_shrinks(spec: dict[str, object], reason: str) -> None:
    world = running()
    before = (world.claims(), world.templates())
    world.edit(**spec, gateway={"replicas": 2})
    world.settle()
    assert (world.claims(), world.templates()) == before
    assert world.condition("Stalled")[:2] == ("True", reason)
    gateway = world.find(ObjectRef("apps", "Deployment", "default", "one-gateway"))
    assert object_at(gateway, "spec")["replicas"] == 2


def test_a_refused_expansion_is_told_and_tried_again_and_the_stateful_set_still_rolls() -> None:
    world = running()
    world.edit(nats={"storage": "5Gi", "podLabels": {"team": "x"}})
    claim = ObjectRef("", "PersistentVolumeClaim", "default", "data-one-nats-0")
    refused = ObjectResult(
        ref=str(claim),
        action="expand",
        digest=_expansion_digest(world, str(claim)),
        code=403,
        error_reason="Forbidden",
        error="exceeded quota: storage",
    )
    for _ in range(4):
        world.step(refuse={str(claim): refused})
    assert world.claims()["data-one-nats-0"] == "2Gi"
    status, why, message = world.condition("Degraded")
    assert (status, why) == ("True", "VolumeNotGrown")
    assert "the API server does not let PersistentVolumeClaim data-one-nats-0 grow: exceeded quota: storage" in message
    nats = world.find(ObjectRef("apps", "StatefulSet", "default", "one-nats"))
    assert str_at(nats, "spec", "template", "metadata", "labels", "team") == "x"
    timers = {one.name: one.due_at for one in world.plan().decision.timers}
    assert timers["retry"] > world.now

    world.now = timers["retry"]
    world.settle()
    assert world.claims()["data-one-nats-0"] == "5Gi"
    assert world.templates()["one-nats"] == "5Gi"
    assert world.condition("Degraded")[0] == "False"


def _expansion_digest(world: VolumeWorld, name: str) -> str:
    return next(one.digest for one in world.plan().decision.apply if one.name in name and one.mode == "expand")


def test_an_unbound_claim_waits_and_does_not_keep_its_pods_from_being_mended() -> None:
    world = VolumeWorld.of(cluster())
    world.bound = False
    world.settle()
    world.edit(nats={"storage": "5Gi", "nodeSelector": {"disk": "ssd"}})
    world.settle()
    nats = world.find(ObjectRef("apps", "StatefulSet", "default", "one-nats"))
    assert str_at(nats, "spec", "template", "spec", "nodeSelector", "disk") == "ssd"
    assert world.templates()["one-nats"] == "2Gi"
    assert "is not bound yet" in world.condition("Degraded")[2]


def test_a_fleet_fact_of_an_older_watcher_says_nothing_about_growing() -> None:
    world = running()
    world.share("fleet", msgspec.structs.replace(FLEET, expandable_storage_classes=None))
    larger(world)
    world.settle()
    assert world.templates() == {"one-nats": "2Gi", "one-neo4j-0": "10Gi"}
    assert world.condition("Degraded")[0] == "False"


def test_labels_of_claim_templates_change_by_making_the_stateful_set_anew() -> None:
    world = running()
    world.edit(inheritedMetadata={"labels": {"owner": "me"}})
    world.settle()
    nats = world.find(ObjectRef("apps", "StatefulSet", "default", "one-nats"))
    template = objects_at(nats, "spec", "volumeClaimTemplates")[0]
    assert str_at(template, "metadata", "labels", "owner") == "me"


def test_a_cluster_that_is_deleted_while_a_stateful_set_is_made_anew_leaves_no_pods() -> None:
    world = running()
    larger(world)
    world.step()
    world.step()
    summary: JsonObject = {
        "apiVersion": "tapio.io/v1",
        "kind": "Pods",
        "metadata": {"name": "StatefulSet-one-nats", "namespace": "default"},
        "total": 1,
        "ready": 1,
        "ownerless": [{"name": "one-nats-0", "uid": "uid-of-pod"}],
    }
    world.observe(summary)
    document = dict(world.cluster)
    document["metadata"] = {**object_at(document, "metadata"), "deletionTimestamp": "2026-01-01T00:00:00Z"}
    world.observe(document)
    deleted = {(one.kind, one.name, one.uid) for one in world.plan().decision.delete}
    assert ("Pod", "one-nats-0", "uid-of-pod") in deleted


def test_the_outcome_of_growing_is_part_of_the_history() -> None:
    world = running()
    larger(world)
    world.step()
    subject = outcome_subject(world.key, PARTITIONS)
    record = world.state.own[subject].record
    assert "expand" in {one.action for one in getattr(record, "results", [])}
