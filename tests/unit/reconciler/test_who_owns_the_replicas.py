"""Replicas are left to whoever scales a Deployment, handed over without a gap, and taken back afterwards."""

from __future__ import annotations

import copy

import pytest

from tapio_reconciler.core.plans import Plan
from tapio_shared.json import JsonObject, JsonValue, int_at, object_at, objects_at, str_at
from tapio_shared.keys import ObjectRef
from tests.support.planned_world import World

GATEWAY = ObjectRef("apps", "Deployment", "default", "any-gateway")
AUTOSCALER = ObjectRef("autoscaling", "HorizontalPodAutoscaler", "default", "any-gateway")
SCALER: JsonObject = {
    "kind": "Scaler",
    "metadata": {"namespace": "default", "name": "Deployment-any-gateway"},
    "apiVersion": "tapio.io/v1",
    "autoscalers": ["keda", "theirs"],
}
SCALER_REF = ObjectRef("tapio.io", "Scaler", "default", "Deployment-any-gateway")


def running(**spec: JsonValue) -> World:
    """A settled cluster whose gateway has two replicas, which the operator owns."""
    gateway: JsonObject = {"enabled": True, "replicas": 2}
    world = World.of(
        {
            "apiVersion": "tapio.io/v1alpha1",
            "kind": "TapioCluster",
            "metadata": {"name": "any", "namespace": "default"},
            "spec": {"profile": "development", "gateway": gateway, **spec},
        }
    )
    world.settle()
    owned_by(world, "tapio-operator", 2)
    world.settle()
    return world


def owned_by(world: World, manager: str, replicas: int) -> None:
    """Tell that `manager` owns the gateway's replicas, and how many there are."""
    document = copy.deepcopy(world.find(GATEWAY))
    assert document is not None
    object_at(document, "spec")["replicas"] = replicas
    object_at(document, "metadata")["managedFields"] = [
        {"manager": "tapio-operator", "operation": "Apply", "replicas": manager == "tapio-operator"},
        {"manager": manager, "operation": "Update", "replicas": manager != "tapio-operator"},
    ]
    counts: JsonObject = dict.fromkeys(("replicas", "readyReplicas", "availableReplicas", "updatedReplicas"), replicas)
    document["status"] = {"observedGeneration": 1, **counts}
    world.observe(document)


def applied(plan: Plan) -> JsonObject | None:
    return plan.manifests.get(str(GATEWAY))


def gateway_status(world: World) -> tuple[str, str, str]:
    found = next(one for one in objects_at(world.cluster, "status", "components") if str_at(one, "name") == "gateway")
    return str_at(found, "state"), str_at(found, "reason"), str_at(found, "message")


def test_our_own_autoscaler_takes_over_the_replicas_that_were_observed() -> None:
    world = running()
    owned_by(world, "tapio-operator", 5)  # A person's number, not yet set back: nothing may fall below what runs.
    world.edit(gateway={"enabled": True, "autoscaling": {"min": 2, "max": 6}})

    manifest = applied(world.step())

    assert int_at(manifest, "spec", "replicas") == 5
    assert world.find(AUTOSCALER) is not None


def test_once_the_autoscaler_owns_the_replicas_they_are_named_no_more() -> None:
    world = running()
    world.edit(gateway={"enabled": True, "autoscaling": {"min": 2, "max": 6}})
    world.settle()
    owned_by(world, "kube-controller-manager", 4)
    assert world.plan().decision.apply == []

    world.edit(gateway={"enabled": True, "autoscaling": {"min": 2, "max": 6}, "podLabels": {"team": "a"}})
    manifest = applied(world.step())

    assert manifest is not None
    assert "replicas" not in object_at(manifest, "spec")


def test_without_an_autoscaler_the_replicas_of_the_spec_come_back() -> None:
    world = running()
    world.edit(gateway={"enabled": True, "autoscaling": {"min": 2, "max": 6}})
    world.settle()
    owned_by(world, "kube-controller-manager", 4)

    world.edit(gateway={"enabled": True, "replicas": 3})
    plan = world.step()

    assert int_at(applied(plan), "spec", "replicas") == 3
    assert [one.kind for one in plan.decision.delete] == ["HorizontalPodAutoscaler"]


@pytest.mark.parametrize(
    "gateway",
    [
        pytest.param({"enabled": True, "replicas": 2}, id="the spec names replicas"),
        pytest.param({"enabled": True, "autoscaling": {"min": 2, "max": 6}}, id="the spec asks for autoscaling"),
    ],
)
def test_somebody_elses_autoscaler_owns_the_replicas(gateway: JsonObject) -> None:
    world = running()
    world.edit(gateway=gateway)
    world.settle()
    world.observe(SCALER)
    owned_by(world, "kube-controller-manager", 7)

    world.settle()

    assert applied(world.plans[-2]) is None or "replicas" not in object_at(applied(world.plans[-2]), "spec")
    assert world.find(AUTOSCALER) is None
    owned_by(world, "kube-controller-manager", 9)
    world.settle()
    deployment = world.find(GATEWAY)
    assert int_at(deployment, "spec", "replicas") == 9
    assert gateway_status(world) == (
        "Ready",
        "ScaledByAnother",
        "The replicas of gateway are left to HorizontalPodAutoscaler keda, theirs, which is not the operator's. "
        "Delete it to have the operator scale again.",
    )


def test_until_the_other_autoscaler_has_scaled_the_observed_replicas_stay() -> None:
    world = running()
    world.observe(SCALER)

    manifest = applied(world.step())

    assert int_at(manifest, "spec", "replicas") == 2


def test_replicas_are_ours_again_when_the_other_autoscaler_is_gone() -> None:
    world = running()
    world.observe(SCALER)
    owned_by(world, "kube-controller-manager", 7)
    world.settle()
    owned_by(world, "kube-controller-manager", 7)

    world.lose(SCALER_REF)
    manifest = applied(world.step())

    assert int_at(manifest, "spec", "replicas") == 2


def autoscaled_and_at_zero() -> World:
    """A cluster whose gateway our own autoscaler had scaled, and somebody then scaled to nothing."""
    world = running()
    world.edit(gateway={"enabled": True, "autoscaling": {"min": 2, "max": 6}})
    world.settle()
    owned_by(world, "kube-controller-manager", 4)
    world.settle()
    owned_by(world, "kubectl", 0)
    return world


def test_what_was_scaled_to_nothing_is_given_a_pod_from_which_our_autoscaler_goes_on() -> None:
    world = autoscaled_and_at_zero()

    plan = world.step()

    assert int_at(applied(plan), "spec", "replicas") == 1
    assert [one.reason for one in plan.decision.apply] == [
        "Deployment.apps default/any-gateway was scaled to 0, from which no HorizontalPodAutoscaler scales it."
    ]
    assert plan.corrected == (str(GATEWAY),)
    assert gateway_status(world) == ("Progressing", "RollingOut", plan.decision.apply[0].reason)

    world.settle()
    owned_by(world, "kube-controller-manager", 2)
    assert world.plan().decision.apply == []


def test_under_rules_from_before_it_stays_at_nothing() -> None:
    world = autoscaled_and_at_zero()
    world.logic = 4
    assert world.plan().decision.apply == []


def test_somebody_elses_autoscaler_may_scale_to_nothing() -> None:
    world = autoscaled_and_at_zero()
    world.observe(SCALER)
    world.settle()
    owned_by(world, "keda", 0)
    world.settle()
    assert int_at(world.find(GATEWAY), "spec", "replicas") == 0
    assert world.plan().decision.apply == []


def test_a_number_that_a_person_sets_is_set_back() -> None:
    world = running()
    owned_by(world, "kubectl", 7)

    plan = world.step()

    assert int_at(applied(plan), "spec", "replicas") == 2
    assert plan.corrected == (str(GATEWAY),)
