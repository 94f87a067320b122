"""Which nodes a DaemonSet wants a pod on, which pods to replace, and its status. Pure.

Source: k8s.io/kubernetes/pkg/controller/daemon (daemon_controller.go, update.go).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tapio_shared.json import JsonObject, int_at, list_at, object_at, objects_at, str_at
from tapio_simulator.controllers.ordinals import revision_of
from tapio_simulator.kubelet.placing import matches_node, untolerated
from tapio_simulator.machinery.objects import (
    available_in,
    controller_uid,
    is_finished,
    is_terminating,
    key_of,
    share_of,
    uid_of,
    without_zeros,
)

_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)


def with_tolerations(spec: JsonObject) -> JsonObject:
    """`spec` with the tolerations that every DaemonSet pod gets."""
    own = objects_at(spec, "tolerations")
    added: list[JsonObject] = [
        {"key": key, "operator": "Exists", "effect": effect}
        for key, effect in (
            *_TOLERATED,
            *((("node.kubernetes.io/network-unavailable", "NoSchedule"),) if spec.get("hostNetwork") is True else ()),
        )
    ]
    return {**spec, "tolerations": [*own, *(one for one in added if one not in own)]}


def pinned(spec: JsonObject, node: str) -> JsonObject:
    """`spec` bound to one node by required affinity, so that the scheduler has no other choice."""
    field_term: JsonObject = {"key": "metadata.name", "operator": "In", "values": [node]}
    affinity = object_at(spec, "affinity")
    required = object_at(affinity, "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    terms = objects_at(required, "nodeSelectorTerms") or [{}]
    pinned_terms: list[JsonObject] = [{**term, "matchFields": [field_term]} for term in terms]
    node_affinity: JsonObject = {
        **object_at(affinity, "nodeAffinity"),
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(pinned_terms)},
    }
    return {**spec, "affinity": {**affinity, "nodeAffinity": node_affinity}}


def node_of(pod: JsonObject) -> str:
    """The node a DaemonSet pod is on, or pinned to."""
    assigned = str_at(pod, "spec", "nodeName")
    if assigned:
        return assigned
    path = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    for term in objects_at(pod, "spec", *path):
        for field_term in objects_at(term, "matchFields"):
            if field_term.get("key") == "metadata.name" and list_at(field_term, "values"):
                return str(list_at(field_term, "values")[0])
    return ""


def should_run(spec: JsonObject, node: JsonObject) -> bool:
    """Whether a new pod may start on `node`. `spec` has its tolerations."""
    return matches_node(spec, node) and untolerated(node, objects_at(spec, "tolerations")) is None


def should_continue(spec: JsonObject, node: JsonObject) -> bool:
    """Whether a pod that is there may stay: only NoExecute drives it away."""
    return matches_node(spec, node) and untolerated(node, objects_at(spec, "tolerations"), ("NoExecute",)) is None


@dataclass(frozen=True, slots=True)
class Moves:
    """Nodes to create a pod on, and pods to delete."""

    create: tuple[str, ...]
    delete: tuple[JsonObject, ...]


def moves(
    workload: JsonObject, nodes: Mapping[str, JsonObject], pods: Sequence[JsonObject], update: str, now: int
) -> Moves:
    """What a DaemonSet does now."""
    spec = with_tolerations(object_at(workload, "spec", "template", "spec"))
    by_node: dict[str, list[JsonObject]] = {}
    for pod in pods:
        by_node.setdefault(node_of(pod), []).append(pod)
    create: list[str] = []
    delete: list[JsonObject] = []
    for name in sorted(nodes.keys() | by_node.keys()):
        there, node = by_node.get(name, []), nodes.get(name)
        live = [pod for pod in there if not is_terminating(pod)]
        failed = [pod for pod in live if is_finished(pod)]
        delete += failed
        live = [pod for pod in live if pod not in failed]
        if node is None or not should_continue(spec, node):
            delete += live
        elif not there and should_run(spec, node):
            create.append(name)
        elif len(live) > 1:
            delete += _superfluous(workload, live, update, now)
    if not create and not delete and str_at(workload, "spec", "updateStrategy", "type") != "OnDelete":
        if _surges(workload):
            create = _surging(workload, nodes, by_node, spec, update, now)
        else:
            delete = _outdated(workload, nodes, by_node, spec, update, now)
    return Moves(tuple(create), tuple(delete))


def _surges(workload: JsonObject) -> bool:
    """Whether a new pod comes before the old one goes."""
    surge = object_at(workload, "spec", "updateStrategy", "rollingUpdate").get("maxSurge", 0)
    return share_of(surge, 100, round_up=True) > 0


def _by_age(pods: Sequence[JsonObject]) -> list[JsonObject]:
    return sorted(pods, key=lambda pod: (str_at(pod, "metadata", "creationTimestamp"), key_of(pod)))


def _superfluous(workload: JsonObject, live: Sequence[JsonObject], update: str, now: int) -> list[JsonObject]:
    """Of several pods on one node, those to delete. With a surge, an old one stays until a new one is available."""
    if not _surges(workload):
        return _by_age(live)[1:]
    new = _by_age([pod for pod in live if revision_of(pod) == update.rpartition("-")[2]])
    old = _by_age([pod for pod in live if pod not in new])
    found = [*new[1:], *old[1:]]
    seconds = int_at(workload, "spec", "minReadySeconds")
    if new and old and (available_in(old[0], 0, now) is None or available_in(new[0], seconds, now) == 0):
        found.append(old[0])
    return found


def _surging(
    workload: JsonObject,
    nodes: Mapping[str, JsonObject],
    by_node: Mapping[str, Sequence[JsonObject]],
    spec: JsonObject,
    update: str,
    now: int,
) -> list[str]:
    """Nodes that get a new pod beside their old one: where that is not available, the others by `maxSurge`."""
    desired = [name for name in sorted(nodes) if should_run(spec, nodes[name])]
    limit = object_at(workload, "spec", "updateStrategy", "rollingUpdate").get("maxSurge", 0)
    left = share_of(limit, len(desired), round_up=True)
    seconds = int_at(workload, "spec", "minReadySeconds")
    at_once, candidates = list[str](), list[str]()
    for name in desired:
        live = [pod for pod in by_node.get(name, ()) if not is_terminating(pod)]
        old = [pod for pod in live if revision_of(pod) != update.rpartition("-")[2]]
        if not live or len(old) < len(live):
            left -= bool(old) or not live
        elif available_in(old[0], seconds, now) != 0:
            at_once.append(name)
        else:
            candidates.append(name)
    return [*at_once, *candidates[: max(left, 0)]]


def _outdated(
    workload: JsonObject,
    nodes: Mapping[str, JsonObject],
    by_node: Mapping[str, Sequence[JsonObject]],
    spec: JsonObject,
    update: str,
    now: int,
) -> list[JsonObject]:
    """Old pods to replace: those that are not available at once, the others as far as `maxUnavailable` allows."""
    desired = [name for name in sorted(nodes) if should_run(spec, nodes[name])]
    limit = object_at(workload, "spec", "updateStrategy", "rollingUpdate").get("maxUnavailable", 1)
    allowed = share_of(limit, len(desired), round_up=True, default=1)
    seconds = int_at(workload, "spec", "minReadySeconds")
    unavailable, broken, healthy = 0, list[JsonObject](), list[JsonObject]()
    for name in desired:
        live = [pod for pod in by_node.get(name, ()) if not is_terminating(pod)]
        if not live:
            unavailable += 1
            continue
        pod = live[0]
        available = available_in(pod, seconds, now) == 0
        unavailable += not available
        if revision_of(pod) != update.rpartition("-")[2]:
            (healthy if available else broken).append(pod)
    return [*broken, *healthy[: max(allowed - unavailable, 0)]]


@dataclass(frozen=True, slots=True)
class Report:
    status: JsonObject
    next_in: float | None


def report_of(
    workload: JsonObject, nodes: Mapping[str, JsonObject], pods: Sequence[JsonObject], update: str, now: int
) -> Report:
    """The status of a DaemonSet."""
    spec = with_tolerations(object_at(workload, "spec", "template", "spec"))
    seconds = int_at(workload, "spec", "minReadySeconds")
    by_node: dict[str, list[JsonObject]] = {}
    for pod in pods:
        if controller_uid(pod) == uid_of(workload) and not is_terminating(pod):
            by_node.setdefault(node_of(pod), []).append(pod)
    desired = [name for name in nodes if should_run(spec, nodes[name])]
    on_desired = [_by_age(by_node[name])[0] for name in desired if name in by_node]
    waits = [wait for pod in on_desired if (wait := available_in(pod, seconds, now)) is not None]
    available = sum(1 for wait in waits if wait <= 0)
    status: JsonObject = {
        "currentNumberScheduled": len(on_desired),
        "desiredNumberScheduled": len(desired),
        "numberMisscheduled": sum(1 for name in by_node if name not in desired),
        "numberReady": len(waits),
        **without_zeros(
            {
                "observedGeneration": int_at(workload, "metadata", "generation"),
                "updatedNumberScheduled": sum(1 for pod in on_desired if revision_of(pod) == update.rpartition("-")[2]),
                "numberAvailable": available,
                "numberUnavailable": len(desired) - available,
            }
        ),
    }
    surged = [available_in(pod, seconds, now) for there in by_node.values() for pod in there]
    return Report(status, min((wait for wait in surged if wait), default=None))
