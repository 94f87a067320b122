"""Publishes why a managed workload's pods are refused, while they are; Events of anybody else's are forgotten.

An Event knows no labels: whose it is follows from the workload, which may be told of later. A pod that was made after
the Event is the later word. Refuses to say anything of a workload that is not managed.
"""

from __future__ import annotations

from collections.abc import Container

from tapio_shared.json import JsonObject, str_at
from tapio_shared.keys import ObjectRef, OrderingKey
from tapio_shared.ports import Clock
from tapio_watcher.encoding import observed_fact
from tapio_watcher.publishing import FactWriter
from tapio_watcher.refusals import (
    REFUSAL_GROUP,
    REFUSAL_KIND,
    Refusal,
    refusal_document,
    refusal_of,
    refusal_ref,
    refused_workload,
    to_second,
)
from tapio_watcher.versions import Name

MOST_KEPT = 4096
"""Workloads, managed or not, whose newest refusal is kept; beyond it the oldest goes."""


class RefusalSink:
    """Keeps the newest refusal of each workload, and what else decides whether it is still the last word."""

    def __init__(self, writer: FactWriter, clock: Clock) -> None:
        self._writer, self._clock = writer, clock
        self._refusals: dict[ObjectRef, Refusal] = {}
        self._told_by: dict[Name, ObjectRef] = {}
        self._owners: dict[ObjectRef, tuple[OrderingKey, str]] = {}
        self._newest_pods: dict[ObjectRef, str] = {}
        self._has_pods = self._has_events = False

    # --- Events ------------------------------------------------------------------------------------------------

    def observed(self, document: JsonObject) -> None:
        workload = refused_workload(document)
        if workload is None:
            return
        refusal, former = refusal_of(document), self._refusals.get(workload)
        if former is not None and former.at > refusal.at:
            return
        self._drop(workload)
        self._refusals[workload], self._told_by[refusal.event] = refusal, workload
        while len(self._refusals) > MOST_KEPT:
            self._forget(next(iter(self._refusals)))
        self._publish(workload)

    def gone(self, name: Name, *, uid: str = "", resource_version: str = "") -> None:
        """The newest Event expired: the controller has not been refused again for as long as Events live."""
        workload = self._told_by.get(name)
        if workload is not None:
            self._forget(workload)

    def complete(self, names: Container[Name]) -> None:
        for name in sorted(name for name in self._told_by if name not in names):
            self.gone(name)
        self._has_events = True
        self._publish_all()
        told = {refusal_ref(workload) for workload in self._refusals}
        for ref in self._writer.known.present(REFUSAL_GROUP, REFUSAL_KIND):
            if ref not in told:
                self._writer.gone(ref)

    def _forget(self, workload: ObjectRef) -> None:
        """Say no more of it: what is not followed may be over any moment."""
        self._drop(workload)
        self._writer.gone(refusal_ref(workload))

    def _drop(self, workload: ObjectRef) -> None:
        former = self._refusals.pop(workload, None)
        if former is not None:
            self._told_by.pop(former.event, None)

    # --- workloads and their pods ------------------------------------------------------------------------------

    def workload_observed(self, workload: ObjectRef, document: JsonObject, key: OrderingKey | None) -> None:
        """A workload is as it is; without `key` it is not managed."""
        if key is None:
            self.workload_gone(workload)
            return
        owner = key, str_at(document, "metadata", "uid")
        if self._owners.get(workload) != owner:
            self._owners[workload] = owner
            self._publish(workload)

    def workload_gone(self, workload: ObjectRef) -> None:
        self._newest_pods.pop(workload, None)
        if self._owners.pop(workload, None) is not None:
            self._writer.gone(refusal_ref(workload))

    def pod_observed(self, workload: ObjectRef, created_at: str) -> None:
        """A pod of `workload` exists: what was refused before it was made is over."""
        created = to_second(created_at)
        if created > self._newest_pods.get(workload, ""):
            self._newest_pods[workload] = created
            if workload in self._refusals:
                self._publish(workload)

    def pods_complete(self) -> None:
        """Every pod has been told of: before that an old refusal would look like the last word."""
        self._has_pods = True
        self._publish_all()

    def pods_gone(self, workload: ObjectRef) -> None:
        """No pod of `workload` is left; of one that is gone itself nothing need be remembered."""
        if workload not in self._owners:
            self._newest_pods.pop(workload, None)

    # --- publishing --------------------------------------------------------------------------------------------

    def _publish_all(self) -> None:
        for workload in sorted(self._refusals):
            self._publish(workload)

    def _publish(self, workload: ObjectRef) -> None:
        owner, refusal, ref = self._owners.get(workload), self._refusals.get(workload), refusal_ref(workload)
        if owner is None or refusal is None or not self._has_pods or not self._has_events:
            return
        key, uid = owner
        if refusal.uid != uid or refusal.at <= self._newest_pods.get(workload, ""):
            self._writer.gone(ref)
            return
        fact = observed_fact(refusal_document(refusal), uid="", resource_version="", now=self._clock.now())
        self._writer.observed(key, ref, fact)


class RefusedWorkloads:
    """What an `ObjectSink` tells of one kind of workload, handed on to the sink of their refusals."""

    def __init__(self, group: str, sink: RefusalSink) -> None:
        self._group, self._sink = group, sink

    def told(self, kind: str, document: JsonObject, key: OrderingKey | None) -> None:
        name = str_at(document, "metadata", "namespace"), str_at(document, "metadata", "name")
        self._sink.workload_observed(ObjectRef(self._group, kind, *name), document, key)

    def gone(self, kind: str, name: Name) -> None:
        self._sink.workload_gone(ObjectRef(self._group, kind, *name))
