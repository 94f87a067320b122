"""A planned world with what Kubernetes does about volumes: claims from templates, immutable fields, pods that stay.

`crash` carries a part of a plan out and loses its outcome, as an operator that ends in the middle of it does.
"""

from __future__ import annotations

import copy

from tapio_reconciler.core.wanting import ref_of
from tapio_shared.api.quantity import parse_quantity
from tapio_shared.json import JsonObject, at, int_at, object_at, objects_at, str_at
from tapio_shared.keys import ObjectRef, decision_subject
from tests.support.planned_world import PARTITIONS, World

_MUTABLE = frozenset({"replicas", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds"})


class VolumeWorld(World):
    """Asserts what the API server would refuse: another immutable field, a claim that shrinks."""

    storage_class: str = "standard"
    """Of every claim that is made."""
    bound: bool = True

    def crash(self, writes: int) -> int:
        """Plan, record the decision, and do the first `writes` of its writes; answers how many there are."""
        planned = self.plan()
        self.record(decision_subject(self.key, PARTITIONS), planned.record("test"))
        decision = planned.decision
        for action in decision.apply[:writes]:
            name = str(ObjectRef(action.group, action.kind, action.namespace, action.name))
            manifest = planned.manifests.get(name) or planned.generated[name].manifest
            if action.mode == "expand":
                self._expand(manifest)
            else:
                self._apply(manifest, ready=True)
        for gone in decision.delete[: max(0, writes - len(decision.apply))]:
            self._delete(ObjectRef(gone.group, gone.kind, gone.namespace, gone.name), gone.propagation)
        return len(decision.apply) + len(decision.delete)

    def delete_by_hand(self, workload: ObjectRef) -> None:
        """What `kubectl delete` does to a StatefulSet: its pods are deleted after it."""
        self._delete(workload, "Background")

    def claims(self) -> dict[str, str]:
        """What every claim asks for, by its name."""
        return {
            ref.name: str_at(document, "spec", "resources", "requests", "storage")
            for ref, document in self.objects().items()
            if ref.kind == "PersistentVolumeClaim"
        }

    def templates(self) -> dict[str, str]:
        """What the first claim template of every StatefulSet asks for, by its name."""
        return {
            ref.name: str_at(
                objects_at(document, "spec", "volumeClaimTemplates")[0], "spec", "resources", "requests", "storage"
            )
            for ref, document in self.objects().items()
            if ref.kind == "StatefulSet"
        }

    def condition(self, kind: str) -> tuple[str, str, str]:
        """Status, reason and message of one of the TapioCluster's conditions."""
        for one in objects_at(self.cluster, "status", "conditions"):
            if str_at(one, "type") == kind:
                return str_at(one, "status"), str_at(one, "reason"), str_at(one, "message")
        return "", "", ""

    def _apply(self, manifest: JsonObject, *, ready: bool) -> None:
        ref = ref_of(manifest)
        if ref.kind == "StatefulSet":
            known = self.find(ref)
            if known is not None:
                assert _frozen(known) == _frozen(manifest), f"the API server refuses this change of {ref}"
            self._make_claims(manifest)
            self._tell_pods(ref, int_at(manifest, "spec", "replicas"))
        super()._apply(manifest, ready=ready)

    def _expand(self, manifest: JsonObject) -> None:
        known = self.find(ref_of(manifest))
        assert known is not None
        assert str_at(known, "status", "phase") == "Bound"
        assert str_at(known, "spec", "storageClassName") == "standard"
        assert str_at(known, "metadata", "uid") == str_at(manifest, "metadata", "uid")
        path = ("spec", "resources", "requests", "storage")
        assert parse_quantity(str_at(known, *path)) < parse_quantity(str_at(manifest, *path))
        super()._expand(manifest)

    def _delete(self, ref: ObjectRef, propagation: str) -> None:
        if ref.kind == "Pod":
            self.lose(pods_of(ObjectRef("apps", "StatefulSet", ref.namespace, ref.name.rpartition("-")[0])))
            return
        found = self.find(ref)
        self.lose(ref)
        if ref.kind != "StatefulSet" or found is None:
            return
        if propagation == "Orphan":
            self._tell_pods(ref, int_at(found, "spec", "replicas"), ownerless=True)
        else:
            self.lose(pods_of(ref))

    def _tell_pods(self, workload: ObjectRef, total: int, *, ownerless: bool = False) -> None:
        """The watcher's summary of a workload's pods, which have lost their controller if they are `ownerless`."""
        left: JsonObject = {
            "ownerless": [{"name": f"{workload.name}-{number}", "uid": "uid-of-pod"} for number in range(total)]
        }
        document: JsonObject = {
            "apiVersion": "tapio.io/v1",
            "kind": "Pods",
            "metadata": {"name": pods_of(workload).name, "namespace": workload.namespace},
            "total": total,
            "ready": total,
            **(left if ownerless else {}),
        }
        self.observe(document)

    def _make_claims(self, workload: JsonObject) -> None:
        namespace, name = str_at(workload, "metadata", "namespace"), str_at(workload, "metadata", "name")
        for template in objects_at(workload, "spec", "volumeClaimTemplates"):
            for ordinal in range(int_at(workload, "spec", "replicas")):
                claim_name = f"{str_at(template, 'metadata', 'name')}-{name}-{ordinal}"
                if self.find(ObjectRef("", "PersistentVolumeClaim", namespace, claim_name)) is not None:
                    continue
                self.observe(
                    {
                        "apiVersion": "v1",
                        "kind": "PersistentVolumeClaim",
                        "metadata": {
                            "name": claim_name,
                            "namespace": namespace,
                            "uid": f"uid-of-{claim_name}",
                            "labels": at(template, "metadata", "labels"),
                        },
                        "spec": {
                            **copy.deepcopy(object_at(template, "spec")),
                            "storageClassName": self.storage_class,
                        },
                        "status": {
                            "phase": "Bound" if self.bound else "Pending",
                            "capacity": copy.deepcopy(object_at(template, "spec", "resources", "requests")),
                        },
                    }
                )


def pods_of(workload: ObjectRef) -> ObjectRef:
    """Under which name a workload's pods are summed up."""
    return ObjectRef("tapio.io", "Pods", workload.namespace, f"{workload.kind}-{workload.name}")


def _frozen(workload: JsonObject) -> JsonObject:
    return {name: value for name, value in object_at(workload, "spec").items() if name not in _MUTABLE}
