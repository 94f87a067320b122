"""A state that remembers what was worked out from it is planned exactly as one that was just folded from its records.

Worlds live through all that can happen to a TapioCluster, drawn from a seed; every plan is made twice and compared
whole.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, cast

import msgspec
import pytest

from tapio_reconciler.core.comparison import settled_digest
from tapio_reconciler.core.planning import plan
from tapio_reconciler.core.plans import Plan, Report
from tapio_reconciler.core.remembering import Remembered
from tapio_reconciler.core.rules import NEWEST, OLDEST
from tapio_reconciler.core.state import Entry, State, evolve
from tapio_shared.api.labels import FORCE_RECONCILE, PAUSED
from tapio_shared.api.names import cluster_ref
from tapio_shared.codec import encode
from tapio_shared.facts import ConfigurationObserved, Inputs, MessageParked, ObjectResult, OutcomeRecorded
from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at
from tapio_shared.keys import ObjectRef, decision_subject, object_subject, outcome_subject
from tests.support.planned_world import CERTIFICATE_LASTS, FLEET, PARTITIONS, discovery, example
from tests.support.volume_world import VolumeWorld

STEPS = 150
WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet"})


@dataclass(kw_only=True)
class TwiceWorld(VolumeWorld):
    """Every plan is made of the state that is kept and of one that remembers nothing."""

    compared: int = 0
    asked: JsonObject = field(default_factory=dict[str, JsonValue])
    """The spec that it began with."""

    def plan(self) -> Plan:
        inputs = Inputs(now=self.now, operator_version="0.1.0", logic=self.logic)
        kept = plan(self.state, inputs)
        fresh = plan(
            State(self.key, own=dict(self.state.own), shared=dict(self.state.shared), revision=self.state.revision),
            inputs,
        )
        assert what_it_says(kept) == what_it_says(fresh)
        self.compared += 1
        return kept

    def write_unseen(self) -> None:
        """Everything is written, and nobody tells of it yet; what was settled otherwise is noted."""
        planned = self.plan()
        self.sequence += 1
        self.record(decision_subject(self.key, PARTITIONS), planned.record("test"), self.sequence)
        report = Report()
        for one in planned.decision.apply:
            name = str(ObjectRef(one.group, one.kind, one.namespace, one.name))
            report.results.append(
                ObjectResult(ref=name, action=one.mode, digest=one.digest, uid="u", resource_version="unseen")
            )
            report.settled[name] = "settled" if one.kind == "Service" else None
        for gone in planned.decision.delete:
            name = str(ObjectRef(gone.group, gone.kind, gone.namespace, gone.name))
            report.results.append(ObjectResult(ref=name, action="delete"))
        self.end(planned.outcome(self.sequence, report, now=self.now))

    def tell_again(self, chance: random.Random) -> None:
        """Some of the last records are appended anew."""
        for subject, entry in list(self.state.own.items()):
            if chance.random() < 0.7:
                self.record(subject, entry.record)

    def end(self, outcome: OutcomeRecorded) -> None:
        """An outcome is recorded."""
        self._tell(outcome_subject(self.key, PARTITIONS), outcome)


def what_it_says(one: Plan) -> Mapping[str, object]:
    """All of a plan, JSON as bytes, since in Python `1 == True`."""
    return {
        "decision": encode(one.record("test")),
        "manifests": encode(dict(one.manifests)),
        "generated": one.generated,
        "corrected": one.corrected,
        "pod templates": encode(dict(one.pod_templates)),
        "premises": one.premises,
        "released": one.released,
        "memory": one.memory,
        "cluster": one.cluster,
        "seen": {name: (seen, encode(seen.document)) for name, seen in one.seen_by_name.items()},
    }


Event = Callable[[TwiceWorld, random.Random], object]


def any_of(world: TwiceWorld, chance: random.Random, *kinds: str) -> tuple[ObjectRef, JsonObject]:
    """One of the objects of these kinds, or of all, and what it looks like."""
    found = [(ref, one) for ref, one in world.objects().items() if not kinds or ref.kind in kinds]
    ref, document = chance.choice(found) if found else (ObjectRef("", "ConfigMap", "default", "none"), {})
    return ref, copy.deepcopy(document)


def step(world: TwiceWorld, chance: random.Random) -> None:
    world.step(ready=chance.random() < 0.7)


def refused(code: int, reason: str, *, retryable: bool) -> Event:
    """Some of what is written next is refused."""

    def refuse(world: TwiceWorld, chance: random.Random) -> None:
        refusals: dict[str, ObjectResult] = {}
        for one in world.plan().decision.apply:
            name = str(ObjectRef(one.group, one.kind, one.namespace, one.name))
            if chance.random() < 0.5:
                refusals[name] = ObjectResult(
                    ref=name,
                    action=one.mode,
                    digest=one.digest,
                    code=code,
                    error_reason=reason,
                    error=f"{name} is refused",
                    retryable=retryable,
                )
        world.step(refuse=refusals)

    return refuse


def write_unseen(world: TwiceWorld, _: random.Random) -> None:
    world.write_unseen()


def crash(world: TwiceWorld, chance: random.Random) -> None:
    world.crash(chance.randint(0, 12))


def pass_time(world: TwiceWorld, chance: random.Random) -> None:
    world.now += chance.choice((100, 1_000, 6_000, 40_000, 200_000, -5_000, CERTIFICATE_LASTS))


def move_pods(world: TwiceWorld, chance: random.Random) -> None:
    """A workload's controller tells of more or fewer pods."""
    ref, document = any_of(world, chance, *WORKLOADS)
    ready = chance.randint(0, 3)
    names = ("readyReplicas", "availableReplicas", "numberAvailable", "numberReady", "updatedReplicas")
    world.observe({**document, "status": {**object_at(document, "status"), **dict.fromkeys(names, ready)}})
    why = chance.choice(("CrashLoopBackOff", "Unschedulable"))
    reasons: list[JsonValue] = [{"reason": why, "count": 1, "pod": "p", "message": ""}]
    world.observe(
        {
            "apiVersion": "tapio.io/v1",
            "kind": "Pods",
            "metadata": {"name": f"{ref.kind}-{ref.name}", "namespace": ref.namespace},
            "total": chance.randint(ready, 3),
            "ready": ready,
            "reasons": reasons if chance.random() < 0.5 else [],
        }
    )


def tell_again(world: TwiceWorld, chance: random.Random) -> None:
    """A sweep: what is live is told again as it is, the last decision and outcome too."""
    world.tell_again(chance)


def edit_by_hand(world: TwiceWorld, chance: random.Random) -> None:
    ref, document = any_of(world, chance, "Service", "ConfigMap", "Deployment", "StatefulSet", "Role")
    if ref.kind == "Deployment":
        object_at(document, "spec")["replicas"] = chance.randint(0, 4)
    else:
        object_at(document, "metadata").pop("labels", None)
    world.observe(document)


def delete(world: TwiceWorld, chance: random.Random) -> None:
    ref, _ = any_of(world, chance)
    world.lose(ref)


def begin_to_delete(world: TwiceWorld, chance: random.Random) -> None:
    _, document = any_of(world, chance)
    object_at(document, "metadata")["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.observe(document)


def renew_secret(world: TwiceWorld, chance: random.Random) -> None:
    ref, document = any_of(world, chance, "Secret")
    digests = object_at(document, "digests")
    for key in digests:
        digests[key] = f"{key} {chance.randint(0, 9)}"
    if ref.kind == "Secret":
        world.observe(document)


def garble(world: TwiceWorld, chance: random.Random) -> None:
    """Something unreadable stands where an object was told of."""
    ref, _ = any_of(world, chance, "Service", "Deployment", "Secret", "ConfigMap", "PersistentVolumeClaim")
    world.sequence += 1
    subject = object_subject(world.key, ref, PARTITIONS)
    record = MessageParked(subject=subject, sequence=world.sequence, reason="It is no JSON.", parked_at=world.now)
    evolve(world.state, subject, Entry(world.sequence, record))


def collect(world: TwiceWorld, chance: random.Random) -> None:
    """A TapioCollector appears, changes, breaks or is deleted."""
    name = chance.choice(("one", "two"))
    ref = ObjectRef("tapio.io", "TapioCollector", world.key.namespace, name)
    if world.find(ref) is not None and chance.random() < 0.3:
        world.lose(ref)
        return
    spec = chance.choice(
        (
            {"type": "kubeapi"},
            {"type": "kubeapi", "enabled": False},
            {"type": "systemd", "nodeSelector": {"pool": "a"}},
            {"type": "ebpf", "allowOverlap": True},
            {"type": "kubeapi", "resources": "many"},
        )
    )
    metadata: JsonObject = {
        "name": name,
        "namespace": world.key.namespace,
        "uid": f"uid-of-{name}",
        "generation": world.sequence,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    document: JsonObject = {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioCollector",
        "metadata": metadata,
        "spec": {"clusterRef": {"name": world.key.name}, **cast("JsonObject", spec)},
        "status": object_at(world.find(ref), "status"),
    }
    world.observe(document)


def scale_by_others(world: TwiceWorld, chance: random.Random) -> None:
    name = f"Deployment-{world.key.name}-gateway"
    metadata: JsonObject = {"namespace": world.key.namespace, "name": name}
    others: list[JsonValue] = ["keda", *(["theirs"] if chance.random() < 0.5 else [])]
    scalers: JsonObject = {"autoscalers": others}
    if chance.random() < 0.5:
        world.lose(ObjectRef("tapio.io", "Scaler", world.key.namespace, name))
    else:
        world.observe({"apiVersion": "tapio.io/v1", "kind": "Scaler", "metadata": metadata, **scalers})


def edit_spec(world: TwiceWorld, chance: random.Random) -> None:
    """The spec changes: storage, replicas, pods, or to what nobody can run."""
    spec = copy.deepcopy(world.asked)
    note: JsonObject = {"podAnnotations": {"noted": str(chance.randint(0, 3))}}
    match chance.randint(0, 5):
        case 0:
            spec["gateway"] = {**object_at(spec, "gateway"), "enabled": True, "replicas": chance.randint(1, 3)}
        case 1:
            spec["nats"] = {**object_at(spec, "nats"), **note}
        case 2:
            spec["nats"] = {**object_at(spec, "nats"), "storage": f"{chance.randint(2, 30)}Gi"}
        case 3:
            spec["version"] = chance.choice(("v1.0.0", "v1.1.0"))
        case 4:
            spec["gateway"] = {"enabled": False}
        case _:
            spec["nats"] = {"storage": "much"}
    world.edit_whole(spec)


def annotated(name: str, *values: str | None) -> Event:
    """An annotation of the TapioCluster becomes one of these, None: it is taken away."""
    return lambda world, chance: world.annotate(name, chance.choice(values))


def share(world: TwiceWorld, chance: random.Random) -> None:
    """A shared fact changes, or is told again as it was."""
    match chance.randint(0, 3):
        case 0:
            world.share("discovery", discovery(monitoring=chance.random() < 0.5))
        case 1:
            labels = [msgspec.structs.replace(one, count=chance.randint(1, 2)) for one in FLEET.groups]
            world.share("fleet", msgspec.structs.replace(FLEET, groups=labels))
        case 2:
            world.share("fleet", FLEET)
        case _:
            pull: JsonObject = {"imagePullPolicy": "Always"} if chance.random() < 0.5 else {}
            world.share("config", ConfigurationObserved(configuration=pull, observed_at=world.now))


def other_rules(world: TwiceWorld, chance: random.Random) -> None:
    world.logic = chance.randint(OLDEST, NEWEST)


EVENTS: Final[Mapping[str, tuple[Event, int]]] = {
    "a step": (step, 40),
    "a refusal": (refused(422, "Invalid", retryable=False), 3),
    "a failure": (refused(500, "InternalError", retryable=True), 3),
    "writes unseen": (write_unseen, 4),
    "a crash": (crash, 3),
    "time": (pass_time, 8),
    "pods move": (move_pods, 12),
    "a sweep": (tell_again, 4),
    "an edit by hand": (edit_by_hand, 6),
    "a deletion": (delete, 4),
    "a slow deletion": (begin_to_delete, 2),
    "a secret is renewed": (renew_secret, 3),
    "unreadable": (garble, 2),
    "a collector": (collect, 5),
    "a scaler": (scale_by_others, 2),
    "another spec": (edit_spec, 8),
    "paused": (annotated(PAUSED, "true"), 2),
    "resumed": (annotated(PAUSED, None), 20),
    "forced": (annotated(FORCE_RECONCILE, "1", "2", None), 3),
    "a shared fact": (share, 3),
    "other rules": (other_rules, 1),
}


@pytest.mark.parametrize(
    ("profile", "seed"),
    [
        pytest.param("development", 1, id="development"),
        pytest.param("production", 2, id="production"),
        pytest.param("edge", 3, id="edge"),
        pytest.param("development", 4, id="development, otherwise"),
    ],
)
def test_a_plan_is_the_same_whatever_is_remembered(profile: str, seed: int) -> None:
    chance = random.Random(seed)
    world = TwiceWorld.of(example(profile))
    world.asked = object_at(world.cluster, "spec")
    world.settle()
    settled = world.compared
    weights = [weight for _, weight in EVENTS.values()]
    for name in chance.choices(list(EVENTS), weights, k=STEPS):
        happen, _ = EVENTS[name]
        happen(world, chance)
        world.plan()
    world.logic = NEWEST
    world.annotate(PAUSED, None)
    document = copy.deepcopy(world.cluster)
    object_at(document, "metadata")["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.observe(document)
    itself = cluster_ref(world.key.namespace, world.key.name)
    for _ in range(5):
        world.now += 10_000
        if world.find(itself) is not None:
            world.step()
    assert world.compared > settled + STEPS


def at_rest(profile: str) -> TwiceWorld:
    """A world in which nothing is to be done, and that was planned since."""
    world = TwiceWorld.of(example(profile))
    world.settle()
    assert not world.plan().has_effects
    return world


def test_a_certificate_is_due_though_nothing_was_told_of_it() -> None:
    world = at_rest("production")
    renewed = world.plan().decision.timers[0].due_at
    world.now = renewed - 1
    assert not world.plan().has_effects
    world.now = renewed
    assert {one.mode for one in world.plan().decision.apply} == {"generate"}


def test_what_the_api_server_makes_of_an_object_counts_as_long_as_the_outcome_tells_of_it() -> None:
    world = at_rest("development")
    ref, document = next((ref, copy.deepcopy(one)) for ref, one in world.objects().items() if ref.kind == "Service")
    object_at(document, "spec")["sessionAffinity"] = "Otherwise"
    object_at(document, "metadata").pop("labels")
    world.observe(document)
    assert [one.name for one in world.plan().decision.apply] == [ref.name]

    outcome = OutcomeRecorded(decision=1, ended_at=world.now, settled={str(ref): settled_digest(document)})
    world.end(outcome)
    assert world.plan().decision.apply == []
    assert world.plan().decision.apply == []
    world.end(OutcomeRecorded(decision=1, ended_at=world.now))
    assert [one.name for one in world.plan().decision.apply] == [ref.name]


def test_a_value_of_a_spec_that_only_equals_the_one_before_is_another() -> None:
    world = at_rest("production")
    spec = object_at(world.cluster, "spec")
    written: list[str] = []
    for answer in (1, True, 1.0):
        world.edit_whole({**spec, "gateway": {**object_at(spec, "gateway"), "config": {"answer": answer}}})
        config = next(one for one in world.plan().manifests.values() if str_at(one, "kind") == "ConfigMap")
        written += [line for line in str_at(config, "data", "config.yaml").splitlines() if "answer" in line]
        world.settle()
    assert written == ["answer: 1", "answer: true", "answer: 1.0"]


def test_a_claim_counts_for_the_component_that_waits_for_it() -> None:
    world = at_rest("development")
    ref, document = next(
        (ref, copy.deepcopy(one))
        for ref, one in world.objects().items()
        if "nats" in ref.name and ref.kind == "StatefulSet"
    )
    world.observe({**document, "status": {**object_at(document, "status"), "readyReplicas": 0}})
    claim = next(copy.deepcopy(one) for of, one in world.objects().items() if of.name == f"data-{ref.name}-0")
    object_at(claim, "metadata")["name"] = f"data-{ref.name}-7"  # Nobody asks for it by its name.
    said: list[str] = []
    for phase in ("Bound", "Pending", "Bound"):
        world.observe({**claim, "status": {**object_at(claim, "status"), "phase": phase}})
        world.plan()
        status = world.plan().decision.status
        said += [str_at(one, "reason") for one in objects_at(status, "components") if str_at(one, "name") == "nats"]
    assert said == ["RollingOut", "VolumePending", "RollingOut"]


def test_what_follows_from_the_same_things_is_worked_out_once() -> None:
    remembered, asked = Remembered(), list[str]()
    basis, other = ["a"], ["a"]

    def work_out(answer: str) -> list[str]:
        asked.append(answer)
        return [answer]

    first = remembered.again("one", (basis, 1), lambda: work_out("first"))
    assert remembered.again("one", (basis, 1), lambda: work_out("second")) is first
    assert remembered.again("one", (other, 1), lambda: work_out("third")) == ["third"]
    assert remembered.again("two", (other, 1), lambda: work_out("fourth")) == ["fourth"]
    assert asked == ["first", "third", "fourth"]


def test_an_answer_equal_to_the_one_before_is_that_one_where_that_is_asked_for() -> None:
    remembered = Remembered()
    first = remembered.steady("one", (["a"],), lambda: {"equal": 1})
    assert remembered.steady("one", (["b"],), lambda: {"equal": 1}) is first
    assert remembered.steady("one", (["c"],), lambda: {"equal": 2}) == {"equal": 2}
