"""One fact per workload instead of one per pod: counts, the worst reasons, a bounded sample.

A roll-out of a DaemonSet over 500 nodes would otherwise fill the log with thousands of facts that no plan needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tapio_shared.json import JsonObject, JsonValue, at, int_at, objects_at, str_at
from tapio_shared.keys import ObjectRef

SAMPLE = 5
SUMMARY_GROUP, SUMMARY_KIND = "tapio.io", "Pods"
_MAX_MESSAGE = 300
_MAX_REASONS = 8
_WORST_FIRST = (
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "OOMKilled",
    "CrashLoopBackOff",
    "InitFailed",
    "CreateContainerConfigError",
    "CreateContainerError",
    "Error",
    "Unschedulable",
)
"""What tells most about why a workload is not ready, first; anything else follows by name."""
_PULLING = frozenset({"ErrImagePull", "ImagePullBackOff"})
"""The two alternate with every attempt; they are one reason."""
_CRASHES = 2
_HASH_LABEL = "pod-template-hash"
_STATEFUL_POD = "statefulset.kubernetes.io/pod-name"
_HARMLESS = frozenset({"ContainerCreating", "PodInitializing", ""})


@dataclass(frozen=True, slots=True)
class PodState:
    """What one pod adds to its workload's summary."""

    name: str
    phase: str
    ready: bool
    reason: str = ""
    message: str = ""
    ownerless: str = ""
    """UID of a pod that has lost its controller."""


def workload_of(pod: JsonObject) -> ObjectRef | None:
    """The Deployment, StatefulSet, DaemonSet or Job behind a pod; a ReplicaSet is taken for its Deployment.

    The operator lets go of a StatefulSet's pods to make it anew: meanwhile they are still its, by their label.
    """
    namespace = str_at(pod, "metadata", "namespace")
    for owner in objects_at(pod, "metadata", "ownerReferences"):
        if at(owner, "controller") is not True:
            continue
        kind, name = str_at(owner, "kind"), str_at(owner, "name")
        if kind == "ReplicaSet":
            suffix = str_at(pod, "metadata", "labels", _HASH_LABEL)
            stem = name.removesuffix(f"-{suffix}") if suffix else name.rpartition("-")[0]
            return ObjectRef("apps", "Deployment", namespace, stem)
        group = "batch" if kind == "Job" else "apps"
        return ObjectRef(group, kind, namespace, name)
    stem = str_at(pod, "metadata", "labels", _STATEFUL_POD).rpartition("-")[0]
    return ObjectRef("apps", "StatefulSet", namespace, stem) if stem else None


def _has_controller(pod: JsonObject) -> bool:
    return any(at(owner, "controller") is True for owner in objects_at(pod, "metadata", "ownerReferences"))


def summary_ref(workload: ObjectRef) -> ObjectRef:
    """Under which name the summary of a workload's pods stands in the log."""
    return ObjectRef(SUMMARY_GROUP, SUMMARY_KIND, workload.namespace, f"{workload.kind}-{workload.name}")


def state_of(pod: JsonObject) -> PodState:
    """Reduce one pod to what matters: whether it is ready, and if not, the most telling reason."""
    state = _state_of(pod)
    return state if _has_controller(pod) else replace(state, ownerless=str_at(pod, "metadata", "uid"))


def _state_of(pod: JsonObject) -> PodState:
    name = str_at(pod, "metadata", "name")
    phase = str_at(pod, "status", "phase", default="Unknown")
    conditions = {str_at(one, "type"): one for one in objects_at(pod, "status", "conditions")}
    if str_at(conditions.get("Ready"), "status") == "True":
        return PodState(name, phase, ready=True)
    if at(pod, "metadata", "deletionTimestamp") is not None:
        return PodState(name, phase, ready=False)  # that it ends is no fault
    scheduled = conditions.get("PodScheduled")
    if str_at(scheduled, "status") == "False":
        reason = str_at(scheduled, "reason") or "Unschedulable"
        return PodState(name, phase, ready=False, reason=reason, message=str_at(scheduled, "message")[:_MAX_MESSAGE])
    for status in objects_at(pod, "status", "initContainerStatuses"):
        found = _container_reason(status)
        if found is not None:
            reason, message = found
            crashed = reason in {"CrashLoopBackOff", "Error"}
            return PodState(name, phase, ready=False, reason="InitFailed" if crashed else reason, message=message)
    for status in objects_at(pod, "status", "containerStatuses"):
        found = _container_reason(status)
        if found is not None:
            return PodState(name, phase, ready=False, reason=found[0], message=found[1])
    return PodState(name, phase, ready=False, reason=str_at(pod, "status", "reason"))


def _container_reason(status: JsonObject) -> tuple[str, str] | None:
    """Why a container does not run; being killed for its memory tells more than the back-off that follows.

    A container that crashes again and again runs, ends and waits in turn: it has one reason all the while, or every
    turn would be a fact.
    """
    container = str_at(status, "name")
    if at(status, "ready") is True:
        return None
    for state in ("state", "lastState"):
        if str_at(status, state, "terminated", "reason") == "OOMKilled":
            return "OOMKilled", f"container {container} was killed for exceeding its memory limit"
    waiting = str_at(status, "state", "waiting", "reason")
    if waiting in _PULLING:
        told = str_at(status, "state", "waiting", "message")
        image = str_at(status, "image")
        detail = (
            told.rpartition("ErrImagePull: ")[2] if waiting != "ImagePullBackOff" or "ErrImagePull: " in told else ""
        )
        return "ImagePullBackOff", (detail or f"image {image} can't be pulled")[:_MAX_MESSAGE]
    code = int_at(status, "state", "terminated", "exitCode") or int_at(status, "lastState", "terminated", "exitCode")
    if waiting == "CrashLoopBackOff" or (code != 0 and int_at(status, "restartCount") >= _CRASHES):
        return "CrashLoopBackOff", f"container {container} ends with code {code} again and again"
    if waiting not in _HARMLESS:
        return waiting, str_at(status, "state", "waiting", "message")[:_MAX_MESSAGE]
    code = int_at(status, "state", "terminated", "exitCode")
    return ("Error", f"container {container} ended with code {code}") if code != 0 else None


def summary_of(pods: Iterable[PodState]) -> JsonObject:
    """The summary document of a workload's pods; the same whatever their order."""
    known = sorted(pods, key=lambda pod: pod.name)
    phases: dict[str, int] = {}
    reasons: dict[str, list[PodState]] = {}
    for pod in known:
        phases[pod.phase] = phases.get(pod.phase, 0) + 1
        if pod.reason:
            reasons.setdefault(pod.reason, []).append(pod)
    sample: list[JsonValue] = [pod.name for pod in known if not pod.ready]
    ownerless: list[JsonValue] = [{"name": pod.name, "uid": pod.ownerless} for pod in known if pod.ownerless]
    return {
        "kind": "Pods",
        "total": len(known),
        "ready": sum(1 for pod in known if pod.ready),
        "phases": dict(sorted(phases.items())),
        "reasons": [
            {"reason": reason, "count": len(found), "pod": found[0].name, "message": found[0].message}
            for reason, found in sorted(reasons.items(), key=lambda one: (_rank(one[0]), one[0]))[:_MAX_REASONS]
        ],
        "sample": sample[:SAMPLE],
        **({"ownerless": ownerless} if ownerless else {}),
    }


def _rank(reason: str) -> int:
    return _WORST_FIRST.index(reason) if reason in _WORST_FIRST else len(_WORST_FIRST)
