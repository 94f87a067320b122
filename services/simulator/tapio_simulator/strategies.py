"""What the API server itself writes on create and update: first status, tracking labels, values that can't be unset.

Kubernetes calls these the kinds' strategies (pkg/registry/*/strategy.go).
"""

from __future__ import annotations

from typing import cast

from tapio_shared.json import JsonObject, object_at, objects_at, str_at
from tapio_simulator.defaults import default_document, ensure

_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def prepare_create(kind: str, document: JsonObject, now: str) -> None:
    """Status and identity labels that the API server itself writes on create. `document` is changed."""
    match kind:
        case "Pod":
            _pod_admission(ensure(document, "spec"))
            document["status"] = {"phase": "Pending", "qosClass": quality_of_service(document)}
        case "Deployment":
            document["status"] = {}
        case "DaemonSet":
            document.pop("status", None)
            default_document(kind, document)
            _template_generation(document, 1)
        case "StatefulSet" | "ReplicaSet" | "HorizontalPodAutoscaler" | "PodDisruptionBudget":
            document.pop("status", None)
            default_document(kind, document)
        case "Service" | "Ingress":
            document["status"] = {"loadBalancer": {}}
        case "PersistentVolumeClaim" | "PersistentVolume":
            document["status"] = {"phase": "Pending"}
        case "Namespace":
            document["status"] = {"phase": "Active"}
            default_document(kind, document)
        case "Job":
            document["status"] = {}
            _job_labels(document)
        case "CronJob":
            document["status"] = {}
        case _:
            pass


def _template_generation(document: JsonObject, number: int) -> None:
    """DaemonSets still carry what was a field of their first version as an annotation."""
    ensure(ensure(document, "metadata"), "annotations")[_TEMPLATE_GENERATION] = str(number)


def prepare_update(kind: str, document: JsonObject, live: JsonObject) -> None:
    """What an update can't unset. `document` is changed."""
    match kind:
        case "Job":
            for name in ("selector",):
                old = object_at(live, "spec").get(name)
                if old is not None:
                    ensure(document, "spec").setdefault(name, old)
        case "PersistentVolumeClaim":
            for name in ("storageClassName", "volumeName"):
                old = object_at(live, "spec").get(name)
                if old is not None:
                    ensure(document, "spec").setdefault(name, old)
        case "DaemonSet":
            known = str_at(live, "metadata", "annotations", _TEMPLATE_GENERATION)
            changed = object_at(document, "spec").get("template") != object_at(live, "spec").get("template")
            _template_generation(document, int(known or "0") + changed)
        case "Namespace":
            document["spec"] = live.get("spec") or {"finalizers": ["kubernetes"]}
        case _:
            pass


def _pod_admission(spec: JsonObject) -> None:
    """What the ServiceAccount and Priority admission plugins write."""
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    spec.setdefault("priority", 0)


def _job_labels(document: JsonObject) -> None:
    spec = ensure(document, "spec")
    if spec.get("manualSelector") is True or "selector" in spec:
        return
    uid, name = str_at(document, "metadata", "uid"), str_at(document, "metadata", "name")
    labels = ensure(ensure(ensure(spec, "template"), "metadata"), "labels")
    tracking: JsonObject = {
        "controller-uid": uid,
        "job-name": name,
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
    }
    own = ensure(ensure(document, "metadata"), "labels")
    if not own or own == labels:
        own.update(tracking)  # Defaulting shares one map between a Job and its template.
    labels.update(tracking)
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}


def quality_of_service(pod: JsonObject) -> str:
    """Guaranteed, Burstable or BestEffort, from cpu and memory of all containers."""
    containers = [*objects_at(pod, "spec", "containers"), *objects_at(pod, "spec", "initContainers")]
    resources = [cast("JsonObject", container.get("resources") or {}) for container in containers]
    any_set = any(
        object_at(entry, side).get(name)
        for entry in resources
        for side in ("requests", "limits")
        for name in ("cpu", "memory")
    )
    if not any_set:
        return "BestEffort"
    guaranteed = all(
        object_at(entry, "limits").get(name)
        and object_at(entry, "limits").get(name) == object_at(entry, "requests").get(name)
        for entry in resources
        for name in ("cpu", "memory")
    )
    return "Guaranteed" if guaranteed else "Burstable"
