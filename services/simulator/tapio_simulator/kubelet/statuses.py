"""The status documents that a kubelet writes, from a verdict, the status before, and the time. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tapio_shared.json import JsonObject, JsonValue, int_at, object_at, objects_at, str_at
from tapio_simulator.kubelet.images import full_reference, repository_of
from tapio_simulator.kubelet.judging import PodVerdict, State, Verdict
from tapio_simulator.machinery.objects import uid_of, with_condition


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What a status depends on besides the pod and its verdict."""

    now: str
    """RFC 3339."""
    host_ip: str
    pod_ip: str
    node_down: bool = False
    restarted: Mapping[str, int] = field(default_factory=dict[str, int])
    """Restart counts of containers that crashed again."""
    ended: bool = False
    """Whether the containers of a pod that is meant to end have done so."""


def status_of(pod: JsonObject, verdict: PodVerdict, moment: Moment) -> JsonObject:
    """The whole status of a bound pod."""
    old = object_at(pod, "status")
    never = str_at(pod, "spec", "restartPolicy") == "Never"
    init = _containers(pod, "initContainers", "initContainerStatuses", verdict.init, moment)
    regular = _containers(pod, "containers", "containerStatuses", verdict.containers, moment)
    failed = never and bool(verdict.crashed)
    status: JsonObject = {**old}
    status["phase"] = _phase(verdict, moment, failed=failed)
    status["conditions"] = list(_conditions(pod, verdict, regular, moment, str(status["phase"])))
    status.setdefault("startTime", moment.now)
    status["hostIP"] = moment.host_ip
    if verdict.is_initialised or "podIP" in status:
        status.setdefault("podIP", moment.pod_ip)
        status.setdefault("podIPs", [{"ip": moment.pod_ip}])
    if init:
        status["initContainerStatuses"] = list(init)
    status["containerStatuses"] = list(regular)
    return status


def _phase(verdict: PodVerdict, moment: Moment, *, failed: bool) -> str:
    if failed:
        return "Failed"
    if moment.ended:
        return "Succeeded"
    if not verdict.is_initialised:
        return "Pending"
    waiting = any(one.state is State.WAITING for one in verdict.containers.values())
    return "Pending" if waiting else "Running"


def _conditions(
    pod: JsonObject, verdict: PodVerdict, statuses: Iterable[JsonObject], moment: Moment, phase: str
) -> Sequence[JsonObject]:
    conditions = objects_at(pod, "status", "conditions")
    unready = [str_at(one, "name") for one in statuses if one.get("ready") is not True]
    incomplete = [name for name, one in verdict.init.items() if one.state not in (State.COMPLETED, State.RUNNING)]

    def put(kind: str, ok: bool, reason: str = "", message: str = "") -> None:
        nonlocal conditions
        entry: JsonObject = {"type": kind, "status": "True" if ok else "False"}
        entry["lastTransitionTime"] = moment.now
        if reason and not ok:
            entry["reason"], entry["message"] = reason, message
        elif ok and reason == "PodCompleted":
            entry["reason"] = reason
        conditions = with_condition(conditions, entry)

    done = "PodCompleted" if phase == "Succeeded" else ""
    listed = f"[{' '.join(incomplete)}]"
    put(
        "Initialized",
        not incomplete,
        done or "ContainersNotInitialized",
        f"containers with incomplete status: {listed}",
    )
    why = (
        ("PodCompleted", "")
        if done
        else ("ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    )
    put("Ready", not unready and not moment.node_down and not done, *why)
    put("ContainersReady", not unready and not done, *why)
    put("PodScheduled", ok=True)
    return conditions


def _containers(
    pod: JsonObject, group: str, statuses: str, verdicts: Mapping[str, Verdict], moment: Moment
) -> list[JsonObject]:
    before = {str_at(one, "name"): one for one in objects_at(pod, "status", statuses)}
    return [
        _container(pod, container, before.get(str_at(container, "name"), {}), verdicts, moment, init=group[0] == "i")
        for container in objects_at(pod, "spec", group)
    ]


def _container(
    pod: JsonObject,
    container: JsonObject,
    before: JsonObject,
    verdicts: Mapping[str, Verdict],
    moment: Moment,
    *,
    init: bool,
) -> JsonObject:
    name, image = str_at(container, "name"), str_at(container, "image")
    verdict = verdicts.get(name, Verdict(State.WAITING, "ContainerCreating"))
    restarts = moment.restarted.get(name, int_at(before, "restartCount"))
    status: JsonObject = {
        "name": name,
        "image": image,
        "imageID": "",
        "restartCount": restarts,
        "ready": verdict.ready,
        "started": False,
        "lastState": object_at(before, "lastState"),
        "state": {},
    }
    if verdict.state is State.WAITING:
        waiting: JsonObject = {"reason": verdict.reason}
        if verdict.message:
            waiting["message"] = verdict.message
        status["state"] = {"waiting": waiting}
        return status
    identity = hashlib.blake2b(f"{uid_of(pod)}/{name}/{restarts}".encode(), digest_size=32).hexdigest()
    status["containerID"] = f"containerd://{identity}"
    digest = hashlib.blake2b(full_reference(image).encode(), digest_size=32).hexdigest()
    status["imageID"] = f"{repository_of(image)}@sha256:{digest}"
    if verdict.state is State.CRASHED:
        _crash(pod, status, before, verdict, moment)
        return status
    ends = moment.ended or verdict.state is State.COMPLETED
    running = object_at(before, "state", "running")
    terminated = object_at(before, "state", "terminated")
    if ends:
        status["ready"] = init
        status["state"] = {"terminated": terminated or _terminated(status, running, "Completed", 0, moment)}
    else:
        status["started"] = True
        status["state"] = {"running": running or {"startedAt": moment.now}}
    return status


def _crash(pod: JsonObject, status: JsonObject, before: JsonObject, verdict: Verdict, moment: Moment) -> None:
    """A container that ended in failure: for good, or waiting for its next try."""
    name = str(status["name"])
    started = object_at(before, "state", "running") or object_at(before, "lastState", "terminated")
    ended = _terminated(status, started, verdict.reason, verdict.exit_code, moment)
    if str_at(pod, "spec", "restartPolicy") == "Never":
        kept = object_at(before, "state", "terminated")
        status["state"] = {"terminated": kept or ended}
        return
    if name in moment.restarted or not object_at(before, "lastState", "terminated"):
        status["lastState"] = {"terminated": ended}
    delay = backoff_text(int(str(status["restartCount"])))
    namespace, pod_name = str_at(pod, "metadata", "namespace"), str_at(pod, "metadata", "name")
    message = f"back-off {delay} restarting failed container={name} pod={pod_name}_{namespace}({uid_of(pod)})"
    status["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}


def _terminated(status: JsonObject, started: JsonObject, reason: str, code: int, moment: Moment) -> JsonObject:
    began: JsonValue = started.get("startedAt") or moment.now
    return {
        "exitCode": code,
        "reason": reason,
        "startedAt": began,
        "finishedAt": moment.now,
        "containerID": status.get("containerID"),
    }


def backoff_text(restarts: int) -> str:
    """The kubelet's words for its delay: 10s, doubled with each restart, five minutes at most."""
    seconds = min(10 * 2 ** max(restarts - 1, 0), 300)
    return f"{seconds}s" if seconds < 60 else f"{seconds // 60}m{seconds % 60}s"
