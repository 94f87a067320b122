"""The arithmetic and the conditions of a Deployment's roll-out. Pure.

Source: k8s.io/kubernetes/pkg/controller/deployment (rolling.go, progress.go, util/deployment_util.go).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tapio_shared.json import JsonObject, at, int_at, object_at, objects_at, str_at, strings_at
from tapio_simulator.machinery.objects import (
    condition,
    is_paused,
    key_of,
    share_of,
    uid_of,
    with_condition,
    without_zeros,
)
from tapio_simulator.stamps import parse_timestamp

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"


def wanted(document: JsonObject) -> int:
    return int_at(document, "spec", "replicas", default=1)


def _status_sum(sets: Sequence[JsonObject], name: str) -> int:
    return sum(int_at(one, "status", name) for one in sets)


def revision_of(replica_set: JsonObject) -> int:
    text = strings_at(replica_set, "metadata", "annotations").get(REVISION, "0")
    return int(text) if text.isdigit() else 0


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a rolling update may go: pods beyond the wanted number, and pods missing."""

    surge: int
    unavailable: int


def limits_of(deployment: JsonObject) -> Limits:
    rolling = object_at(deployment, "spec", "strategy", "rollingUpdate")
    if str_at(deployment, "spec", "strategy", "type", default="RollingUpdate") != "RollingUpdate":
        return Limits(0, 0)
    replicas = wanted(deployment)
    surge = share_of(rolling.get("maxSurge", "25%"), replicas, round_up=True)
    unavailable = share_of(rolling.get("maxUnavailable", "25%"), replicas, round_up=False)
    return Limits(surge, unavailable if surge or unavailable else 1)


def scales(deployment: JsonObject, new: JsonObject | None, old: Sequence[JsonObject]) -> dict[str, int]:
    """Replica counts to set now, by the UID of the ReplicaSet; empty when nothing may move."""
    active = [one for one in old if wanted(one) > 0]
    replicas = wanted(deployment)
    if is_paused(deployment):
        if new is not None and not active and wanted(new) != replicas:
            return {uid_of(new): replicas}
        return {}
    if new is None:
        return {}
    if str_at(deployment, "spec", "strategy", "type") == "Recreate":
        if active:
            return {uid_of(one): 0 for one in active}
        # Pods of old sets count until they are really gone; status.replicas leaves terminating ones out.
        return {uid_of(new): replicas} if wanted(new) != replicas else {}
    limits = limits_of(deployment)
    if wanted(new) > replicas:
        return {uid_of(new): replicas}
    total = wanted(new) + sum(wanted(one) for one in active)
    room = replicas + limits.surge - total
    if wanted(new) < replicas and room > 0:
        return {uid_of(new): min(wanted(new) + room, replicas)}
    return _scale_down(deployment, new, active, limits)


def _scale_down(deployment: JsonObject, new: JsonObject, old: Sequence[JsonObject], limits: Limits) -> dict[str, int]:
    """Old sets give way: pods that are not available first, then as many as availability allows."""
    if not old:
        return {}
    least = wanted(deployment) - limits.unavailable
    new_unavailable = wanted(new) - int_at(new, "status", "availableReplicas")
    allowed = sum(wanted(one) for one in (*old, new)) - least - new_unavailable
    if allowed <= 0:
        return {}
    left = {uid_of(one): wanted(one) for one in old}
    ordered = sorted(old, key=lambda one: (str_at(one, "metadata", "creationTimestamp"), key_of(one)))
    for one in ordered:
        unhealthy = wanted(one) - int_at(one, "status", "availableReplicas")
        step = max(min(unhealthy, allowed), 0)
        left[uid_of(one)] -= step
        allowed -= step
    available = _status_sum((*old, new), "availableReplicas")
    spare = available - least
    for one in ordered:
        step = max(min(left[uid_of(one)], spare), 0)
        left[uid_of(one)] -= step
        spare -= step
    return {uid_of(one): left[uid_of(one)] for one in old if left[uid_of(one)] != wanted(one)}


# --- status --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """The new status, and in how many seconds the deadline may pass."""

    status: JsonObject
    deadline_in: float | None


def progress_of(
    deployment: JsonObject, new: JsonObject | None, old: Sequence[JsonObject], *, created: bool, now: int, stamp: str
) -> Progress:
    """The status of a Deployment; `created`: whether the new ReplicaSet was made just now."""
    sets = [*old, *([new] if new is not None else [])]
    replicas, available = _status_sum(sets, "replicas"), _status_sum(sets, "availableReplicas")
    updated = 0 if new is None else int_at(new, "status", "replicas")
    counts: JsonObject = {
        "observedGeneration": int_at(deployment, "metadata", "generation"),
        "replicas": replicas,
        "updatedReplicas": updated,
        "readyReplicas": _status_sum(sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(sum(wanted(one) for one in sets) - available, 0),
    }
    conditions = _availability(deployment, available, stamp)
    conditions, deadline_in = _progressing(deployment, conditions, new, counts, created=created, now=now, stamp=stamp)
    failures = [failure for one in sets if (failure := condition(one, "ReplicaFailure"))]
    conditions = [one for one in conditions if one.get("type") != "ReplicaFailure"]
    if failures:
        entry: JsonObject = {**failures[0], "lastUpdateTime": failures[0].get("lastTransitionTime")}
        conditions = [*conditions, entry]
    status = without_zeros(counts)
    if "collisionCount" in object_at(deployment, "status"):
        status["collisionCount"] = object_at(deployment, "status")["collisionCount"]
    status["conditions"] = list(conditions)
    return Progress(status, deadline_in)


def _entry(kind: str, ok: str, reason: str, message: str, stamp: str) -> JsonObject:
    return {
        "type": kind,
        "status": ok,
        "reason": reason,
        "message": message,
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp,
    }


def _put(conditions: Sequence[JsonObject], entry: JsonObject) -> list[JsonObject]:
    """Conditions of equal status and reason are left as they are, times included (SetDeploymentCondition)."""
    known = next((one for one in conditions if one.get("type") == entry["type"]), None)
    if known is not None and known.get("status") == entry["status"] and known.get("reason") == entry["reason"]:
        return list(conditions)
    return with_condition(conditions, entry)


def _availability(deployment: JsonObject, available: int, stamp: str) -> list[JsonObject]:
    least = wanted(deployment) - limits_of(deployment).unavailable
    enough = available >= least
    reason = "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable"
    text = f"Deployment {'has' if enough else 'does not have'} minimum availability."
    entry = _entry("Available", "True" if enough else "False", reason, text, stamp)
    return _put(objects_at(deployment, "status", "conditions"), entry)


def _progressing(
    deployment: JsonObject,
    conditions: list[JsonObject],
    new: JsonObject | None,
    counts: Mapping[str, object],
    *,
    created: bool,
    now: int,
    stamp: str,
) -> tuple[list[JsonObject], float | None]:
    """The condition Progressing: done, moved on, or stuck beyond progressDeadlineSeconds."""
    seconds = int_at(deployment, "spec", "progressDeadlineSeconds", default=600)
    if new is None or is_paused(deployment) or seconds >= 2**31 - 1:
        if is_paused(deployment) and condition(deployment, "Progressing"):
            entry = _entry("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", stamp)
            return _put(conditions, entry), None
        return conditions, None
    name, replicas = key_of(new)[1], wanted(deployment)
    known = condition(deployment, "Progressing")
    done = all(counts[one] == replicas for one in ("updatedReplicas", "replicas", "availableReplicas"))
    before = object_at(deployment, "status")
    if done:
        text = f'ReplicaSet "{name}" has successfully progressed.'
        return _put(conditions, _entry("Progressing", "True", "NewReplicaSetAvailable", text, stamp)), None
    if created:
        text = f'Created new replica set "{name}"'
        return _put(conditions, _entry("Progressing", "True", "NewReplicaSetCreated", text, stamp)), float(seconds)
    was_done = known.get("reason") == "NewReplicaSetAvailable"
    moved = (
        not known
        or int(str(counts["updatedReplicas"])) > int_at(before, "updatedReplicas")
        or int(str(counts["readyReplicas"])) > int_at(before, "readyReplicas")
        or int(str(counts["availableReplicas"])) > int_at(before, "availableReplicas")
        or _old(counts) < _old(before)
    )
    if was_done and not moved and int_at(before, "observedGeneration") == counts["observedGeneration"]:
        # A finished roll-out that lost a pod is not a new roll-out; its deadline does not run again.
        return conditions, None
    if moved or was_done:
        text = f'ReplicaSet "{name}" is progressing.'
        entry = _entry("Progressing", "True", "ReplicaSetUpdated", text, stamp)
        return with_condition(conditions, entry), float(seconds)
    since = parse_timestamp(str_at(known, "lastUpdateTime")) or now / 1000
    left = since + seconds - now / 1000
    if left > 0:
        return conditions, left
    text = f'ReplicaSet "{name}" has timed out progressing.'
    return _put(conditions, _entry("Progressing", "False", "ProgressDeadlineExceeded", text, stamp)), None


def _old(counts: Mapping[str, object]) -> int:
    return int(str(at_int(counts, "replicas"))) - int(str(at_int(counts, "updatedReplicas")))


def at_int(counts: Mapping[str, object], name: str) -> int:
    value = counts.get(name)
    return value if isinstance(value, int) else 0


def surplus(deployment: JsonObject, old: Sequence[JsonObject]) -> list[JsonObject]:
    """Old ReplicaSets beyond `revisionHistoryLimit` that nothing holds any more, the oldest first."""
    limit = at(deployment, "spec", "revisionHistoryLimit")
    kept = limit if isinstance(limit, int) else 10
    empty = [
        one
        for one in old
        if wanted(one) == 0
        and int_at(one, "status", "replicas") == 0
        and int_at(one, "status", "observedGeneration") >= int_at(one, "metadata", "generation")
    ]
    return sorted(empty, key=revision_of)[: max(len(old) - kept, 0)]
