"""What the planner decides, on a world without servers."""

from __future__ import annotations

import copy
import os
import subprocess
import sys

import msgspec
import pytest

from tapio_reconciler.core.planning import plan
from tapio_reconciler.core.plans import pod_templates
from tapio_shared.api.labels import FORCE_RECONCILE, PAUSED
from tapio_shared.facts import ConfigurationObserved, DecisionRecorded, Inputs
from tapio_shared.json import JsonValue, list_at, object_at, objects_at, str_at
from tapio_shared.keys import ObjectRef
from tests.support.planned_world import FLEET, START, World, discovery, example
from tests.support.workloads import condition

EXAMPLES = ("quickstart", "development", "production", "edge")


@pytest.fixture(params=EXAMPLES)
def world(request: pytest.FixtureRequest) -> World:
    return World.of(example(request.param))


def test_every_example_settles_and_is_ready(world: World) -> None:
    world.settle()
    assert condition(world.cluster, "Ready")["status"] == "True"
    assert condition(world.cluster, "Ready")["reason"] == "AllReady"
    ready, _, wanted = str_at(world.cluster, "status", "readyComponents").partition("/")
    assert ready == wanted != "0"
    assert condition(world.cluster, "Ready")["message"] == f"All {wanted} components are ready."


def test_planning_again_after_applying_a_plan_plans_nothing(world: World) -> None:
    world.settle()
    settled = world.plan()
    assert not settled.has_effects
    assert settled.decision.desired_digest == world.plans[-1].decision.desired_digest
    world.now += 86_400_000
    later = world.plan()
    assert not later.has_effects
    assert later.decision.desired_digest == settled.decision.desired_digest


def test_a_plan_is_the_same_whatever_order_facts_came_in(world: World) -> None:
    world.step()
    first = world.plan().decision
    world.state.own = dict(reversed(list(world.state.own.items())))
    world.state.shared = dict(reversed(list(world.state.shared.items())))
    assert world.plan().decision == first


def test_a_plan_does_not_depend_on_the_hash_seed() -> None:
    code = (
        "from tests.support.planned_world import World, example\n"
        "for name in ('quickstart', 'development', 'production', 'edge'):\n"
        "    world = World.of(example(name)); world.step(); world.step()\n"
        "    print(world.plans[0].decision.digest, world.plans[1].decision.digest)\n"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(answers) == 1


def test_workloads_go_out_in_waves_gated_by_readiness() -> None:
    world = World.of(example("development"))
    first, second = world.step(ready=False), world.step(ready=False)
    assert first.decision.waiting[0] == "nats waits until its Secrets have been made and observed."
    workloads = [[action.name for action in one.decision.apply if action.phase == 2] for one in (first, second)]
    assert workloads == [[], ["dev-nats"]]
    assert world.plan().decision.waiting[0] == "streams waits until nats is ready."
    waiting = [one for one in objects_at(world.cluster, "status", "components") if str_at(one, "state") == "Waiting"]
    assert [str_at(one, "name") for one in waiting] == ["streams", "neo4j", "correlation", "gateway", "kubernetes"]
    assert str_at(waiting[0], "reason") == "WaitingForDependency"


def test_a_binding_is_written_after_the_role_that_it_names() -> None:
    phases = {(action.kind, action.phase) for action in World.of(example("development")).plan().decision.apply}
    assert {kind: phase for kind, phase in phases if kind.startswith(("Role", "ClusterRole"))} == {
        "ClusterRole": 0,
        "ClusterRoleBinding": 1,
    }


def test_an_edited_field_is_put_back_and_a_foreign_one_left_alone() -> None:
    world = World.of(example("development"))
    world.settle()
    ref = ObjectRef("apps", "Deployment", "default", "dev-gateway")
    document = copy.deepcopy(world.objects()[ref])
    object_at(document, "spec", "template", "metadata", "annotations")["kubectl.kubernetes.io/restartedAt"] = "now"
    object_at(document, "metadata", "labels")["somebody"] = "else"
    world.observe(document)
    assert not world.plan().has_effects
    object_at(document, "spec")["replicas"] = 7
    world.observe(document)
    planned = world.plan()
    assert [(action.name, action.mode) for action in planned.decision.apply] == [("dev-gateway", "apply")]
    assert planned.corrected == (str(ref),)
    assert planned.decision.apply[0].reason == (
        "Deployment.apps default/dev-gateway no longer holds what is wanted of it."
    )


def test_a_deleted_object_is_made_again() -> None:
    world = World.of(example("development"))
    world.settle()
    ref = ObjectRef("", "Service", "default", "dev-nats")
    world.lose(ref)
    assert [(action.name, action.mode) for action in world.step().decision.apply] == [("dev-nats", "create")]
    assert world.find(ref) is not None


def test_a_disputed_field_is_not_fought_over_at_full_speed() -> None:
    world = World.of(example("development"))
    world.settle()
    ref = ObjectRef("apps", "Deployment", "default", "dev-gateway")
    corrections = 0
    for _ in range(12):
        world.now += 1_000
        document = copy.deepcopy(world.objects()[ref])
        object_at(document, "spec")["replicas"] = 9
        world.observe(document)
        corrections += sum(1 for action in world.step().decision.apply if action.name == "dev-gateway")
    assert corrections == 5
    assert world.plan().decision.timers[0].due_at > world.now


def test_what_is_lost_while_paused_is_not_ready_and_back_when_it_is_back() -> None:
    world = World.of(example("development"))
    world.settle()
    before = condition(world.cluster, "Ready")
    world.annotate(PAUSED, "true")
    world.step()
    assert condition(world.cluster, "Ready") == before
    ref = ObjectRef("apps", "StatefulSet", "default", "dev-nats")
    live = world.find(ref)
    assert live is not None

    world.lose(ref)
    world.step()
    ready = condition(world.cluster, "Ready")
    assert (ready["status"], ready["reason"], ready["message"]) == (
        "False",
        "PausedByAnnotation",
        "StatefulSet.apps default/dev-nats does not exist, and is not made while the TapioCluster is paused.",
    )
    assert str_at(world.cluster, "status", "phase") == "Paused"
    assert not world.step().has_effects

    status = object_at(live, "status")
    world.observe({**live, "status": {**status, "readyReplicas": 0, "availableReplicas": 0}})
    world.step()
    said = "nats: StatefulSet dev-nats has 0 of 1 pods ready and 1 of them up to date."
    assert condition(world.cluster, "Ready")["message"] == said

    world.observe(live)
    world.step()
    assert condition(world.cluster, "Ready")["message"] == before["message"]
    assert condition(world.cluster, "Ready")["status"] == "True"


def test_under_rules_from_before_what_is_lost_while_paused_is_not_looked_for() -> None:
    world = World.of(example("development"))
    world.logic = 5
    world.settle()
    world.annotate(PAUSED, "true")
    world.lose(ObjectRef("apps", "StatefulSet", "default", "dev-nats"))
    world.step()
    assert condition(world.cluster, "Ready")["status"] == "True"


def test_a_pause_forgets_that_everything_was_observed_again() -> None:
    world = World.of(example("development"))
    world.settle()
    world.annotate(PAUSED, "true")
    world.step()
    synced = world.state.shared.pop("synced")
    world.step()
    assert condition(world.cluster, "Ready")["reason"] == "Resynchronising"
    world.state.shared["synced"] = synced
    world.step()
    assert condition(world.cluster, "Ready")["message"] == "All 6 components are ready."


def test_the_finalizer_goes_on_first() -> None:
    planned = World.of(example("edge")).plan()
    assert planned.decision.finalizer == "add"


def test_paused_stops_all_writes_but_says_so() -> None:
    world = World.of(example("development"))
    world.settle()
    world.annotate(PAUSED, "true")
    world.lose(ObjectRef("", "Service", "default", "dev-nats"))
    planned = world.step()
    assert (planned.decision.apply, planned.decision.delete) == ([], [])
    assert str_at(world.cluster, "status", "phase") == "Paused"
    assert condition(world.cluster, "Paused")["reason"] == "PausedByAnnotation"
    assert not world.step().has_effects
    world.annotate(PAUSED, None)
    resumed = world.step()
    assert [action.name for action in resumed.decision.apply] == ["dev-nats"]
    assert "Resumed" in {event.reason for event in resumed.decision.events}


def test_force_reconcile_applies_everything_once() -> None:
    world = World.of(example("development"))
    world.settle()
    world.annotate(FORCE_RECONCILE, "1790000000")
    forced = world.step()
    applied = {f"{action.kind}/{action.name}" for action in forced.decision.apply}
    wanted = {f"{ref.kind}/{ref.name}" for ref in world.objects() if ref.kind != "Secret"}
    assert applied == wanted
    assert not world.step().has_effects


def test_nothing_is_planned_from_an_incomplete_view() -> None:
    world = World.of(example("production"))
    world.settle()
    del world.state.shared["synced"]
    for ref in list(world.objects()):
        world.lose(ref)
    planned = world.step()
    assert (planned.decision.apply, planned.decision.delete, planned.decision.finalizer) == ([], [], "")
    assert condition(world.cluster, "Ready")["reason"] == "Resynchronising"
    assert condition(world.cluster, "Reconciling")["reason"] == "Resynchronising"


def test_an_invalid_spec_gets_one_answer_and_writes_nothing_else() -> None:
    world = World.of(example("development"))
    world.edit(profile="huge", nats={"replicas": 2}, colectors={})
    planned = world.step()
    assert (planned.decision.apply, planned.decision.delete) == ([], [])
    stalled = condition(world.cluster, "Stalled")
    assert stalled["reason"] == "InvalidSpec"
    message = str_at(stalled, "message")
    for part in ("spec.profile", '"huge"', "spec.nats.replicas", "spec.colectors"):
        assert part in message
    assert not world.step().has_effects


def test_a_budget_that_is_too_small_names_the_one_that_works() -> None:
    world = World.of(example("production"))
    world.edit(resources={"requests": {"memory": "1Gi", "cpu": "4"}})
    world.step()
    stalled = condition(world.cluster, "Stalled")
    assert stalled["reason"] == "BudgetTooSmall"
    assert "spec.resources.requests.memory is 1Gi, which is too small" in str_at(stalled, "message")
    smallest = str_at(stalled, "message").rpartition(" is ")[2].rstrip(".")
    world.edit(resources={"requests": {"memory": smallest, "cpu": "4"}})
    world.step()
    assert condition(world.cluster, "Stalled") == {}


def test_a_decision_keeps_the_pod_templates_and_digests_of_all_objects() -> None:
    world = World.of(example("production"))
    world.settle()
    recorded = world.state.find("decision", DecisionRecorded)
    assert recorded is not None
    templates = pod_templates(recorded[1])
    workloads = [
        name
        for name in recorded[1].objects
        if name.split(".")[0] in {"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"}
    ]
    assert sorted(templates) == sorted(workloads)
    assert len(recorded[1].objects) == len(world.objects())


def test_unsupported_fields_are_listed() -> None:
    world = World.of(example("production"))
    world.settle()
    message = str_at(condition(world.cluster, "NotYetSupported"), "message")
    assert message.startswith("Accepted, but without effect in this version: spec.intelligence.neo4j.backup")


def test_three_neo4j_members_without_a_licence_run_as_one_and_say_so() -> None:
    world = World.of(example("quickstart"))
    world.settle()
    assert condition(world.cluster, "Ready")["status"] == "True"
    assert condition(world.cluster, "Degraded")["reason"] == "LicenseNotAccepted"
    members = [ref.name for ref in world.objects() if ref.kind == "StatefulSet" and "neo4j" in ref.name]
    assert members == ["production-neo4j-0"]
    world.share("discovery", discovery(monitoring=True))
    world.edit(intelligence={"neo4j": {"replicas": 3, "acceptLicenseAgreement": "eval"}})
    world.settle()
    assert condition(world.cluster, "Degraded")["message"] == "Nothing is less than asked for."
    assert sum(1 for ref in world.objects() if ref.kind == "StatefulSet" and "neo4j" in ref.name) == 3


def test_a_missing_node_namespace_is_named_with_the_command() -> None:
    world = World.of(example("production"))
    world.share("fleet", msgspec.structs.replace(FLEET, namespaces={}))
    world.settle()
    stalled = condition(world.cluster, "Stalled")
    assert stalled["reason"] == "NamespaceMissing"
    assert "kubectl create namespace tapio-nodes" in str_at(stalled, "message")


def test_the_operators_configuration_is_an_input() -> None:
    world = World.of(example("development"))
    world.settle()
    world.share(
        "config",
        ConfigurationObserved(configuration={"images": {"registry": "mirror.local"}}, observed_at=START),
    )
    planned = world.step()
    images = {
        str_at(list_at(manifest, "spec", "template", "spec", "containers")[0], "image")
        for manifest in planned.manifests.values()
        if str_at(manifest, "kind") in {"Deployment", "StatefulSet"}
    }
    assert images
    assert all(image.startswith("mirror.local/") for image in images)


def test_a_decision_that_no_record_holds_is_a_sentence_and_nothing_else() -> None:
    world = World.of(example("development"))
    inputs = Inputs(now=world.now, operator_version="0.1.0", record_limit=1_000)
    decision = plan(world.state, inputs).decision
    assert (decision.apply, decision.delete, decision.finalizer, decision.objects) == ([], [], "", {})
    stalled = next(one for one in objects_at(decision.status, "conditions") if str_at(one, "type") == "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "InvalidSpec")
    assert "larger than the 1000 bytes that the event log takes" in str_at(stalled, "message")
    assert decision.inputs.record_limit == 1_000


@pytest.mark.parametrize(
    "spec", [pytest.param(None, id="none"), pytest.param([], id="a list"), pytest.param("x", id="a text")]
)
def test_a_spec_that_is_no_object_is_refused_and_not_taken_for_an_empty_one(spec: JsonValue) -> None:
    world = World.of({**example("development"), "spec": spec})
    planned = world.step()
    assert not planned.decision.apply
    assert condition(world.cluster, "Stalled")["reason"] == "InvalidSpec"
