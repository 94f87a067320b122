"""The kubelets of all simulated nodes: each bound pod is judged, given time to start, and its status written.

Level-triggered: a pod is judged again when it, something it needs, its Services, its node or a breakage changes. A
healthy pod costs one status write.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tapio_shared.json import JsonObject, at, int_at, object_at, objects_at, str_at
from tapio_shared.ports import Clock, Random
from tapio_simulator.kubelet.breakages import Breakages, NodeFault
from tapio_simulator.kubelet.judging import PodVerdict, State, judge
from tapio_simulator.kubelet.nodes import Nodes, address_of
from tapio_simulator.kubelet.placing import is_tolerated
from tapio_simulator.kubelet.settings import KubeletSettings
from tapio_simulator.kubelet.sight import Sight
from tapio_simulator.kubelet.statuses import Moment, status_of
from tapio_simulator.machinery.events import EventRecorder
from tapio_simulator.machinery.informer import Handler, Informers
from tapio_simulator.machinery.objects import (
    Key,
    is_finished,
    is_ready,
    is_terminating,
    key_of,
    merge_patch,
    uid_of,
    with_condition,
    without_nulls,
)
from tapio_simulator.machinery.queue import WorkQueue
from tapio_simulator.machinery.resources import CONFIG_MAPS, NODES, PODS, SECRETS, SERVICES
from tapio_simulator.stamps import timestamp

COMPONENT = "kubelet"
_DEFAULT_EVICTION = 300.0
"""Seconds that a pod without a toleration of its own stays on a node that is gone (DefaultTolerationSeconds)."""


@dataclass(slots=True)
class _Life:
    """What a kubelet remembers of one pod; lost on a restart without harm."""

    uid: str
    address: str
    ready_at: float | None = None
    gone_at: float | None = None
    ends_at: float | None = None
    down_since: float | None = None
    restarts_at: dict[str, float] = field(default_factory=dict[str, float])
    needs: tuple[str, ...] = ()


class Kubelet:
    """Every node's kubelet in one."""

    def __init__(
        self,
        informers: Informers,
        sight: Sight,
        nodes: Nodes,
        clock: Clock,
        random: Random,
        events: EventRecorder,
        settings: KubeletSettings,
        breakages: Breakages,
    ) -> None:
        self._sight, self._nodes, self._clock, self._random = sight, nodes, clock, random
        self._events, self._settings = events, settings
        self._pods = informers.of(PODS)
        self._by_node = self._pods.index(lambda pod: [str_at(pod, "spec", "nodeName")])
        self._lives: dict[Key, _Life] = {}
        self._waiting: dict[str, dict[Key, None]] = {}
        """Pods by what they lack: `configmap/<namespace>/<name>`."""
        self._addresses = 0
        self.queue: WorkQueue[Key] = WorkQueue("kubelet")
        self._pods.subscribe(self._pod_changed)
        for collection, kind in ((CONFIG_MAPS, "configmap"), (SECRETS, "secret")):
            informers.of(collection).subscribe(self._need_changed(kind))
        informers.of(SERVICES).subscribe(self._service_changed)
        informers.of(NODES).subscribe(self._node_changed)
        breakages.subscribe(self._everything_changed)

    async def run(self, workers: int) -> None:
        await self.queue.run(workers, self._sync)

    # --- what changes ----------------------------------------------------------------------------------------------

    def _pod_changed(self, before: JsonObject | None, after: JsonObject | None) -> None:
        if after is None:
            if before is not None:
                self._forget(key_of(before))
            return
        if str_at(after, "spec", "nodeName") in self._nodes.shapes:
            self.queue.add(key_of(after))

    def _need_changed(self, kind: str) -> Handler:
        def changed(before: JsonObject | None, after: JsonObject | None) -> None:
            document = after if after is not None else before
            if document is not None and self._waiting:
                for key in list(self._waiting.get("/".join((kind, *key_of(document))), ())):
                    self.queue.add(key)

        return changed

    def _service_changed(self, before: JsonObject | None, after: JsonObject | None) -> None:
        for service in (before, after):
            if service is not None:
                for pod in self._sight.pods_of_service(service):
                    self._pod_changed(None, pod)

    def _node_changed(self, before: JsonObject | None, after: JsonObject | None) -> None:
        if before is None or after is None or object_at(before, "metadata") == object_at(after, "metadata"):
            return
        for pod in self._by_node[key_of(after)[1]]:
            self._pod_changed(None, pod)

    def _everything_changed(self) -> None:
        for pod in self._pods.objects.values():
            self._pod_changed(None, pod)

    def _forget(self, key: Key) -> None:
        life = self._lives.pop(key, None)
        if life is not None:
            self._needs(key, life, ())

    def _needs(self, key: Key, life: _Life, needs: tuple[str, ...]) -> None:
        if needs == life.needs:
            return
        for need in life.needs:
            waiting = self._waiting.get(need, {})
            waiting.pop(key, None)
            if not waiting:
                self._waiting.pop(need, None)
        for need in needs:
            self._waiting.setdefault(need, {})[key] = None
        life.needs = needs

    # --- one pod ---------------------------------------------------------------------------------------------------

    async def _sync(self, key: Key) -> None:
        pod = self._pods.get(*key)
        if pod is None:
            self._forget(key)
            return
        life = self._life(key, pod)
        fault = self._nodes.fault_of(str_at(pod, "spec", "nodeName"))
        if fault is None or fault is NodeFault.DISK_PRESSURE:
            life.down_since = None
        elif await self._on_broken_node(key, pod, life, fault):
            return
        if is_terminating(pod):
            await self._end(key, pod, life)
        elif not is_finished(pod):
            await self._carry_on(key, pod, life, node_down=fault is NodeFault.NOT_READY)

    def _life(self, key: Key, pod: JsonObject) -> _Life:
        life = self._lives.get(key)
        if life is None or life.uid != uid_of(pod):
            self._forget(key)
            life = self._lives[key] = _Life(uid_of(pod), self._address(pod))
        return life

    def _address(self, pod: JsonObject) -> str:
        if at(pod, "spec", "hostNetwork") is True:
            return self._host_address(pod)
        self._addresses += 1
        number = self._addresses
        return f"10.{128 + (number >> 16) % 64}.{(number >> 8) % 256}.{number % 256}"

    def _host_address(self, pod: JsonObject) -> str:
        return address_of(self._nodes.shapes.get(str_at(pod, "spec", "nodeName"), 0))

    async def _on_broken_node(self, key: Key, pod: JsonObject, life: _Life, fault: NodeFault) -> bool:
        """What the node lifecycle controller does to a pod there. True when nothing else may happen to it."""
        now = self._clock.monotonic()
        life.down_since = now if life.down_since is None else life.down_since
        if is_ready(pod):
            entry: JsonObject = {
                "type": "Ready",
                "status": "False",
                "lastTransitionTime": timestamp(self._clock.now()),
            }
            conditions = with_condition(objects_at(pod, "status", "conditions"), entry)
            await self._pods.patch(pod, {"status": {"conditions": list(conditions)}}, subresource="status")
            self._events.warning(PODS, pod, "NodeNotReady", "Node is not ready", component="node-controller")
        patience = _eviction_after(pod, fault)
        if patience is not None and not is_terminating(pod):
            left = life.down_since + patience - now
            if left > 0:
                self.queue.add_after(key, left)
            else:
                await self._pods.delete(pod)
                return True
        return fault is NodeFault.LOST

    async def _end(self, key: Key, pod: JsonObject, life: _Life) -> None:
        now = self._clock.monotonic()
        if life.gone_at is None:
            grace = float(int_at(pod, "metadata", "deletionGracePeriodSeconds"))
            life.gone_at = now + min(self._random.uniform(*self._settings.shutdown), grace)
        if now < life.gone_at:
            self.queue.add_after(key, life.gone_at - now)
            return
        await self._pods.delete(pod, grace=0)

    async def _carry_on(self, key: Key, pod: JsonObject, life: _Life, *, node_down: bool) -> None:
        verdict = judge(pod, self._sight)
        self._needs(key, life, verdict.needs)
        now = self._clock.monotonic()
        if life.ready_at is None:
            started = bool(objects_at(pod, "status", "containerStatuses"))
            life.ready_at = now if started else now + self._random.uniform(*self._settings.startup)
        if now < life.ready_at:
            self.queue.add_after(key, life.ready_at - now)
            return
        moment = Moment(
            now=timestamp(self._clock.now()),
            host_ip=self._host_address(pod),
            pod_ip=life.address,
            node_down=node_down,
            restarted=self._restarts(key, pod, life, verdict, now),
            ended=self._ended(key, pod, life, verdict, now),
        )
        before = dict(object_at(pod, "status"))
        if "conditions" in before:
            before["conditions"] = list(without_nulls(objects_at(before, "conditions")))
        patch = merge_patch(before, status_of(pod, verdict, moment))
        host = str_at(pod, "spec", "nodeName")
        for reason, message in verdict.warnings:
            self._events.warning(PODS, pod, reason, message, component=COMPONENT, host=host)
        if not patch:
            return
        if "containerStatuses" not in before and not verdict.warnings:
            for name in verdict.containers:
                self._events.normal(PODS, pod, "Started", f"Started container {name}", component=COMPONENT, host=host)
        await self._pods.patch(pod, {"status": patch}, subresource="status")

    def _restarts(self, key: Key, pod: JsonObject, life: _Life, verdict: PodVerdict, now: float) -> dict[str, int]:
        """Containers that crash (again) just now, with their new restart counts."""
        if str_at(pod, "spec", "restartPolicy") == "Never":
            return {}
        counts = {
            str_at(one, "name"): int_at(one, "restartCount")
            for group in ("initContainerStatuses", "containerStatuses")
            for one in objects_at(pod, "status", group)
        }
        first, longest = self._settings.crash_backoff
        crashed: dict[str, int] = {}
        for name in list(life.restarts_at):
            if name not in verdict.crashed:
                del life.restarts_at[name]
        for name in verdict.crashed:
            due = life.restarts_at.get(name)
            if due is None or now >= due:
                count = counts.get(name, 0) + 1
                crashed[name] = count
                due = life.restarts_at[name] = now + min(first * 2.0 ** min(count - 1, 16), longest)
            self.queue.add_after(key, due - now)
        return crashed

    def _ended(self, key: Key, pod: JsonObject, life: _Life, verdict: PodVerdict, now: float) -> bool:
        """Whether a pod that is meant to end (restartPolicy other than Always) has run long enough."""
        if str_at(pod, "spec", "restartPolicy", default="Always") == "Always":
            return False
        if any(one.state is not State.RUNNING for one in verdict.containers.values()):
            return False
        if life.ends_at is None:
            life.ends_at = now + self._settings.job_seconds
        if now < life.ends_at:
            self.queue.add_after(key, life.ends_at - now)
            return False
        return True


def _eviction_after(pod: JsonObject, fault: NodeFault) -> float | None:
    """Seconds until a pod is evicted from a broken node; None for never."""
    key = "node.kubernetes.io/unreachable" if fault is NodeFault.LOST else "node.kubernetes.io/not-ready"
    taint: JsonObject = {"key": key, "effect": "NoExecute"}
    matching = [one for one in objects_at(pod, "spec", "tolerations") if is_tolerated(taint, [one])]
    if not matching:
        return _DEFAULT_EVICTION
    limits = [int_at(one, "tolerationSeconds") for one in matching if "tolerationSeconds" in one]
    return float(min(limits)) if limits else None
