"""Folds watched pods into one summary per workload, and publishes those that changed."""

from __future__ import annotations

import asyncio
from collections.abc import Container

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
        self._workloads[workload].pop(name[1], None)
        self._changed(workload)

    def complete(self, names: Container[Name]) -> None:
        for name in sorted(name for name in self._homes if name not in names):
            self.gone(name)
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
        if not pods:
            self._workloads.pop(workload, None)
            self._keys.pop(workload, None)
            self._refusals.pods_gone(workload)
            self._writer.gone(ref)
            return
        fact = observed_fact(summary_of(pods.values()), uid="", resource_version="", now=self._clock.now())
        self._writer.observed(self._keys[workload], ref, fact)
