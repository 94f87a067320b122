"""One TapioCluster as the checks see it: what was told of it, and what is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tapio_reconciler.core.model import Component
from tapio_reconciler.core.state import Seen, State
from tapio_reconciler.core.wanting import Wanted
from tapio_shared.api.labels import PAUSED
from tapio_shared.api.names import NATS, NEO4J
from tapio_shared.facts import FleetObserved
from tapio_shared.json import JsonObject, objects_at, str_at, strings_at
from tapio_shared.keys import ObjectRef

COLLECTORS, GRAPH, MESSAGING, WHOLE = "collectors", "Neo4j", "NATS", "cluster"
_PUT_BACK = (
    "The operator puts back what differs unless the cluster is paused or stalled, or somebody changes it again and "
    "again: see tapioctl explain. At once: "
    "kubectl annotate tapiocluster {name} -n {namespace} tapio.io/force-reconcile=$(date +%s) --overwrite"
)


@dataclass(frozen=True, slots=True)
class Patient:
    """One TapioCluster: what was told of it, and what is wanted."""

    state: State
    seen: Mapping[ObjectRef, Seen]
    wanted: Wanted
    cluster: JsonObject

    def components(self, area: str) -> list[Component]:
        """The components of an area."""
        found = self.wanted.rendered.components
        if area == COLLECTORS:
            return [one for one in found if one.condition == "CollectorsReady"]
        return [one for one in found if one.name == (NEO4J if area == GRAPH else NATS)]

    def status(self, component: str) -> JsonObject:
        """What the TapioCluster's status says of a component."""
        parts = objects_at(self.cluster, "status", "components")
        found: list[JsonObject] = [one for one in parts if str_at(one, "name") == component]
        return found[0] if found else {}

    def document(self, ref: ObjectRef) -> JsonObject | None:
        known = self.seen.get(ref)
        return None if known is None else known.document

    def pods(self, workload: ObjectRef) -> JsonObject | None:
        """The summary of a workload's pods."""
        return self.document(ObjectRef("tapio.io", "Pods", workload.namespace, f"{workload.kind}-{workload.name}"))

    def missing_classes(self) -> str:
        """What to do about unbound claims whose StorageClass there is not; empty without such, or if nobody knows."""
        fleet = self.state.shared_fact("fleet", FleetObserved)
        known = [] if fleet is None else fleet[1].storage_classes
        waiting = {
            ref.name: str_at(one.document, "spec", "storageClassName")
            for ref, one in sorted(self.seen.items())
            if ref.kind == "PersistentVolumeClaim" and str_at(one.document, "status", "phase") != "Bound"
        }
        lost = {name: asked for name, asked in waiting.items() if asked and asked not in known}
        if not known or not lost:
            return ""
        classes = ", ".join(sorted({*lost.values()}))
        return (
            f"There is no StorageClass {classes}; there is {', '.join(known)}. Create it, or create the TapioCluster "
            "anew with another one. A claim that was kept goes on naming it: kubectl delete pvc "
            f"-n {self.state.key.namespace} {' '.join(lost)}, and the pods that wait for it; it holds nothing."
        )

    def put_back(self) -> str:
        return _PUT_BACK.format(name=self.state.key.name, namespace=self.state.key.namespace)

    @property
    def is_paused(self) -> bool:
        return strings_at(self.cluster, "metadata", "annotations").get(PAUSED) == "true"
