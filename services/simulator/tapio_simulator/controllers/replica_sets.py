"""ReplicaSets: as many pods of one template as asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tapio_shared.errors import ApiError, ApiTerminal
from tapio_shared.json import JsonObject, int_at, object_at, objects_at, str_at, strings_at
from tapio_shared.ports import Clock
from tapio_simulator.controllers.replicas import PodControl, build_pod, doomed_first
from tapio_simulator.machinery.events import EventRecorder
from tapio_simulator.machinery.informer import Informers
from tapio_simulator.machinery.objects import (
    Key,
    available_in,
    condition,
    is_active,
    is_ready,
    is_terminating,
    key_of,
    merge_patch,
    with_condition,
    without_zeros,
)
from tapio_simulator.machinery.queue import WorkQueue
from tapio_simulator.machinery.resources import REPLICA_SETS
from tapio_simulator.stamps import timestamp

COMPONENT = "replicaset-controller"


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of a ReplicaSet's status, and in how many seconds the next pod becomes available."""

    replicas: int
    labeled: int
    ready: int
    available: int
    next_in: float | None


def counts_of(replica_set: JsonObject, pods: Sequence[JsonObject], now: int) -> Counts:
    """Count active `pods`; `now` in milliseconds."""
    wanted = strings_at(replica_set, "spec", "template", "metadata", "labels").items()
    seconds = int_at(replica_set, "spec", "minReadySeconds")
    waits = [wait for pod in pods if (wait := available_in(pod, seconds, now)) is not None]
    return Counts(
        replicas=len(pods),
        labeled=sum(1 for pod in pods if wanted <= strings_at(pod, "metadata", "labels").items()),
        ready=sum(1 for pod in pods if is_ready(pod)),
        available=sum(1 for wait in waits if wait <= 0),
        next_in=min((wait for wait in waits if wait > 0), default=None),
    )


def status_of(replica_set: JsonObject, counts: Counts, failure: str, now: str) -> JsonObject:
    """The status document; `failure` is why a pod could not be created or deleted."""
    conditions = [one for one in objects_at(replica_set, "status", "conditions") if one["type"] != "ReplicaFailure"]
    known = condition(replica_set, "ReplicaFailure")
    if failure and _cause(failure) == _cause(str_at(known, "message")):
        # Only the generated name of the refused pod differs: writing it would start the next try at once.
        conditions = objects_at(replica_set, "status", "conditions")
    elif failure:
        entry: JsonObject = {
            "type": "ReplicaFailure",
            "status": "True",
            "reason": "FailedCreate",
            "message": failure,
            "lastTransitionTime": now,
        }
        conditions = with_condition(objects_at(replica_set, "status", "conditions"), entry)
    status = without_zeros(
        {
            "fullyLabeledReplicas": counts.labeled,
            "readyReplicas": counts.ready,
            "availableReplicas": counts.available,
            "observedGeneration": int_at(replica_set, "metadata", "generation"),
            "conditions": list(conditions),
        }
    )
    return {"replicas": counts.replicas, **status}


def _cause(message: str) -> str:
    return message.partition('" is ')[2] or message


class ReplicaSets:
    """The ReplicaSet controller."""

    def __init__(self, informers: Informers, clock: Clock, events: EventRecorder) -> None:
        self._clock = clock
        self._sets = informers.of(REPLICA_SETS)
        self._control = PodControl(informers, REPLICA_SETS, events, COMPONENT)
        self.queue: WorkQueue[Key] = WorkQueue("replicasets")
        self._sets.subscribe(lambda _before, after: None if after is None else self.queue.add(key_of(after)))
        self._control.wake(self.queue)

    async def run(self, workers: int) -> None:
        await self.queue.run(workers, self._sync)

    async def _sync(self, key: Key) -> None:
        found = self._sets.get(*key)
        if found is None:
            return
        failure: ApiError | None = None
        if not is_terminating(found):
            await self._control.adopt(found)
            try:
                await self._scale(found)
            except ApiTerminal as err:
                failure = err
        pods = [pod for pod in self._control.owned(found) if is_active(pod)]
        now = self._clock.now()
        counts = counts_of(found, pods, now)
        text = "" if failure is None else failure.message
        patch = merge_patch(object_at(found, "status"), status_of(found, counts, text, timestamp(now)))
        if patch:
            await self._sets.patch(found, {"status": patch}, subresource="status")
        if counts.next_in is not None:
            self.queue.add_after(key, counts.next_in)
        if failure is not None:
            raise failure

    async def _scale(self, found: JsonObject) -> None:
        pods = [pod for pod in self._control.owned(found) if is_active(pod)]
        missing = int_at(found, "spec", "replicas", default=1) - len(pods)
        template = object_at(found, "spec", "template")
        for _ in range(missing):
            await self._control.create(found, build_pod(found, REPLICA_SETS, template))
        if missing < 0:
            for pod in doomed_first(pods)[:-missing]:
                await self._control.delete(found, pod)
