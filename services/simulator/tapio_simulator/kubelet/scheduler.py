"""Binds pods to nodes, and says why when it can't. Decisions are made between two awaits, so they never race."""

from __future__ import annotations

from collections.abc import Iterable

from tapio_shared.errors import ApiError
from tapio_shared.json import JsonObject, object_at, objects_at, str_at, strings_at
from tapio_shared.ports import Clock
from tapio_simulator.kubelet.placing import (
    NodeLoad,
    Placed,
    best,
    candidates,
    explanation,
    host_ports,
    requests_of,
)
from tapio_simulator.kubelet.sight import Sight
from tapio_simulator.kubelet.waiting import Waiting
from tapio_simulator.machinery.client import Client
from tapio_simulator.machinery.events import EventRecorder
from tapio_simulator.machinery.informer import Informers
from tapio_simulator.machinery.objects import (
    Key,
    condition,
    controller_uid,
    is_finished,
    is_terminating,
    key_of,
    uid_of,
    with_condition,
)
from tapio_simulator.machinery.queue import WorkQueue
from tapio_simulator.machinery.resources import CLAIMS, CLASSES, NODES, PODS
from tapio_simulator.selectors import label_selector_matches
from tapio_simulator.stamps import timestamp

COMPONENT = "default-scheduler"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
_CLAIM_PATIENCE = 0.2
"""Seconds that a pod's claims may take to be bound before the pod is called unschedulable."""


class Scheduler:
    """The default scheduler of one cluster."""

    def __init__(self, client: Client, informers: Informers, sight: Sight, clock: Clock, events: EventRecorder) -> None:
        self._client, self._sight, self._clock, self._events = client, sight, clock, events
        self._pods, self._nodes = informers.of(PODS), informers.of(NODES)
        self._claims, self._classes = informers.of(CLAIMS), informers.of(CLASSES)
        self._siblings = self._pods.index(_sibling_keys)
        self.queue: WorkQueue[Key] = WorkQueue("scheduler")
        self._loads: dict[str, NodeLoad] = {}
        self._counted: dict[str, tuple[str, JsonObject]] = {}
        """By UID: pods whose requests are taken on a node, seen there or assumed there."""
        self._waiting = Waiting(self.queue)
        self._patient: dict[str, None] = {}
        """By UID: pods that have waited for their claims once."""
        self._nodes.subscribe(self._node_changed)
        self._pods.subscribe(self._pod_changed)
        self._claims.subscribe(self._claim_changed)
        self._classes.subscribe(lambda _before, _after: self._waiting.claims_changed())

    async def run(self, workers: int) -> None:
        await self.queue.run(workers, self._schedule)

    # --- what changes ----------------------------------------------------------------------------------------------

    def _node_changed(self, before: JsonObject | None, after: JsonObject | None) -> None:
        if after is None:
            if before is not None:
                self._loads.pop(key_of(before)[1], None)
        else:
            name = key_of(after)[1]
            if name in self._loads:
                self._loads[name].document = after
            else:
                load = self._loads[name] = NodeLoad(after)
                for node, pod in self._counted.values():
                    if node == name:
                        _take(load, pod, 1)
        self._waiting.room_made()

    def _pod_changed(self, before: JsonObject | None, after: JsonObject | None) -> None:
        if after is None or is_finished(after):
            gone = before if after is None else after
            if gone is not None:
                self._release(uid_of(gone))
                self._patient.pop(uid_of(gone), None)
                self._waiting.done(key_of(gone))
                self._waiting.room_made()
            return
        node = str_at(after, "spec", "nodeName")
        if node:
            self._count(after, node)
        elif not is_terminating(after) and (before is None or _spec_changed(before, after)):
            self.queue.add(key_of(after))

    def _claim_changed(self, before: JsonObject | None, after: JsonObject | None) -> None:
        for claim in (before, after):
            if claim is not None:
                self._waiting.claims_changed(key_of(claim)[0])
                return

    def _count(self, pod: JsonObject, node: str) -> None:
        uid = uid_of(pod)
        known = self._counted.get(uid)
        if known is not None and known[0] == node:
            return
        self._release(uid)
        self._counted[uid] = (node, pod)
        load = self._loads.get(node)
        if load is not None:
            _take(load, pod, 1)

    def _release(self, uid: str) -> None:
        known = self._counted.pop(uid, None)
        load = None if known is None else self._loads.get(known[0])
        if known is not None and load is not None:
            _take(load, known[1], -1)

    # --- decisions -------------------------------------------------------------------------------------------------

    async def _schedule(self, key: Key) -> None:
        pod = self._pods.get(*key)
        if pod is None or str_at(pod, "spec", "nodeName") or is_terminating(pod) or uid_of(pod) in self._counted:
            self._waiting.done(key)
            return
        if str_at(pod, "spec", "schedulerName", default=COMPONENT) != COMPONENT:
            return
        why, unbound = self._claims_of(pod)
        if why and uid_of(pod) not in self._patient:
            # A claim that was made a moment ago is bound in a moment: no need to tell anybody.
            self._patient[uid_of(pod)] = None
            self._waiting.for_claims(key)
            self.queue.add_after(key, _CLAIM_PATIENCE)
            return
        if why:
            self._waiting.for_claims(key)
            await self._unschedulable(pod, why)
            return
        placed = Placed(self._matching, self._node_of, self._count_siblings)
        fitting, reasons = candidates(pod, self._loads, placed)
        if not fitting:
            self._waiting.for_room(key)
            await self._unschedulable(pod, explanation(len(self._loads), reasons))
            return
        chosen = best(pod, fitting, self._loads, placed).name
        if unbound:
            self._waiting.for_claims(key)
            for claim in unbound:
                if strings_at(claim, "metadata", "annotations").get(SELECTED_NODE) != chosen:
                    await self._claims.patch(claim, {"metadata": {"annotations": {SELECTED_NODE: chosen}}})
            return
        self._waiting.done(key)
        await self._bind(pod, chosen)

    async def _bind(self, pod: JsonObject, node: str) -> None:
        self._count(pod, node)
        namespace, name = key_of(pod)
        binding: JsonObject = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": uid_of(pod)},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._client.create(PODS, namespace, binding, name=name, subresource="binding")
        except ApiError as err:
            self._release(uid_of(pod))
            if err.code == 404:
                return
            raise  # a pod that is bound already is seen to be so at the next try
        text = f"Successfully assigned {namespace}/{name} to {node}"
        self._events.normal(PODS, pod, "Scheduled", text, component=COMPONENT)

    def _claims_of(self, pod: JsonObject) -> tuple[str, list[JsonObject]]:
        """Why the pod's claims keep it from being scheduled, and those that wait for it to choose a node."""
        namespace, pod_name = key_of(pod)
        waiting: list[JsonObject] = []
        for volume in objects_at(pod, "spec", "volumes"):
            name = str_at(volume, "persistentVolumeClaim", "claimName")
            if not name and "ephemeral" in volume:
                name = f"{pod_name}-{str_at(volume, 'name')}"
            if not name:
                continue
            claim = self._claims.get(namespace, name)
            if claim is None:
                return explanation(
                    len(self._loads), {f'persistentvolumeclaim "{name}" not found': len(self._loads)}
                ), []
            if is_terminating(claim):
                return f'persistentvolumeclaim "{name}" is being deleted', []
            if str_at(claim, "status", "phase") == "Bound":
                continue
            found = self._classes.get("", str_at(claim, "spec", "storageClassName"))
            if found is not None and found.get("volumeBindingMode") == "WaitForFirstConsumer":
                waiting.append(claim)
                continue
            total = len(self._loads)
            return explanation(total, {"pod has unbound immediate PersistentVolumeClaims": total}), []
        return "", waiting

    async def _unschedulable(self, pod: JsonObject, message: str) -> None:
        self._events.warning(PODS, pod, "FailedScheduling", message, component=COMPONENT)
        known = condition(pod, "PodScheduled")
        if known.get("status") == "False" and known.get("message") == message:
            return
        entry: JsonObject = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": timestamp(self._clock.now()),
        }
        conditions = with_condition(objects_at(pod, "status", "conditions"), entry)
        await self._pods.patch(pod, {"status": {"conditions": list(conditions)}}, subresource="status")

    # --- other pods ------------------------------------------------------------------------------------------------

    def _node_of(self, pod: JsonObject) -> str:
        known = self._counted.get(uid_of(pod))
        return str_at(pod, "spec", "nodeName") if known is None else known[0]

    def _count_siblings(self, node: str, controller: str) -> int:
        return self._siblings.count(f"{node}/{controller}")

    def _matching(self, namespace: str, selector: JsonObject) -> Iterable[JsonObject]:
        index = self._sight.pods_by_label
        keys = [f"{namespace}/{name}={value}" for name, value in strings_at(selector, "matchLabels").items()]
        smallest = min(keys, key=index.count, default=namespace)
        return [
            pod for pod in index[smallest] if label_selector_matches(selector, strings_at(pod, "metadata", "labels"))
        ]


def _take(load: NodeLoad, pod: JsonObject, sign: int) -> None:
    load.pods += sign
    for name, value in requests_of(pod).items():
        load.used[name] = load.used.get(name, 0) + sign * value
    for port in host_ports(pod):
        load.ports[port] = load.ports.get(port, 0) + sign


def _sibling_keys(pod: JsonObject) -> list[str]:
    return [f"{str_at(pod, 'spec', 'nodeName')}/{controller_uid(pod)}"]


def _spec_changed(before: JsonObject, after: JsonObject) -> bool:
    """A pod's own status change (its condition Unschedulable) must not try it again."""
    return object_at(before, "spec") != object_at(after, "spec") or uid_of(before) != uid_of(after)
