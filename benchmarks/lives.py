"""A month of many TapioClusters as the log would hold it, made by the planner itself on the worlds of the tests.

Every decision follows from the facts before it, so the whole of it replays; what happens to whom is drawn from a seed.
What a month consists of is counted by `Months.counted` and printed beside every figure that rests on it.
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tapio_reconciler.core.plans import Plan
from tapio_reconciler.core.state import Entry, State
from tapio_shared.codec import encode
from tapio_shared.facts import ConfigurationObserved, Record, Synced
from tapio_shared.json import JsonObject, int_at, object_at, str_at
from tapio_shared.keys import ObjectRef, OrderingKey, partition_of, shared_subject
from tapio_shared.ports import Message
from tests.support.planned_world import FLEET, PARTITIONS, START, World, discovery, example

TARGET = "local"
_MONTH = 30 * 86_400_000
_PROFILES = ("development", "production", "edge")
_WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
_EVENTS: tuple[tuple[str, int], ...] = (("scaled", 6), ("pod lost", 4), ("rolled out", 2), ("edited by hand", 1))
"""What happens to a TapioCluster that runs, and how often, of 13 times."""
_SWEEPS = 4
"""Times in a month that all that is live is told again: once for each quarter of what the log keeps."""


@dataclass(kw_only=True)
class Life(World):
    """One TapioCluster, whose every fact, decision and outcome goes to `told` as well."""

    told: Callable[[str, int, Record, int], None]
    _planned: tuple[tuple[int, int], Plan] | None = None

    def begin(self, document: JsonObject) -> None:
        """The TapioCluster is created, and its components become ready one after the other."""
        self.observe(document)
        while self.turn():
            for ref, one in self.objects().items():
                if ref.kind in _WORKLOADS | {"Job"} and "status" not in one:
                    self._become_ready(ref)

    def plan(self) -> Plan:
        """As a world's, and the same again as long as nothing new was told."""
        basis = (self.state.revision, self.now)
        if self._planned is None or self._planned[0] != basis:
            self._planned = basis, super().plan()
        return self._planned[1]

    def turn(self) -> bool:
        """Plan, and record and carry out what has effects, as a worker does; answers whether anything had."""
        if not self.plan().has_effects:
            return False
        self.step(ready=False)
        return True

    def settle_down(self) -> None:
        """Turn until nothing has effects."""
        while self.turn():
            pass

    def happen(self, event: str, chance: random.Random) -> None:
        """One of `_EVENTS`."""
        match event:
            case "scaled":
                self._scale(chance)
            case "pod lost":
                self._lose_pod(self._any_of(_WORKLOADS, chance))
            case "rolled out":
                self._roll_out(chance)
            case _:
                self._edit_by_hand(self._any_of({"Service", "ConfigMap", "NetworkPolicy"}, chance))
        self.settle_down()

    def sweep(self) -> None:
        """Everything that is live is told again, the last decision and outcome too."""
        for subject, entry in sorted(self.state.own.items(), key=lambda one: one[1].sequence):
            self.record(subject, entry.record)

    def record(self, subject: str, record: Record, sequence: int = 0) -> None:
        super().record(subject, record, sequence)
        self.told(subject, sequence or self.sequence, record, self.now)

    def _any_of(self, kinds: frozenset[str] | set[str], chance: random.Random) -> ObjectRef:
        return chance.choice([ref for ref in self.objects() if ref.kind in kinds])

    def _become_ready(self, ref: ObjectRef) -> None:
        """Its controller makes one pod after the other, and each becomes ready: scheduled, started, ready."""
        total = _replicas(self.find(ref) or {})
        for made in range(1, total + 1):
            self._pods(ref, total, made - 1, phase="Pending")
            self._write_status(ref, made, made - 1)
            self._pods(ref, total, made - 1, phase="Pending", reason="ContainerCreating")
            self._pods(ref, total, made)
            self._write_status(ref, made, made)

    def _write_status(self, ref: ObjectRef, made: int, ready: int) -> None:
        """So many pods are made and so many ready, by the status of a workload, of its budget and its autoscaler."""
        document = copy.deepcopy(self.find(ref) or {})
        self.observe({**document, "status": _status(document, made, ready)})
        total = _replicas(document)
        budget: JsonObject = {"currentHealthy": ready, "expectedPods": total, "disruptionsAllowed": ready // 2}
        scaler: JsonObject = {"currentReplicas": made, "desiredReplicas": total}
        for group, kind, status in (
            ("policy", "PodDisruptionBudget", budget),
            ("autoscaling", "HorizontalPodAutoscaler", scaler),
        ):
            beside = self.find(ObjectRef(group, kind, ref.namespace, ref.name))
            if beside is not None:
                self.observe({**beside, "status": status})

    def _pods(self, ref: ObjectRef, total: int, ready: int, *, phase: str = "Running", reason: str = "") -> None:
        """The watcher's summary of a workload's pods: one that is not ready is in `phase`, for `reason`."""
        pod = f"{ref.name}-{ready}"
        self.observe(
            {
                "apiVersion": "tapio.io/v1",
                "kind": "Pods",
                "metadata": {"name": f"{ref.kind}-{ref.name}", "namespace": ref.namespace},
                "total": total,
                "ready": ready,
                "phases": {"Running": ready, phase: total - ready},
                "reasons": [{"reason": reason, "count": 1, "pod": pod, "message": ""}] if reason else [],
                "sample": [pod] if ready < total else [],
            }
        )

    def _lose_pod(self, ref: ObjectRef) -> None:
        """A pod ends and comes back after two attempts; the operator says so in between."""
        total = _replicas(self.find(ref) or {})
        self._write_status(ref, total, total - 1)
        self._pods(ref, total, total - 1, reason="Error")
        self._pods(ref, total, total - 1, reason="CrashLoopBackOff")
        self.settle_down()
        self._pods(ref, total, total - 1)
        self._pods(ref, total, total)
        self._write_status(ref, total, total)

    def _scale(self, chance: random.Random) -> None:
        """An autoscaler asks for more or less; where it may not, the operator takes that back."""
        ref = self._any_of({"Deployment"}, chance)
        document = copy.deepcopy(self.find(ref) or {})
        object_at(document, "spec")["replicas"] = chance.randint(1, 6)
        self.observe(document)
        self.settle_down()
        self._become_ready(ref)

    def _roll_out(self, chance: random.Random) -> None:
        """The spec changes, so workloads do, and their pods come anew."""
        note: JsonObject = {"podAnnotations": {"rolled-out": str(chance.randint(0, 1_000_000))}}
        component = chance.choice(("nats", "gateway"))
        known = {ref: object_at(one, "spec") for ref, one in self.objects().items() if ref.kind in _WORKLOADS}
        self.edit(**{component: {**object_at(self.cluster, "spec", component), **note}})
        self.settle_down()
        for ref, before in known.items():
            if object_at(self.find(ref), "spec") != before:
                self._become_ready(ref)

    def _edit_by_hand(self, ref: ObjectRef) -> None:
        """Somebody takes a label away; it is put back."""
        document = copy.deepcopy(self.find(ref) or {})
        object_at(document, "metadata", "labels").pop("app.kubernetes.io/managed-by", None)
        self.observe(document)


@dataclass
class Months:
    """The month of `clusters` TapioClusters, until there are about `messages` messages."""

    messages: int
    clusters: int
    seed: int = 1
    counted: Counter[str] = field(default_factory=Counter[str])
    """Records of each type so far."""

    def told(self) -> Iterator[Message]:
        """Every message of the month, in the order of the log."""
        chance = random.Random(self.seed)
        waiting: list[Message] = []
        sequence = 0

        def tell(subject: str, at: int, record: Record, now: int) -> None:
            self.counted[type(record).__name__] += 1
            waiting.append(Message(subject, at, encode(record), {}, now))

        shared: dict[int, dict[str, Entry]] = {}
        for partition in range(PARTITIONS):
            for what, record in _SHARED.items():
                sequence += 1
                shared.setdefault(partition, {})[what] = Entry(sequence, record)
                tell(shared_subject(partition, TARGET, what), sequence, record, START)
        lives: list[Life] = []
        for number in range(self.clusters):
            document = _cluster(number)
            key = OrderingKey(TARGET, str_at(document, "metadata", "namespace"), str_at(document, "metadata", "name"))
            own = dict(shared[partition_of(key, PARTITIONS)])
            lives.append(Life(state=State(key, shared=own), sequence=sequence, version=number * 1_000_000, told=tell))
            lives[-1].begin(document)
            sequence = lives[-1].sequence
            yield from waiting
            waiting.clear()
        began, next_sweep = sequence, 1
        while sequence < self.messages:
            share = (sequence - began) / max(self.messages - began, 1)
            now = START + int(_MONTH * share)
            is_sweep = share * _SWEEPS >= next_sweep
            next_sweep += is_sweep
            for life in lives if is_sweep else [chance.choice(lives)]:
                life.sequence, life.now = sequence, now
                if is_sweep:
                    life.sweep()
                else:
                    life.happen(chance.choices(*zip(*_EVENTS, strict=True))[0], chance)
                sequence = life.sequence
                yield from waiting
                waiting.clear()


_SHARED: dict[str, Record] = {
    "config": ConfigurationObserved(configuration={}, observed_at=START),
    "discovery": discovery(),
    "fleet": FLEET,
    "synced": Synced(generation="g", kinds=[], synced_at=START, complete_from=1),
}


def _cluster(number: int) -> JsonObject:
    """The TapioCluster with this number: one of the seed's examples, in turn."""
    document = example(_PROFILES[number % len(_PROFILES)])
    name = f"{str_at(document, 'metadata', 'name')}-{number:04}"
    metadata: JsonObject = {"name": name, "namespace": f"team-{number % 50:02}", "uid": f"uid-{number}"}
    return {**document, "metadata": {**metadata, "generation": 1}}


def _replicas(workload: JsonObject) -> int:
    """Pods that a workload has; a DaemonSet one for each node of the fleet."""
    return FLEET.hosts if str_at(workload, "kind") == "DaemonSet" else int_at(workload, "spec", "replicas", default=1)


def _status(workload: JsonObject, made: int, ready: int) -> JsonObject:
    """What its controller says of a workload of which so many pods are made and ready."""
    total, generation = _replicas(workload), int_at(workload, "metadata", "generation")
    match str_at(workload, "kind"):
        case "Job":
            complete: JsonObject = {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}
            return complete if ready == total else {"active": 1}
        case "DaemonSet":
            return {
                "observedGeneration": generation,
                "desiredNumberScheduled": total,
                "currentNumberScheduled": total,
                "updatedNumberScheduled": total,
                "numberAvailable": ready,
                "numberReady": ready,
            }
        case _:
            return {
                "observedGeneration": generation,
                "replicas": made,
                "readyReplicas": ready,
                "availableReplicas": ready,
                "updatedReplicas": made,
                "currentReplicas": made,
                "currentRevision": "r1",
                "updateRevision": "r1",
            }
