"""DaemonSets: one pod on every node that suits."""

from __future__ import annotations

from tapio_shared.errors import ApiError, ApiTerminal
from tapio_shared.json import JsonObject, int_at, object_at
from tapio_shared.ports import Clock
from tapio_simulator.controllers.placements import moves, pinned, report_of, with_tolerations
from tapio_simulator.controllers.replicas import PodControl, build_pod
from tapio_simulator.controllers.revisions import REVISION_LABEL, Revisions
from tapio_simulator.machinery.events import EventRecorder
from tapio_simulator.machinery.informer import Informers
from tapio_simulator.machinery.objects import Key, is_terminating, key_of, merge_patch
from tapio_simulator.machinery.queue import WorkQueue
from tapio_simulator.machinery.resources import DAEMON_SETS, NODES

COMPONENT = "daemonset-controller"


class DaemonSets:
    """The DaemonSet controller."""

    def __init__(self, informers: Informers, clock: Clock, events: EventRecorder) -> None:
        self._clock = clock
        self._sets, self._nodes = informers.of(DAEMON_SETS), informers.of(NODES)
        self._control = PodControl(informers, DAEMON_SETS, events, COMPONENT)
        self._revisions = Revisions(informers, DAEMON_SETS)
        self.queue: WorkQueue[Key] = WorkQueue("daemonsets")
        self._sets.subscribe(lambda _before, after: None if after is None else self.queue.add(key_of(after)))
        self._nodes.subscribe(self._node_changed)
        self._control.wake(self.queue)

    async def run(self, workers: int) -> None:
        await self.queue.run(workers, self._sync)

    def _node_changed(self, before: JsonObject | None, after: JsonObject | None) -> None:
        """Labels and taints matter; a node's status does not."""
        if before is not None and after is not None:
            same = object_at(before, "spec") == object_at(after, "spec")
            if same and object_at(before, "metadata", "labels") == object_at(after, "metadata", "labels"):
                return
        for key in self._sets.objects:
            self.queue.add(key)

    async def _sync(self, key: Key) -> None:
        found = self._sets.get(*key)
        if found is None:
            return
        update = self._revisions.name_of(found)
        failure: ApiError | None = None
        now = self._clock.now()
        nodes = {name: node for (_, name), node in self._nodes.objects.items()}
        if not is_terminating(found):
            update = await self._revisions.ensure(found)
            await self._control.adopt(found)
            planned = moves(found, nodes, self._control.owned(found), update, now)
            try:
                for name in planned.create:
                    await self._control.create(found, self._pod(found, name, update))
            except ApiTerminal as err:
                failure = err
            for pod in planned.delete:
                await self._control.delete(found, pod)
        known = self._sets.get(*key)
        if known is None:
            return
        report = report_of(found, nodes, self._control.owned(found), update, now)
        patch = merge_patch(object_at(known, "status"), report.status)
        if patch:
            await self._sets.patch(known, {"status": patch}, subresource="status")
        if report.next_in is not None:
            self.queue.add_after(key, report.next_in)
        if failure is not None:
            raise failure

    def _pod(self, found: JsonObject, node: str, update: str) -> JsonObject:
        pod = build_pod(found, DAEMON_SETS, object_at(found, "spec", "template"))
        metadata = object_at(pod, "metadata")
        metadata["labels"] = {
            **object_at(metadata, "labels"),
            REVISION_LABEL: update.rpartition("-")[2],
            "pod-template-generation": str(int_at(found, "metadata", "generation", default=1)),
        }
        pod["spec"] = pinned(with_tolerations(object_at(pod, "spec")), node)
        return pod
