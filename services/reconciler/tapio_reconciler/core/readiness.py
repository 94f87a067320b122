"""How far a workload has come, by the rules of kstatus and of `kubectl rollout status`.

A workload counts only when what was observed is what is wanted (`tapio.io/desired-hash`) and its controller has seen
it (`observedGeneration`): numbers of an older generation say nothing about the new one.

Source: sigs.k8s.io/cli-utils/pkg/kstatus, k8s.io/kubectl/pkg/polymorphichelpers/rollout_status.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import msgspec

from tapio_shared.api.reasons import ComponentState, Reason
from tapio_shared.json import JsonObject, int_at, object_at, objects_at, str_at


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """State of one workload. `reason` is empty when `state` is Ready."""

    state: ComponentState
    reason: str = ""
    message: str = ""
    desired: int = 0
    ready: int = 0
    updated: int = 0
    within_tolerance: bool = False
    """A DaemonSet with at most `maxUnavailable` nodes missing: ready enough, and the rest is Degraded."""

    @property
    def is_ready(self) -> bool:
        return self.state is ComponentState.READY


# What the summary of a workload's pods may say (see tapio_watcher.pods), the most telling first, and what it means.
POD_REASONS: tuple[tuple[str, Reason], ...] = (
    ("ImagePullBackOff", Reason.IMAGE_PULL_FAILED),
    ("ErrImagePull", Reason.IMAGE_PULL_FAILED),
    ("InvalidImageName", Reason.IMAGE_PULL_FAILED),
    ("ErrImageNeverPull", Reason.IMAGE_PULL_FAILED),
    ("OOMKilled", Reason.OUT_OF_MEMORY),
    ("CrashLoopBackOff", Reason.CRASH_LOOPING),
    ("InitFailed", Reason.INIT_FAILED),
    ("CreateContainerConfigError", Reason.DEPENDENCY_NOT_READY),
    ("CreateContainerError", Reason.DEPENDENCY_NOT_READY),
    ("FailedMount", Reason.DEPENDENCY_NOT_READY),
    ("Unschedulable", Reason.UNSCHEDULABLE),
)


def progress_of(
    workload: JsonObject,
    pods: JsonObject | None,
    claims: tuple[JsonObject, ...],
    refusal: JsonObject | None = None,
) -> Progress:
    """The progress of an observed Deployment, StatefulSet, DaemonSet or Job.

    `pods` is the watcher's summary of its pods, `claims` the observed PersistentVolumeClaims of its component,
    `refusal` what the last Event said about pods that were not accepted; it counts only while pods are missing.
    """
    kind, name = str_at(workload, "kind"), str_at(workload, "metadata", "name")
    if kind == "Job":
        return _job_progress(workload, name, pods, refusal)
    counts = _daemon_counts(workload) if kind == "DaemonSet" else _replica_counts(workload)
    generation, observed = int_at(workload, "metadata", "generation"), int_at(workload, "status", "observedGeneration")
    progress = partial(Progress, desired=counts.desired, ready=counts.ready, updated=counts.updated)
    refused = _refused_by_event(refusal) if counts.existing < counts.desired else None
    if observed < generation:
        if refused is not None:  # On 1.20 a StatefulSet's status waits until its pods are accepted.
            return progress(state=ComponentState.FAILED, reason=refused[0], message=f"{kind} {name}: {refused[1]}")
        return progress(
            state=ComponentState.PROGRESSING,
            reason=Reason.ROLLING_OUT,
            message=f"{kind} {name} has a change that its controller has not seen yet.",
        )
    done = counts.updated >= counts.desired and counts.ready >= counts.desired and not counts.old
    if done:
        return progress(state=ComponentState.READY)
    trouble = _trouble(workload, pods, claims, refused)
    if trouble is not None:
        reason, message = trouble
        state = ComponentState.FAILED if reason is not Reason.VOLUME_PENDING else ComponentState.PROGRESSING
        if counts.is_tolerable:
            return progress(state=ComponentState.READY, reason=reason, message=message, within_tolerance=True)
        return progress(state=state, reason=reason, message=f"{kind} {name}: {message}")
    if counts.is_tolerable:
        return progress(
            state=ComponentState.READY,
            reason=Reason.NODES_NOT_READY,
            message=f"{kind} {name} is ready on {counts.ready} of {counts.desired} nodes.",
            within_tolerance=True,
        )
    if kind == "DaemonSet" and counts.updated >= counts.desired:
        missing = counts.desired - counts.ready
        return progress(
            state=ComponentState.PROGRESSING,
            reason=Reason.NODES_NOT_READY,
            message=f"{kind} {name} is not ready on {missing} of {counts.desired} nodes, more than the "
            f"{counts.tolerated} that its update strategy allows. Look with: kubectl get nodes",
        )
    return progress(
        state=ComponentState.PROGRESSING,
        reason=Reason.ROLLING_OUT,
        message=(
            f"{kind} {name} has {counts.ready} of {counts.desired} pods ready and {counts.updated} of them up to date."
        ),
    )


def _job_progress(job: JsonObject, name: str, pods: JsonObject | None, refusal: JsonObject | None) -> Progress:
    """A Job is ready once it is Complete: what waits for it waits for its work, not for its pods."""
    conditions = {str_at(one, "type"): one for one in objects_at(job, "status", "conditions")}
    if str_at(conditions.get("Complete"), "status") == "True":
        return Progress(state=ComponentState.READY, desired=1, ready=1, updated=1)
    progress = partial(Progress, desired=1)
    failed = conditions.get("Failed", {})
    if str_at(failed, "status") == "True":
        why = str_at(failed, "message") or str_at(failed, "reason")
        message = f"Job {name} has failed: {why}. Read its pods' log, mend the cause and delete the Job; it runs again."
        return progress(state=ComponentState.FAILED, reason=Reason.CRASH_LOOPING, message=message)
    trouble = _trouble(job, pods, (), _refused_by_event(refusal))
    if trouble is not None:
        return progress(state=ComponentState.FAILED, reason=trouble[0], message=f"Job {name}: {trouble[1]}")
    return progress(
        state=ComponentState.PROGRESSING, reason=Reason.ROLLING_OUT, message=f"Job {name} has not finished yet."
    )


class _Counts(msgspec.Struct, frozen=True, kw_only=True):
    desired: int
    ready: int
    updated: int
    existing: int
    """Pods that the API server has accepted, ready or not."""
    old: bool = False
    tolerated: int = 0
    """Of a DaemonSet: on how many nodes its pod may be missing."""

    @property
    def is_tolerable(self) -> bool:
        """Whether so few pods are missing that a fleet counts as observed.

        The pod of a node that is down can't be replaced, so as many old ones as are missing hold nothing up.
        """
        missing = self.desired - self.ready
        return 0 < missing <= self.tolerated and self.desired - self.updated <= missing


def _replica_counts(workload: JsonObject) -> _Counts:
    desired = int_at(workload, "spec", "replicas", default=1)
    status = object_at(workload, "status")
    if str_at(workload, "kind") == "StatefulSet":
        update, current = str_at(status, "updateRevision"), str_at(status, "currentRevision")
        rolled = update == current or not update
        updated = int_at(status, "updatedReplicas")
        if rolled and updated == 0:
            updated = int_at(status, "currentReplicas", default=int_at(status, "readyReplicas"))
        ready, existing = int_at(status, "readyReplicas"), int_at(status, "replicas")
        return _Counts(desired=desired, ready=ready, updated=updated, existing=existing)
    updated = int_at(status, "updatedReplicas")
    return _Counts(
        desired=desired,
        ready=int_at(status, "availableReplicas"),
        updated=updated,
        existing=int_at(status, "replicas"),
        old=int_at(status, "replicas") > updated,
    )


def _daemon_counts(workload: JsonObject) -> _Counts:
    status, strategy = object_at(workload, "status"), object_at(workload, "spec", "updateStrategy")
    desired = int_at(status, "desiredNumberScheduled")
    by_hand = str_at(strategy, "type") == "OnDelete"
    limits = object_at(strategy, "rollingUpdate")
    surges = limits.get("maxSurge") not in (None, 0, "0%")
    return _Counts(
        desired=desired,
        ready=int_at(status, "numberAvailable", default=int_at(status, "numberReady")),
        # Who replaces pods by hand decides when; the operator waits for nobody.
        updated=desired if by_hand else int_at(status, "updatedNumberScheduled"),
        existing=int_at(status, "currentNumberScheduled"),
        tolerated=_tolerated("10%" if by_hand else limits.get("maxSurge" if surges else "maxUnavailable"), desired),
    )


def _tolerated(limit: object, desired: int) -> int:
    """A limit of the update strategy as a number of nodes; a share is rounded up, as the DaemonSet controller does."""
    if isinstance(limit, str) and limit.endswith("%") and limit[:-1].isdigit():
        return -(-desired * int(limit[:-1]) // 100)
    return limit if isinstance(limit, int) and not isinstance(limit, bool) else 1


def _trouble(
    workload: JsonObject,
    pods: JsonObject | None,
    claims: tuple[JsonObject, ...],
    refused_by_event: tuple[Reason, str] | None,
) -> tuple[Reason, str] | None:
    """The most telling reason why pods are missing, as one sentence of somebody who looked."""
    refused = _refused_pods(workload) or refused_by_event
    if refused is not None:
        return refused
    for claim in claims:
        if str_at(claim, "status", "phase", default="Pending") != "Bound":
            name = str_at(claim, "metadata", "name")
            if not str_at(claim, "spec", "storageClassName"):
                return (
                    Reason.NO_DEFAULT_STORAGE_CLASS,
                    f"PersistentVolumeClaim {name} names no storage class and the cluster has no default one. "
                    "Set storageClassName in the spec, or mark a StorageClass as default.",
                )
            return (
                Reason.VOLUME_PENDING,
                f"PersistentVolumeClaim {name} is not bound yet: it waits for a volume of StorageClass "
                f"{str_at(claim, 'spec', 'storageClassName')}. kubectl describe pvc {name} says what that waits for.",
            )
    found = {str_at(entry, "reason"): entry for entry in objects_at(pods, "reasons")}
    for word, reason in POD_REASONS:
        if word in found:
            return reason, _pod_sentence(found[word], word)
    conditions = {str_at(entry, "type"): entry for entry in objects_at(workload, "status", "conditions")}
    stuck = conditions.get("Progressing", {})
    if str_at(stuck, "reason") == "ProgressDeadlineExceeded":
        return Reason.ROLLING_OUT, str_at(stuck, "message") or "the roll-out has made no progress for too long."
    return None


def _pod_sentence(entry: JsonObject, word: str) -> str:
    pod, message = str_at(entry, "pod"), str_at(entry, "message")
    count = int_at(entry, "count", default=1)
    others = f" and {count - 1} more" if count > 1 else ""
    where = f"pod {pod}{others}" if pod else f"{count} pods"
    return f"{where}: {word}" + (f" ({message})" if message else "") + "."


def _refused_pods(workload: JsonObject) -> tuple[Reason, str] | None:
    """Pods that the API server did not even accept (condition ReplicaFailure)."""
    for entry in objects_at(workload, "status", "conditions"):
        if str_at(entry, "type") == "ReplicaFailure" and str_at(entry, "status") == "True":
            message = str_at(entry, "message")
            return _refusal_reason(message), message
    return None


def _refused_by_event(refusal: JsonObject | None) -> tuple[Reason, str] | None:
    """The same of a StatefulSet or DaemonSet, which have no condition for it (see tapio_watcher.refusals)."""
    message = str_at(refusal, "message")
    if not message:
        return None
    reason = _refusal_reason(message)
    return reason, f"the API server refuses its pods: {message.rstrip('.')}. {_NEXT_STEPS[reason]}"


def _refusal_reason(message: str) -> Reason:
    """What an admission plug-in's own words mean."""
    lower = message.lower()
    if "podsecurity" in lower or "admission webhook" in lower:
        return Reason.POD_SECURITY_REFUSED
    if "exceeded quota" in lower or "insufficient quota" in lower:
        return Reason.QUOTA_EXCEEDED
    if "serviceaccount" in lower or "service account" in lower or "priorityclass" in lower:
        return Reason.DEPENDENCY_NOT_READY
    return Reason.FORBIDDEN


_NEXT_STEPS: Mapping[Reason, str] = {
    Reason.POD_SECURITY_REFUSED: "Allow such pods in its namespace (label pod-security.kubernetes.io/enforce).",
    Reason.QUOTA_EXCEEDED: "Raise the quota of its namespace, or ask for less in the spec.",
    Reason.DEPENDENCY_NOT_READY: "Its controller tries again once that exists.",
    Reason.FORBIDDEN: "Change the policy that refuses them, or the spec.",
}
