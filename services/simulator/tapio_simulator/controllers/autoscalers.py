"""HorizontalPodAutoscalers without metrics: they keep to their limits, and scale to what an annotation asks for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from tapio_shared.json import JsonObject, int_at, object_at, objects_at, str_at, strings_at
from tapio_shared.ports import Clock
from tapio_simulator.machinery.client import Client
from tapio_simulator.machinery.informer import Informer, Informers
from tapio_simulator.machinery.objects import Key, is_terminating, key_of, merge_patch, with_condition
from tapio_simulator.machinery.queue import WorkQueue
from tapio_simulator.machinery.resources import AUTOSCALERS, DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS
from tapio_simulator.stamps import timestamp

WANTED = "simulator.tapio.io/desired-replicas"
"""Annotation of a HorizontalPodAutoscaler: the number that its metrics would ask for."""


def desired_of(autoscaler: JsonObject, current: int) -> tuple[int, str]:
    """The replicas to scale to, and the limit that decided ("TooFewReplicas", "TooManyReplicas" or "")."""
    least = int_at(autoscaler, "spec", "minReplicas", default=1)
    most = int_at(autoscaler, "spec", "maxReplicas", default=1)
    text = strings_at(autoscaler, "metadata", "annotations").get(WANTED, "")
    asked = int(text) if text.isdigit() else current
    if current == 0:
        return 0, ""
    if asked < least:
        return least, "TooFewReplicas"
    return (most, "TooManyReplicas") if asked > most else (asked, "")


def status_of(autoscaler: JsonObject, current: int, desired: int, limit: str, now: str) -> JsonObject:
    conditions = objects_at(autoscaler, "status", "conditions")
    moved = desired != current
    wanted = (
        ("AbleToScale", "True", "SucceededRescale" if moved else "ReadyForNewScale", ""),
        ("ScalingActive", "True", "ValidMetricFound", ""),
        ("ScalingLimited", "True" if limit else "False", limit or "DesiredWithinRange", ""),
    )
    for kind, status, reason, message in wanted:
        entry: JsonObject = {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": now,
        }
        conditions = with_condition(conditions, entry)
    status_document: JsonObject = {
        **object_at(autoscaler, "status"),
        "currentReplicas": current,
        "desiredReplicas": desired,
        "conditions": list(conditions),
    }
    if moved:
        status_document["lastScaleTime"] = now
    return status_document


class Autoscalers:
    """The horizontal pod autoscaler."""

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._autoscalers = informers.of(AUTOSCALERS)
        self._targets: Mapping[str, Informer] = {
            collection.kind: informers.of(collection) for collection in (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS)
        }
        self._by_target = self._autoscalers.index(
            lambda one: ["/".join((key_of(one)[0], str_at(one, "spec", "scaleTargetRef", "kind"), _target_name(one)))]
        )
        self.queue: WorkQueue[Key] = WorkQueue("autoscalers")
        self._autoscalers.subscribe(lambda _before, after: None if after is None else self.queue.add(key_of(after)))
        for kind, informer in self._targets.items():
            informer.subscribe(partial(self._target_changed, kind))

    async def run(self, workers: int) -> None:
        await self.queue.run(workers, self._sync)

    def _target_changed(self, kind: str, _before: JsonObject | None, after: JsonObject | None) -> None:
        if after is not None:
            for one in self._by_target["/".join((key_of(after)[0], kind, key_of(after)[1]))]:
                self.queue.add(key_of(one))

    async def _sync(self, key: Key) -> None:
        found = self._autoscalers.get(*key)
        if found is None or is_terminating(found):
            return
        informer = self._targets.get(str_at(found, "spec", "scaleTargetRef", "kind"))
        target = None if informer is None else informer.get(key[0], _target_name(found))
        if informer is None or target is None or is_terminating(target):
            return
        current = int_at(target, "spec", "replicas", default=1)
        desired, limit = desired_of(found, current)
        if desired != current:
            scale: JsonObject = {"spec": {"replicas": desired}}
            await self._client.patch(informer.collection, *key_of(target), scale, subresource="scale")
        status = status_of(found, int_at(target, "status", "replicas"), desired, limit, timestamp(self._clock.now()))
        patch = merge_patch(object_at(found, "status"), status)
        if patch:
            await self._autoscalers.patch(found, {"status": patch}, subresource="status")


def _target_name(autoscaler: JsonObject) -> str:
    return str_at(autoscaler, "spec", "scaleTargetRef", "name")
