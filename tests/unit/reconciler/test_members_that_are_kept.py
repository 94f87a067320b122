"""Members of a graph beyond `replicas` outlive that StatefulSets are made anew, and end when a person ends them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from tapio_reconciler.core.remembering import Remembered
from tapio_reconciler.core.rules import NEWEST
from tapio_shared.facts import OutcomeRecorded
from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at
from tapio_shared.keys import ObjectRef
from tests.support.volume_world import VolumeWorld, pods_of

LICENSED: JsonObject = {"acceptLicenseAgreement": "yes"}
LAST = ObjectRef("apps", "StatefulSet", "default", "one-neo4j-2")
CLAIM = ObjectRef("", "PersistentVolumeClaim", "default", "data-one-neo4j-2-0")
GROWN = {"one-neo4j-0": "50Gi", "one-neo4j-1": "50Gi", "one-neo4j-2": "50Gi"}


def keeping(*, logic: int = NEWEST) -> VolumeWorld:
    """A graph of three members, of which two are asked for."""
    world = VolumeWorld.of(
        {
            "apiVersion": "tapio.io/v1alpha1",
            "kind": "TapioCluster",
            "metadata": {"name": "one", "namespace": "default"},
            "spec": {"profile": "development", "intelligence": {"neo4j": {"replicas": 3, **LICENSED}}},
        }
    )
    world.logic = logic
    world.settle(most=60)
    ask(world)
    world.settle(most=60)
    return world


def ask(world: VolumeWorld, replicas: int = 2, **neo4j: JsonValue) -> None:
    world.edit(intelligence={"neo4j": {"replicas": replicas, **LICENSED, **neo4j}})


def members(world: VolumeWorld) -> dict[str, str]:
    """What the volumes of every member's StatefulSet are to have."""
    return {name: size for name, size in sorted(world.templates().items()) if name.startswith("one-neo4j-")}


def until_it_is_let_go(world: VolumeWorld) -> None:
    """Go on until the last member's StatefulSet is away."""
    for _ in range(30):
        world.step()
        if world.find(LAST) is None:
            return
    raise AssertionError("its StatefulSet was not let go of")


def test_volumes_grow_and_no_member_is_lost() -> None:
    world = keeping()
    ask(world, storage="50Gi")
    until_it_is_let_go(world)
    assert world.condition("Degraded")[1] == "MembersNotRemoved"
    world.settle(most=60)
    assert members(world) == GROWN
    assert world.claims()[CLAIM.name] == "50Gi"
    assert world.condition("Degraded")[1] == "MembersNotRemoved"
    assert world.condition("Ready")[0] == "True"


def test_inherited_labels_change_and_no_member_is_lost() -> None:
    world = keeping()
    world.edit(inheritedMetadata={"labels": {"owner": "me"}})
    world.settle(most=60)
    template = objects_at(world.find(LAST), "spec", "volumeClaimTemplates")[0]
    assert str_at(template, "metadata", "labels", "owner") == "me"


@pytest.mark.parametrize("writes", range(4))
@pytest.mark.parametrize("steps", range(6))
def test_an_operator_that_ends_at_any_point_loses_no_member(steps: int, writes: int) -> None:
    world = keeping()
    ask(world, storage="50Gi")
    for _ in range(steps):
        world.step()
    world.crash(writes)
    world.settle(most=60)
    assert members(world) == GROWN


def _pod_is_lost(world: VolumeWorld) -> None:
    world.lose(pods_of(LAST))


def _log_is_lost(world: VolumeWorld) -> None:
    """What a new log is told of: what there is, and nothing of what was."""
    there = copy.deepcopy([world.cluster, *world.objects().values()])
    world.state.own.clear()
    world.state.remembered, world.state.rendering = Remembered(), None
    for document in there:
        world.observe(document)


def _paused(world: VolumeWorld) -> None:
    world.annotate("tapio.io/paused", "true")
    world.settle()
    world.annotate("tapio.io/paused", None)


def _invalid(world: VolumeWorld) -> None:
    spec = copy.deepcopy(object_at(world.cluster, "spec"))
    world.edit(profile="huge")
    world.settle()
    assert world.condition("Stalled")[1] == "InvalidSpec"
    world.edit_whole(spec)


def _tombstone_is_dropped(world: VolumeWorld) -> None:
    """As when the window has passed over it while the TapioCluster was paused; decision and outcome are kept."""
    gone = [subject for subject in world.state.own if world.state.address(subject).ref == LAST]
    for subject in gone:
        del world.state.own[subject]


@pytest.mark.parametrize(
    "meanwhile",
    [
        pytest.param([_pod_is_lost], id="its pod is lost too"),
        pytest.param([_log_is_lost], id="the log is lost"),
        pytest.param([_paused], id="the TapioCluster is paused"),
        pytest.param([_invalid], id="the spec is not valid"),
        pytest.param([_invalid, _pod_is_lost, _paused], id="decisions about something else come between"),
        pytest.param([_pod_is_lost, _tombstone_is_dropped], id="nobody tells any more that it was there"),
    ],
)
def test_what_was_let_go_of_is_made_again_whatever_comes_between(
    meanwhile: list[Callable[[VolumeWorld], None]],
) -> None:
    world = keeping()
    ask(world, storage="50Gi")
    until_it_is_let_go(world)
    for happens in meanwhile:
        happens(world)
    world.settle(most=60)
    assert members(world) == GROWN


def test_the_decision_tells_where_the_operator_ended_before_any_outcome() -> None:
    world = keeping()
    ask(world, storage="50Gi")
    while LAST.name not in {one.name for one in world.plan().decision.delete}:
        world.step()
    world.crash(writes=100)
    assert world.find(LAST) is None
    _pod_is_lost(world)
    world.settle(most=60)
    assert members(world) == GROWN


def test_while_it_is_on_its_way_it_counts() -> None:
    """The API server keeps it until its pods have no owner any more."""
    world = keeping()
    there = copy.deepcopy(world.find(LAST))
    assert there is not None
    metadata: JsonObject = {
        **object_at(there, "metadata"),
        "deletionTimestamp": "2026-01-01T00:00:00Z",
        "finalizers": ["orphan"],
    }
    world.observe({**there, "metadata": metadata})
    world.settle()
    assert str(LAST) in world.plan().decision.objects
    assert world.condition("Degraded")[1] == "MembersNotRemoved"


@pytest.mark.parametrize("grows", [pytest.param(False, id="before"), pytest.param(True, id="after it was made anew")])
def test_a_person_ends_a_member_by_deleting_its_stateful_set(*, grows: bool) -> None:
    world = keeping()
    if grows:
        ask(world, storage="50Gi")
        world.settle(most=60)
    world.delete_by_hand(LAST)
    world.settle(most=60)
    assert list(members(world)) == ["one-neo4j-0", "one-neo4j-1"]
    assert world.condition("Degraded")[0] == "False"
    assert CLAIM.name in world.claims()


def test_a_pod_that_a_person_left_without_its_stateful_set_is_given_one_again() -> None:
    """`kubectl delete --cascade=orphan` ends no member: its pod runs."""
    world = keeping()
    there = world.find(LAST)
    world.lose(LAST)
    summary: JsonObject = {
        "apiVersion": "tapio.io/v1",
        "kind": "Pods",
        "metadata": {"name": pods_of(LAST).name, "namespace": "default"},
        "total": 1,
        "ownerless": [{"name": "one-neo4j-2-0", "uid": "uid-of-pod"}],
    }
    world.observe(summary)
    world.settle()
    assert object_at(world.find(LAST), "spec") == object_at(there, "spec")


def test_what_is_not_wanted_any_more_is_forgotten() -> None:
    world = keeping()
    ask(world, storage="50Gi")
    until_it_is_let_go(world)
    assert _remembered(world) == {str(LAST)}
    world.lose(pods_of(LAST))
    world.edit(intelligence={"embedded": True})
    world.settle(most=60)
    assert _remembered(world) == set()
    ask(world, storage="50Gi")
    world.settle(most=60)
    assert list(members(world)) == ["one-neo4j-0", "one-neo4j-1"]


def test_pods_go_when_nobody_wants_their_stateful_set_back() -> None:
    world = keeping()
    ask(world, storage="50Gi")
    until_it_is_let_go(world)
    assert world.find(pods_of(LAST)) is not None
    world.edit(intelligence={"embedded": True})
    before = len(world.plans)
    world.settle(most=60)
    gone = [one for made in world.plans[before:] for one in made.decision.delete if one.kind == "Pod"]
    assert [(one.name, one.uid, one.reason) for one in gone] == [
        (
            "one-neo4j-2-0",
            "uid-of-pod",
            "Pod default/one-neo4j-2-0 is of StatefulSet.apps default/one-neo4j-2, which is no longer part of "
            "TapioCluster default/one.",
        )
    ]
    assert world.find(pods_of(LAST)) is None


def test_what_was_made_again_is_forgotten() -> None:
    world = keeping()
    ask(world, storage="50Gi")
    world.settle(most=60)
    world.edit(gateway={"replicas": 2})
    world.settle(most=60)
    assert _remembered(world) == set()


def _remembered(world: VolumeWorld) -> set[str]:
    found = world.state.find("outcome", OutcomeRecorded)
    assert found is not None
    return set(found[1].released)


def test_by_the_rules_before_it_did_not_count() -> None:
    """What those decided must be decided again when their history is replayed."""
    world = keeping(logic=3)
    ask(world, storage="50Gi")
    world.settle(most=60)
    assert list(members(world)) == ["one-neo4j-0", "one-neo4j-1"]
    assert _remembered(world) == set()
