"""A world for the planner without any server: plans are carried out on a plain dictionary, and observed at once.

It shares no code with the reconciler's shell: what it does to objects is written here again, so that a fault there
can't hide.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, cast

import yaml

from tapio_reconciler.core.model import CertificateSecret, CopiedSecret, MadeSecret
from tapio_reconciler.core.planning import plan
from tapio_reconciler.core.plans import Plan, Report
from tapio_reconciler.core.rules import NEWEST
from tapio_reconciler.core.state import Entry, State, evolve
from tapio_reconciler.core.wanting import ref_of
from tapio_shared.api.kinds import ALL_KINDS
from tapio_shared.api.labels import COPY, RENEW_AT
from tapio_shared.api.names import API_GROUP, cluster_ref
from tapio_shared.codec import digest
from tapio_shared.facts import (
    DiscoveryObserved,
    FleetObserved,
    Inputs,
    NodeGroup,
    ObjectGone,
    ObjectObserved,
    ObjectResult,
    Record,
    ServedResource,
    Synced,
)
from tapio_shared.json import JsonObject, at, object_at, str_at
from tapio_shared.keys import ObjectRef, OrderingKey, decision_subject, object_subject, outcome_subject

PARTITIONS = 32
START = 1_790_000_000_000
CERTIFICATE_LASTS = 300 * 86_400_000
_OPTIONAL = ("monitoring.coreos.com", "gateway.networking.k8s.io", "autoscaling.k8s.io")
FLEET = FleetObserved(
    groups=[
        NodeGroup(
            count=1,
            ready=1,
            architecture="amd64",
            kernel="6.1.0-18",
            os_image="Debian GNU/Linux 12 (bookworm)",
            zone=zone,
        )
        for zone in ("a", "b", "c")
    ],
    hosts=3,
    zones=["a", "b", "c"],
    storage_classes=["standard"],
    default_storage_class="standard",
    expandable_storage_classes=["standard"],
    namespaces={"tapio-nodes": "privileged"},
    observed_at=START,
)


def discovery(*, monitoring: bool = False, version: str = "v1.31.0") -> DiscoveryObserved:
    """What a current API server serves, with or without the Prometheus operator's kinds."""
    return DiscoveryObserved(
        version=version,
        resources=[
            ServedResource(
                group=kind.group, version=served, kind=kind.kind, plural=kind.plural, namespaced=kind.namespaced
            )
            for kind in ALL_KINDS
            for served in kind.versions
            if kind.group not in _OPTIONAL or (monitoring and kind.group == _OPTIONAL[0])
        ],
        observed_at=START,
    )


def example(name: str) -> JsonObject:
    """One of the seed's manifests."""
    path = Path(__file__).parents[2] / "examples" / f"{name}.yaml"
    return cast("JsonObject", yaml.safe_load(path.read_text()))


@dataclass
class World:
    """One TapioCluster, its objects, and the state that the log would hold of them."""

    state: State
    now: int = START
    sequence: int = 100
    version: int = 1_000
    logic: int = NEWEST
    """By which rules it is planned."""
    plans: list[Plan] = field(default_factory=list[Plan])

    @classmethod
    def of(cls, document: JsonObject) -> Self:
        """A world in which `document`, a TapioCluster, was just created and everything is synced."""
        metadata = object_at(document, "metadata")
        key = OrderingKey("local", str_at(metadata, "namespace", default="default"), str_at(metadata, "name"))
        world = cls(State(key))
        world.share("synced", Synced(generation="g", kinds=[], synced_at=START))
        world.share("discovery", discovery())
        world.share("fleet", FLEET)
        own: JsonObject = {**metadata, "namespace": key.namespace, "uid": "uid-of-cluster", "generation": 1}
        world.observe({**document, "metadata": own})
        return world

    @property
    def key(self) -> OrderingKey:
        return self.state.key

    @property
    def cluster(self) -> JsonObject:
        """The TapioCluster as last observed."""
        found = self.find(cluster_ref(self.key.namespace, self.key.name))
        assert found is not None
        return found

    def share(self, what: str, fact: Record) -> None:
        """Tell a shared fact."""
        self.sequence += 1
        self.state.shared[what] = Entry(self.sequence, fact)

    def observe(self, document: JsonObject) -> None:
        """Tell how an object is now."""
        self.version += 1
        fact = ObjectObserved(
            uid=str_at(document, "metadata", "uid") or f"uid-{self.version}",
            resource_version=str(self.version),
            object=copy.deepcopy(document),
            observed_at=self.now,
        )
        self._tell(object_subject(self.key, ref_of(document), PARTITIONS), fact)

    def lose(self, ref: ObjectRef) -> None:
        """Tell that an object is gone."""
        subject = object_subject(self.key, ref, PARTITIONS)
        entry = self.state.own.get(subject)
        uid = entry.record.uid if entry is not None and isinstance(entry.record, ObjectObserved) else ""
        self._tell(subject, ObjectGone(uid=uid, gone_at=self.now))

    def find(self, ref: ObjectRef) -> JsonObject | None:
        """An object as last observed, or None."""
        entry = self.state.own.get(object_subject(self.key, ref, PARTITIONS))
        return entry.record.object if entry is not None and isinstance(entry.record, ObjectObserved) else None

    def objects(self) -> dict[ObjectRef, JsonObject]:
        """Every object but the TapioCluster."""
        return {
            ref: entry.record.object
            for ref, entry in self.state.objects()
            if isinstance(entry.record, ObjectObserved) and ref.kind != "TapioCluster"
        }

    def edit(self, **spec: object) -> None:
        """Change fields of the TapioCluster's spec."""
        document = copy.deepcopy(self.cluster)
        document["spec"] = {**object_at(document, "spec"), **cast("JsonObject", spec)}
        metadata = object_at(document, "metadata")
        metadata["generation"] = cast("int", metadata["generation"]) + 1
        self.observe(document)

    def edit_whole(self, spec: JsonObject) -> None:
        """Replace the TapioCluster's spec; a version that is not named stays, as the webhook has it."""
        former = str_at(self.cluster, "spec", "version") or str_at(self.cluster, "status", "version")
        kept: JsonObject = {"version": former} if former else {}
        document: JsonObject = {**copy.deepcopy(self.cluster), "spec": {**kept, **copy.deepcopy(spec)}}
        metadata = object_at(document, "metadata")
        metadata["generation"] = cast("int", metadata["generation"]) + 1
        self.observe(document)

    def annotate(self, name: str, value: str | None) -> None:
        """Set or take away an annotation of the TapioCluster."""
        document = copy.deepcopy(self.cluster)
        annotations: JsonObject = {**object_at(document, "metadata", "annotations")}
        annotations.pop(name, None)
        if value is not None:
            annotations[name] = value
        object_at(document, "metadata")["annotations"] = annotations
        self.observe(document)

    def plan(self) -> Plan:
        """What the planner would do now."""
        return plan(self.state, Inputs(now=self.now, operator_version="0.1.0", logic=self.logic))

    def step(self, *, ready: bool = True, refuse: dict[str, ObjectResult] | None = None) -> Plan:
        """Plan, carry the plan out, observe what came of it, record the outcome."""
        planned = self.plan()
        self.plans.append(planned)
        self.sequence += 1
        sequence = self.sequence
        self.record(decision_subject(self.key, PARTITIONS), planned.record("test"), sequence)
        report = Report()
        for action in planned.decision.apply:
            name = str(ObjectRef(action.group, action.kind, action.namespace, action.name))
            refused = (refuse or {}).get(name)
            if refused is not None:
                report.results.append(refused)
                continue
            manifest = planned.manifests.get(name) or self._made(planned.generated[name])
            if action.mode == "expand":
                self._expand(manifest)
            else:
                self._apply(manifest, ready=ready)
            report.results.append(
                ObjectResult(
                    ref=name, action=action.mode, digest=action.digest, uid="u", resource_version=str(self.version)
                )
            )
        for gone in planned.decision.delete:
            ref = ObjectRef(gone.group, gone.kind, gone.namespace, gone.name)
            self._delete(ref, gone.propagation)
            report.results.append(ObjectResult(ref=str(ref), action="delete"))
        self._write_cluster(planned, report)
        self._write_members(planned, report)
        if planned.has_effects:
            self.record(outcome_subject(self.key, PARTITIONS), planned.outcome(sequence, report, now=self.now))
        return planned

    def settle(self, *, most: int = 30) -> int:
        """Step until a plan has no effects; answers how many steps that took."""
        for count in range(most):
            if not self.step().has_effects:
                return count
        raise AssertionError(f"not settled after {most} steps: {self.plans[-1].decision}")

    def _delete(self, ref: ObjectRef, _propagation: str) -> None:
        self.lose(ref)

    def _made(self, secret: MadeSecret) -> JsonObject:
        """What the watcher would tell of a Secret that was made: its metadata, and a digest for each key."""
        metadata = object_at(secret.manifest, "metadata")
        annotations: JsonObject = {**object_at(metadata, "annotations")}
        digests: JsonObject = {key: f"{str_at(metadata, 'name')} {key}" for key in secret.keys}
        if isinstance(secret, CopiedSecret):
            annotations[COPY] = "true"
            for key, (source, source_key) in secret.values.items():
                found = self.find(ObjectRef("", "Secret", self.key.namespace, source))
                digests[key] = object_at(found, "digests")[source_key]
        elif isinstance(secret, CertificateSecret):
            annotations[RENEW_AT] = str(self.now + CERTIFICATE_LASTS)
            digests |= {key: f"{key} of {self.now}" for key in ("tls.crt", "tls.key")}
        return {**secret.manifest, "metadata": {**metadata, "annotations": annotations}, "digests": digests}

    def _write_cluster(self, planned: Plan, report: Report) -> None:
        decision = planned.decision
        if decision.status is None and not decision.finalizer:
            return
        document = copy.deepcopy(self.cluster)
        if decision.finalizer == "add":
            object_at(document, "metadata")["finalizers"] = ["tapio.io/teardown"]
        if decision.finalizer == "remove":
            self.lose(cluster_ref(self.key.namespace, self.key.name))
            return
        if decision.status is not None:
            document["status"] = decision.status
        self.observe(document)
        written = {
            "status": "" if decision.status is None else digest(decision.status),
            "finalizer": decision.finalizer,
        }
        for name, what in written.items():
            if what:
                version = str(self.version)
                report.results.append(ObjectResult(ref=name, action=name, digest=what, resource_version=version))

    def _write_members(self, planned: Plan, report: Report) -> None:
        for name, status in planned.decision.resources.items():
            kind, _, own = name.partition("/")
            found = self.find(ObjectRef(API_GROUP, kind, self.key.namespace, own))
            assert found is not None
            self.observe({**copy.deepcopy(found), "status": status})
            version = str(self.version)
            report.results.append(
                ObjectResult(ref=name, action="status", digest=digest(status), resource_version=version)
            )

    def _apply(self, manifest: JsonObject, *, ready: bool) -> None:
        document = copy.deepcopy(manifest)
        known = self.find(ref_of(manifest))
        metadata = object_at(document, "metadata")
        metadata["uid"] = str_at(known, "metadata", "uid") or f"uid-{self.version}"
        metadata["generation"] = 1
        kind = str_at(document, "kind")
        if ready and kind in {"Deployment", "StatefulSet", "DaemonSet"}:
            document["status"] = ready_status(document)
        if ready and kind == "Job":
            document["status"] = {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}
        self.observe(document)

    def _expand(self, manifest: JsonObject) -> None:
        """A claim asks for more, and has it at once."""
        claim = copy.deepcopy(self.find(ref_of(manifest)))
        assert claim is not None
        size = at(manifest, "spec", "resources", "requests", "storage")
        object_at(claim, "spec", "resources", "requests")["storage"] = size
        object_at(claim, "status", "capacity")["storage"] = size
        self.observe(claim)

    def _tell(self, subject: str, record: Record) -> None:
        self.sequence += 1
        self.record(subject, record, self.sequence)

    def record(self, subject: str, record: Record, sequence: int = 0) -> None:
        if not sequence:
            self.sequence += 1
            sequence = self.sequence
        evolve(self.state, subject, Entry(sequence, record))


def ready_status(workload: JsonObject) -> JsonObject:
    """The status of a workload whose pods are all ready."""
    replicas = object_at(workload, "spec").get("replicas", 2)
    if str_at(workload, "kind") == "DaemonSet":
        return {
            "observedGeneration": 1,
            "desiredNumberScheduled": 3,
            "numberAvailable": 3,
            "numberReady": 3,
            "updatedNumberScheduled": 3,
        }
    return {
        "observedGeneration": 1,
        "replicas": replicas,
        "readyReplicas": replicas,
        "availableReplicas": replicas,
        "updatedReplicas": replicas,
        "currentReplicas": replicas,
        "currentRevision": "r1",
        "updateRevision": "r1",
    }
