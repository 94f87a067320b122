"""A node that joins or leaves hardly ever changes a DaemonSet's template: what was learned is kept in the log."""

from __future__ import annotations

import copy

import msgspec

from tapio_shared.facts import FleetObserved, NodeGroup
from tapio_shared.json import JsonObject, at, object_at, str_at, strings_at
from tapio_shared.keys import ObjectRef
from tests.support.planned_world import FLEET, World, example

NEW = NodeGroup(
    count=5, ready=5, architecture="amd64", kernel="6.1.0", os_image="Debian GNU/Linux 12", labels={"pool": "new"}
)
OLD = msgspec.structs.replace(NEW, count=2, kernel="5.4.0", labels={"pool": "old"})
LTS = msgspec.structs.replace(NEW, count=1, kernel="5.10.0", labels={"pool": "lts"})


def fleet(*groups: NodeGroup) -> FleetObserved:
    return msgspec.structs.replace(FLEET, groups=list(groups), dropped_labels=[])


def world_of(*groups: NodeGroup) -> World:
    world = World.of(example("production"))
    world.share("fleet", fleet(*groups))
    world.settle()
    return world


def ebpf(world: World) -> JsonObject:
    return next(
        one
        for ref, one in world.objects().items()
        if ref.kind == "DaemonSet" and "-ebpf-" in ref.name
    )  # fmt: skip


def template(world: World) -> JsonObject:
    return object_at(ebpf(world), "spec", "template")


def learned(world: World) -> str:
    return strings_at(template(world), "metadata", "annotations").get("tapio.io/fleet", "")


def after(world: World, *groups: NodeGroup) -> bool:
    """Whether the template changes when the fleet becomes `groups`."""
    before = copy.deepcopy(template(world))
    world.share("fleet", fleet(*groups))
    world.settle()
    return template(world) != before


def test_more_and_fewer_nodes_of_known_kinds_change_nothing() -> None:
    world = world_of(NEW, OLD)
    assert learned(world) == '{"excluded":{"pool":["old"]}}'
    assert not after(world, msgspec.structs.replace(NEW, count=400), msgspec.structs.replace(OLD, count=90, ready=10))
    assert not after(world, NEW, msgspec.structs.replace(NEW, kernel="6.8.0", labels={"pool": "newer"}), OLD)


def test_a_pool_that_is_scaled_to_zero_and_comes_back_changes_nothing() -> None:
    world = world_of(NEW, OLD)
    assert not after(world, NEW)
    assert not after(world, NEW, OLD)


def test_a_pool_with_a_new_kernel_is_let_in() -> None:
    world = world_of(NEW, OLD)
    assert after(world, NEW, msgspec.structs.replace(OLD, kernel="6.6.0"))
    assert learned(world) == ""


def test_a_second_unfit_pool_changes_the_template_once() -> None:
    world = world_of(NEW, OLD)
    ancient = msgspec.structs.replace(OLD, labels={"pool": "ancient"})
    assert after(world, NEW, OLD, ancient)
    assert learned(world) == '{"excluded":{"pool":["ancient","old"]}}'
    assert not after(world, NEW)


def test_a_kernel_with_memory_limits_is_learned_once() -> None:
    world = world_of(NEW)
    assert learned(world) == ""
    assert after(world, NEW, LTS)
    assert learned(world) == '{"memlock":true}'
    assert not after(world, NEW)
    assert not after(world, NEW, LTS)


def test_what_was_learned_outlives_a_pause_and_a_restart() -> None:
    world = world_of(NEW, OLD)
    world.annotate("tapio.io/paused", "true")
    world.settle()
    world.share("fleet", fleet(NEW))
    world.annotate("tapio.io/paused", None)
    world.settle()
    assert learned(world) == '{"excluded":{"pool":["old"]}}'


def test_an_edit_of_the_daemon_set_teaches_nothing() -> None:
    world = world_of(NEW, OLD)
    edited = copy.deepcopy(ebpf(world))
    object_at(edited, "spec", "template", "metadata", "annotations")["tapio.io/fleet"] = '{"excluded":{"a":["b"]}}'
    world.observe(edited)
    world.now += 60_000
    world.settle()
    assert learned(world) == '{"excluded":{"pool":["old"]}}'


def test_a_cluster_that_is_made_anew_begins_anew() -> None:
    world = world_of(NEW, OLD)
    world.share("fleet", fleet(NEW))
    for ref in [*world.objects()]:
        world.lose(ref)
    document = copy.deepcopy(world.cluster)
    world.lose(ObjectRef("tapio.io", "TapioCluster", world.key.namespace, world.key.name))
    object_at(document, "metadata")["uid"] = "another-uid"
    world.observe(document)
    world.settle()
    assert learned(world) == ""


def test_which_nodes_are_left_out_is_in_the_status() -> None:
    world = world_of(NEW, OLD)
    skipped = at(world.cluster, "status", "skipped")
    assert skipped == [
        {
            "collector": "ebpf",
            "nodes": 2,
            "reason": "KernelTooOld",
            "message": "Can't be observed: 2 nodes with Linux 5.4.0; eBPF collection needs 5.8 or newer.",
            "nodeSelector": {"pool": "old"},
        },
        {
            "collector": "etcd",
            "nodes": 0,
            "reason": "ManagedControlPlane",
            "message": "The control plane is run by the provider (none of its nodes is to be seen), so its etcd can't "
            "be reached.",
        },
    ]
    assert str_at(world.cluster, "status", "phase") != ""
