"""What a StatefulSet does next, and its status. Pure.

Source: k8s.io/kubernetes/pkg/controller/statefulset (stateful_set_control.go, stateful_set_utils.go).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tapio_shared.json import JsonObject, int_at, object_at, objects_at, str_at, strings_at
from tapio_simulator.controllers.revisions import REVISION_LABEL
from tapio_simulator.machinery.objects import (
    available_in,
    is_finished,
    is_ready,
    is_terminating,
    key_of,
    phase_of,
    without_zeros,
)


@dataclass(frozen=True, slots=True)
class Create:
    """Make the pod with this ordinal, from this revision."""

    ordinal: int
    revision: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete this pod."""

    pod: JsonObject


Step = Create | Delete


def ordinal_of(pod: JsonObject, workload: JsonObject) -> int | None:
    """The number at the end of a pod's name; None when it is not a pod of this StatefulSet."""
    parent, _, number = key_of(pod)[1].rpartition("-")
    return int(number) if parent == key_of(workload)[1] and number.isdigit() else None


def revision_of(pod: JsonObject) -> str:
    return strings_at(pod, "metadata", "labels").get(REVISION_LABEL, "")


def first_ordinal(workload: JsonObject) -> int:
    return int_at(workload, "spec", "ordinals", "start")


def partition_of(workload: JsonObject) -> int:
    return int_at(workload, "spec", "updateStrategy", "rollingUpdate", "partition")


def is_healthy(pod: JsonObject) -> bool:
    return phase_of(pod) == "Running" and is_ready(pod) and not is_terminating(pod)


def steps(workload: JsonObject, pods: Sequence[JsonObject], current: str, update: str) -> list[Step]:
    """What to do now; nothing while something must be waited for."""
    by_ordinal = {number: pod for pod in pods if (number := ordinal_of(pod, workload)) is not None}
    start, replicas = first_ordinal(workload), int_at(workload, "spec", "replicas", default=1)
    wanted = range(start, start + replicas)
    one_by_one = str_at(workload, "spec", "podManagementPolicy", default="OrderedReady") == "OrderedReady"
    made: list[Step] = []
    for ordinal in wanted:
        pod = by_ordinal.get(ordinal)
        if pod is not None and is_finished(pod) and not is_terminating(pod):
            made.append(Delete(pod))
        elif pod is None:
            made.append(Create(ordinal, _revision_for(workload, ordinal, current, update)))
        elif one_by_one and not is_healthy(pod):
            return made
        else:
            continue
        if one_by_one:
            return made
    condemned = [by_ordinal[number] for number in sorted(by_ordinal, reverse=True) if number not in wanted]
    for pod in condemned:
        if is_terminating(pod):
            if one_by_one:
                return made
            continue
        healthy = all(is_healthy(by_ordinal[number]) for number in wanted if number in by_ordinal)
        if one_by_one and not healthy and is_healthy(pod):
            return made
        made.append(Delete(pod))
        if one_by_one:
            return made
    if made or str_at(workload, "spec", "updateStrategy", "type") == "OnDelete":
        return made
    return _update(workload, by_ordinal, wanted, update)


def _revision_for(workload: JsonObject, ordinal: int, current: str, update: str) -> str:
    return current if ordinal < first_ordinal(workload) + partition_of(workload) else update


def _update(workload: JsonObject, pods: Mapping[int, JsonObject], wanted: range, update: str) -> list[Step]:
    """From the last pod down to the partition, one at a time, each healthy before the next."""
    for ordinal in reversed(wanted):
        if ordinal < first_ordinal(workload) + partition_of(workload):
            break
        pod = pods.get(ordinal)
        if pod is None:
            return []
        if revision_of(pod) != update:
            return [] if is_terminating(pod) else [Delete(pod)]
        if not is_healthy(pod):
            return []
    return []


@dataclass(frozen=True, slots=True)
class Report:
    """The new status, and in how many seconds the next pod becomes available."""

    status: JsonObject
    next_in: float | None


def report_of(workload: JsonObject, pods: Sequence[JsonObject], current: str, update: str, now: int) -> Report:
    """The status; the update revision becomes the current one when every pod has it and is ready."""
    seconds = int_at(workload, "spec", "minReadySeconds")
    waits = [wait for pod in pods if (wait := available_in(pod, seconds, now)) is not None]
    live = [pod for pod in pods if not is_terminating(pod)]
    ready = [pod for pod in pods if phase_of(pod) == "Running" and is_ready(pod)]
    updated = sum(1 for pod in live if revision_of(pod) == update)
    holding = sum(1 for pod in live if revision_of(pod) == current)
    replicas = int_at(workload, "spec", "replicas", default=1)
    rolling = str_at(workload, "spec", "updateStrategy", "type", default="RollingUpdate") == "RollingUpdate"
    complete = updated == len(pods) == replicas == len(ready)
    if rolling and complete:
        current, holding = update, updated
    counts = without_zeros(
        {
            "observedGeneration": int_at(workload, "metadata", "generation"),
            "readyReplicas": len(ready),
            "currentReplicas": holding,
            "updatedReplicas": updated,
            "currentRevision": current,
            "updateRevision": update,
        }
    )
    available = sum(1 for wait in waits if wait <= 0)
    status: JsonObject = {"replicas": len(pods), "availableReplicas": available, "collisionCount": 0, **counts}
    return Report(status, min((wait for wait in waits if wait > 0), default=None))


# --- objects -------------------------------------------------------------------------------------------------------


def claim_name(workload: JsonObject, template: JsonObject, ordinal: int) -> str:
    return f"{str_at(template, 'metadata', 'name')}-{key_of(workload)[1]}-{ordinal}"


def build_claims(workload: JsonObject, ordinal: int) -> list[JsonObject]:
    """The PersistentVolumeClaims of one pod, with the labels of their templates and of the selector."""
    namespace, _ = key_of(workload)
    selector = strings_at(workload, "spec", "selector", "matchLabels")
    claims: list[JsonObject] = []
    for template in objects_at(workload, "spec", "volumeClaimTemplates"):
        metadata: JsonObject = {
            **object_at(template, "metadata"),
            "name": claim_name(workload, template, ordinal),
            "namespace": namespace,
            "labels": {**strings_at(template, "metadata", "labels"), **selector},
        }
        metadata.pop("creationTimestamp", None)
        claims.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": metadata,
                "spec": object_at(template, "spec"),
            }
        )
    return claims


def finish_pod(pod: JsonObject, workload: JsonObject, ordinal: int, revision: str) -> JsonObject:
    """Give a pod from the template its identity: name, labels, host name and claims. `pod` is changed."""
    metadata, spec = object_at(pod, "metadata"), object_at(pod, "spec")
    name = f"{key_of(workload)[1]}-{ordinal}"
    metadata["labels"] = {
        **object_at(metadata, "labels"),
        REVISION_LABEL: revision,
        "statefulset.kubernetes.io/pod-name": name,
        "apps.kubernetes.io/pod-index": str(ordinal),
    }
    spec["hostname"] = name
    spec["subdomain"] = str_at(workload, "spec", "serviceName")
    templates = objects_at(workload, "spec", "volumeClaimTemplates")
    claimed = {str_at(one, "metadata", "name") for one in templates}
    kept = [volume for volume in objects_at(spec, "volumes") if str_at(volume, "name") not in claimed]
    mounted: list[JsonObject] = [
        {
            "name": str_at(one, "metadata", "name"),
            "persistentVolumeClaim": {"claimName": claim_name(workload, one, ordinal)},
        }
        for one in templates
    ]
    if kept or mounted:
        spec["volumes"] = [*kept, *mounted]
    return pod
