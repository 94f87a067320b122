"""What `plan` says is what then happens: objects made, changed and deleted, and exactly the pods that restart."""

from __future__ import annotations

import copy
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapio_cli.documents import in_namespace
from tapio_cli.history.ahead import KEPT, WORKLOADS, Ahead, ahead
from tapio_shared.json import JsonObject, object_at, str_at
from tapio_shared.keys import ObjectRef
from tests.support.planned_world import PARTITIONS, START, World, example
from tests.support.random_specs import GIVEN_SECRETS, quick, specs


def document(spec: JsonObject) -> JsonObject:
    return {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioCluster",
        "metadata": {"name": "any", "namespace": "some"},
        "spec": copy.deepcopy(spec),
    }


def settled(spec: JsonObject) -> World:
    world = World.of(document(spec))
    for name, keys in GIVEN_SECRETS.items():
        digests: JsonObject = {key: f"{name} {key}" for key in sorted(keys)}
        metadata: JsonObject = {"name": name, "namespace": "some"}
        world.observe({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "digests": digests})
    world.settle(most=60)
    return world


def templates(world: World) -> dict[ObjectRef, JsonObject]:
    return {ref: object_at(one, "spec", "template") for ref, one in world.objects().items() if ref.kind in WORKLOADS}


def replaces_pods(world: World, ref: ObjectRef) -> bool:
    """Whether a changed template restarts pods by itself: with OnDelete nothing does until somebody deletes them."""
    return str_at(world.objects()[ref], "spec", "updateStrategy", "type") != "OnDelete"


def named(found: Ahead, action: str) -> set[str]:
    return {one.object for one in found.changes if one.action == action}


def without_hashes(names: set[str]) -> set[str]:
    """`names` of objects, those of Jobs without the digest at their end."""
    return {re.sub(r"^(Job\S* .*)-[0-9a-f]{8}$", r"\1", name) for name in names}


def carried_out(world: World, spec: JsonObject) -> tuple[set[str], set[str], set[str]]:
    """Objects made, objects deleted and workloads whose pods restart, when `spec` is applied for real."""
    before, before_templates = set(world.objects()), templates(world)
    world.edit_whole(spec)
    world.settle(most=60)
    after, after_templates = set(world.objects()), templates(world)
    restarted = {
        str(ref)
        for ref, template in after_templates.items()
        if ref in before_templates and before_templates[ref] != template and replaces_pods(world, ref)
    }
    made = {str(ref) for ref in after - before}
    return made, {str(ref) for ref in before - after if ref.kind not in KEPT}, restarted


@settings(quick, max_examples=40)
@given(specs(), specs())
def test_between_any_two_specs(first: JsonObject, second: JsonObject) -> None:
    check(first, second)


@pytest.mark.campaign
@pytest.mark.timeout(1_800)
@settings(quick, max_examples=2_000)
@given(specs(), specs())
def test_campaign_between_any_two_specs(first: JsonObject, second: JsonObject) -> None:
    check(first, second)


def check(first: JsonObject, second: JsonObject) -> None:
    world = settled(first)
    told = ahead(world.state, [document(second)], partitions=PARTITIONS, now=START)
    if told.refusals:
        return  # what the webhook refuses never comes to be
    made, deleted, restarted = carried_out(world, second)
    # A Job is named by what it does. Where a StatefulSet is made anew with smaller claims for the members to come, the
    # stream's limit follows only once those exist: the Job is then made twice, and plan tells of the first.
    assert without_hashes(named(told, "create")) == without_hashes(made)
    assert without_hashes(named(told, "delete")) == without_hashes(deleted)
    assert {one.workload for one in told.restarts} == restarted
    assert all(one.because for one in told.restarts)


def test_pods_that_are_replaced_by_hand() -> None:
    by_hand: JsonObject = {"collectors": {"systemd": {"updateStrategy": {"type": "OnDelete"}}}}
    check({}, {**by_hand, "image": {"pullSecrets": [{"name": "pull"}]}})


def test_an_entry_of_a_list_that_loses_a_field() -> None:
    """What ran before has all of what is wanted, and more."""
    systemd: JsonObject = {"tolerations": [{"key": "dedicated", "operator": "Exists"}]}
    check({"collectors": {"systemd": systemd}}, {"collectors": {"systemd": True}})


def test_members_to_come_with_smaller_volumes() -> None:
    check({"lightweight": True}, {"nats": {"storage": "10Gi"}, "inheritedMetadata": {"labels": {"owner": "me"}}})


def test_members_that_are_kept_while_their_stateful_sets_are_made_anew() -> None:
    licensed: JsonObject = {"acceptLicenseAgreement": "eval"}
    labels: JsonObject = {"labels": {"owner": "me"}}
    fewer: JsonObject = {"neo4j": {"replicas": 1, "storage": "900Gi", **licensed}}
    check(
        {"intelligence": {"neo4j": {"replicas": 3, **licensed}}}, {"intelligence": fewer, "inheritedMetadata": labels}
    )


@given(st.sampled_from(["development", "edge", "production"]))
def test_the_same_again_does_nothing(name: str) -> None:
    world = World.of(example(name))
    world.settle()
    assert ahead(world.state, [in_namespace(example(name), "default")], partitions=PARTITIONS, now=START).changes == []


def test_for_a_cluster_that_does_not_exist_everything_is_made_in_waves() -> None:
    world = World.of(example("development"))
    nobody = World.of(example("development"))
    nobody.state.own.clear()
    told = ahead(nobody.state, [in_namespace(example("development"), "default")], partitions=PARTITIONS, now=START)
    world.settle()
    # The name of a Job holds what its credentials were made of, which nobody knows before they are made.
    assert without_hashes(named(told, "create")) == without_hashes({str(ref) for ref in world.objects()})
    waves = {one.component: one.wave for one in told.changes}
    assert waves["nats"] < waves["neo4j"] < waves["correlation"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param({"profile": "huge"}, "spec.profile is ", id="a spec that the webhook refuses"),
        pytest.param({"resources": {"limits": {"memory": "1Mi"}}}, "BudgetTooSmall", id="a budget that is too small"),
    ],
)
def test_what_would_be_refused_is_said(spec: JsonObject, message: str) -> None:
    world = settled({"profile": "development"})
    told = ahead(world.state, [document(spec)], partitions=PARTITIONS, now=START)
    assert len(told.refusals) == 1
    assert message in told.refusals[0]
    assert told.changes == []


def test_a_version_that_is_not_named_stays_the_one_that_runs() -> None:
    world = settled({"profile": "development", "version": "v0.0.9"})
    assert ahead(world.state, [document({"profile": "development"})], partitions=PARTITIONS, now=START).changes == []
