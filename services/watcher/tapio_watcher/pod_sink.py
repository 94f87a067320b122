"""Folds watched pods into one summary per workload, and publishes those that changed."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable

from tapio_shared.json import JsonObject, str_at
from tapio_shared.keys import ObjectRef, OrderingKey
from tapio_shared.ports import Clock
from tapio_watcher.encoding import observed_fact
from tapio_watcher.pods import SUMMARY_GROUP, SUMMARY_KIND, PodState, state_of, summary_of, summary_ref, workload_of
from tapio_watcher.publishing import FactWriter
from tapio_watcher.refusal_sink import RefusalSink
from tapio_watcher.routing import key_of
from tapio_watcher.versions import Name

SETTLE = 0.1
"""Seconds in which the changes of one workload's pods become one summary."""


class PodSink:
    """Keeps the state of every managed pod; tasks run in `group`.

    Nothing is published before the first list is complete: half of a workload's pods would look like lost ones.
    """

    def __init__(
        self, writer: FactWriter, target: str, clock: Clock, group: asyncio.TaskGroup, refusals: RefusalSink
    ) -> None:
        """`refusals` learns which pods were made: that a workload's pods are refused is then over."""
        self._writer, self._target, self._clock, self._group = writer, target, clock, group
        self._refusals = refusals
        self._workloads: dict[ObjectRef, dict[str, PodState]] = {}
        self._keys: dict[ObjectRef, OrderingKey] = {}
        self._homes: dict[Name, ObjectRef] = {}
        self._versions: dict[Name, str] = {}
        self._ends: dict[ObjectRef, str] = {}
        """Of a workload that lost a pod since the last list: the version at which it did."""
        self._settling: dict[ObjectRef, asyncio.Task[None]] = {}
        self._is_complete = False

    def observed(self, document: JsonObject) -> None:
        name = str_at(document, "metadata", "namespace"), str_at(document, "metadata", "name")
        workload, key = workload_of(document), key_of(self._target, document)
        if workload is None or key is None:
            self.gone(name)
            return
        former = self._homes.get(name)
        if former is not None and former != workload:
            self.gone(name)
        self._homes[name], self._keys[workload] = workload, key
        self._versions[name] = str_at(document, "metadata", "resourceVersion")
        self._refusals.pod_observed(workload, str_at(document, "metadata", "creationTimestamp"))
        state = state_of(document)
        pods = self._workloads.setdefault(workload, {})
        if pods.get(state.name) != state:
            pods[state.name] = state
            self._changed(workload)

    def gone(self, name: Name, *, uid: str = "", resource_version: str = "") -> None:
        workload = self._homes.pop(name, None)
        if workload is None:
            return
        self._versions.pop(name, None)
        if resource_version:
            self._ends[workload] = resource_version
        self._workloads[workload].pop(name[1], None)
        self._changed(workload)

    def complete(self, names: Container[Name]) -> None:
        for name in sorted(name for name in self._homes if name not in names):
            self.gone(name)
        self._ends.clear()  # Versions may have gone back since, and this list is the newest word.
        self._is_complete = True
        for workload in sorted(self._workloads):
            self._publish(workload)
        known = {summary_ref(workload) for workload in self._workloads}
        for ref in self._writer.known.present(SUMMARY_GROUP, SUMMARY_KIND):
            if ref not in known:
                self._writer.gone(ref)
        self._refusals.pods_complete()

    def _changed(self, workload: ObjectRef) -> None:
        if self._is_complete and workload not in self._settling:
            self._settling[workload] = self._group.create_task(self._settle(workload), name=f"pods-{workload}")

    async def _settle(self, workload: ObjectRef) -> None:
        await asyncio.sleep(SETTLE)
        del self._settling[workload]
        self._publish(workload)

    def _publish(self, workload: ObjectRef) -> None:
        pods, ref = self._workloads.get(workload, {}), summary_ref(workload)
        version = self._version(workload, pods)
        if not pods:
            self._workloads.pop(workload, None)
            self._keys.pop(workload, None)
            self._ends.pop(workload, None)
            self._refusals.pods_gone(workload)
            self._writer.gone(ref, resource_version=version)
            return
        fact = observed_fact(summary_of(pods.values()), uid="", resource_version=version, now=self._clock.now())
        self._writer.observed(self._keys[workload], ref, fact)

    def _version(self, workload: ObjectRef, pods: Iterable[str]) -> str:
        """The newest version that was seen of a workload's pods, so that a past is known by them too (past.py)."""
        known = [self._ends.get(workload, ""), *(self._versions[workload.namespace, name] for name in pods)]
        return max(known, key=lambda version: (len(version), version))
