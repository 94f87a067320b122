"""The oldest TapioIntelligence counts, valid or not: a typing error replaces no graph store."""

from __future__ import annotations

from typing import cast

import pytest

from tapio_reconciler.core.rules import NEWEST
from tapio_shared.json import JsonObject, object_at, objects_at, str_at
from tapio_shared.keys import ObjectRef
from tests.support.planned_world import World, example
from tests.support.volume_world import VolumeWorld


def world_of() -> World:
    document = example("development")
    object_at(document, "spec").pop("intelligence", None)
    return World.of(document)


def add(world: World, name: str, made: str, **spec: object) -> None:
    fields = cast("JsonObject", spec)
    document: JsonObject = {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioIntelligence",
        "metadata": {
            "name": name,
            "namespace": world.key.namespace,
            "uid": f"uid-of-{name}",
            "generation": 1,
            "creationTimestamp": made,
        },
        "spec": {"clusterRef": {"name": world.key.name}, **fields},
    }
    world.observe(document)


def stalled(world: World, name: str = "") -> tuple[str, str]:
    """Reason and message of Stalled, of a TapioIntelligence or of the cluster."""
    ref = ObjectRef("tapio.io", "TapioIntelligence", world.key.namespace, name)
    document = world.find(ref) if name else world.cluster
    for one in objects_at(document, "status", "conditions"):
        if str_at(one, "type") == "Stalled":
            return str_at(one, "reason"), str_at(one, "message")
    return "", ""


def stores(world: World) -> list[str]:
    return sorted(ref.name for ref in world.objects() if ref.kind == "StatefulSet" and "nats" not in ref.name)


def test_one_that_became_invalid_changes_nothing_that_runs() -> None:
    world = world_of()
    add(world, "mind", "2026-01-01T00:00:00Z", embedded=True)
    add(world, "next", "2026-01-02T00:00:00Z", neo4j={"storage": "20Gi"})
    world.settle()
    before = set(world.objects())
    assert not any("neo4j" in name for name in stores(world))
    assert stalled(world) == ("", "")
    assert stalled(world, "next")[0] == "Superseded"
    add(world, "mind", "2026-01-01T00:00:00Z", embedded="yes")
    world.settle()
    assert set(world.objects()) == before
    reason, message = stalled(world)
    assert reason == "InvalidSpec"
    assert message.startswith("TapioIntelligence mind: spec.embedded is")
    assert stalled(world, "next")[0] == "Superseded"
    add(world, "mind", "2026-01-01T00:00:00Z", embedded=True)
    world.settle()
    assert stalled(world) == ("", "")


def test_an_invalid_one_is_in_nobodys_way_while_the_cluster_has_its_own() -> None:
    world = world_of()
    world.edit(intelligence={"embedded": True})
    add(world, "mind", "2026-01-01T00:00:00Z", embedded="yes")
    world.settle()
    assert stalled(world) == ("", "")
    assert stalled(world, "mind")[0] == "InvalidSpec"


def test_one_of_which_nothing_is_switched_on_is_ready_and_says_so() -> None:
    world = world_of()
    add(world, "mind", "2026-01-01T00:00:00Z", embedded=True, correlation={"enabled": False})
    world.settle()
    found = world.find(ObjectRef("tapio.io", "TapioIntelligence", world.key.namespace, "mind"))
    assert stores(world) == []
    assert [
        (str_at(one, "type"), str_at(one, "status"), str_at(one, "message"))
        for one in objects_at(found, "status", "conditions")
    ] == [
        ("Ready", "True", "Everything of it is switched off (no graph store, no correlation), so nothing of it runs.")
    ]


@pytest.mark.parametrize(
    ("logic", "told"),
    [
        pytest.param(NEWEST, ("LicenseNotAccepted", "none", "Stalled"), id="the newest rules: what the cluster says"),
        pytest.param(3, ("", "none", "Ready"), id="former rules: that it is ready"),
    ],
)
def test_one_that_stalls_its_cluster_says_by_what(logic: int, told: tuple[str, str, str]) -> None:
    document = example("development")
    object_at(document, "spec").pop("intelligence", None)
    world = VolumeWorld.of(document)
    world.logic = logic
    add(world, "mind", "2026-01-01T00:00:00Z", neo4j={"edition": "Enterprise", "acceptLicenseAgreement": "yes"})
    world.settle(most=60)
    assert stalled(world, "mind") == ("", "")
    add(world, "mind", "2026-01-01T00:00:00Z", neo4j={"edition": "Community"})
    world.settle(most=60)
    assert stalled(world)[0] == "LicenseNotAccepted"
    assert stores(world) == []
    found = world.find(ObjectRef("tapio.io", "TapioIntelligence", world.key.namespace, "mind"))
    status = object_at(found, "status")
    assert (stalled(world, "mind")[0], status["store"], status["phase"]) == told
    if told[0]:
        assert stalled(world, "mind") == stalled(world)
    add(world, "mind", "2026-01-01T00:00:00Z", neo4j={"edition": "Enterprise", "acceptLicenseAgreement": "yes"})
    world.settle(most=60)
    assert stalled(world) == stalled(world, "mind") == ("", "")


@pytest.mark.parametrize(
    ("profile", "correlation", "refused"),
    [
        pytest.param(
            "edge",
            {"replicas": 3},
            "spec.correlation.replicas is 3; it must be 1 or absent with the embedded graph store of the profile edge, "
            "which is one pod's.",
            id="several pods where the profile embeds the store",
        ),
        pytest.param(
            "edge",
            {"replicas": 2, "autoscaling": {"max": 4}},
            "2 things are wrong: (1) spec.correlation.replicas is 2; it must be 1 or absent with the embedded graph "
            "store of the profile edge, which is one pod's. (2) spec.correlation.autoscaling is an object; it must be "
            "absent, since it can't be scaled with the embedded graph store of the profile edge, which is one pod's.",
            id="all that is wrong at once",
        ),
        pytest.param("edge", {"replicas": 1}, "", id="one pod"),
        pytest.param("development", {"replicas": 3}, "", id="several pods beside Neo4j"),
    ],
)
def test_what_does_not_go_with_its_cluster_is_refused_of_both(
    profile: str, correlation: JsonObject, refused: str
) -> None:
    world = world_of()
    world.edit(profile=profile)
    world.settle()
    before = set(world.objects())
    add(world, "mind", "2026-01-01T00:00:00Z", correlation=correlation)
    world.settle()
    assert stalled(world, "mind") == (("InvalidSpec", refused) if refused else ("", ""))
    assert stalled(world) == (("InvalidSpec", f"TapioIntelligence mind: {refused}") if refused else ("", ""))
    assert not refused or {ref for ref in world.objects() if ref.kind != "TapioIntelligence"} == before
    add(world, "mind", "2026-01-01T00:00:00Z", correlation={})
    world.settle()
    assert stalled(world) == stalled(world, "mind") == ("", "")
