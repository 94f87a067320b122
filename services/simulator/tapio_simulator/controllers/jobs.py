"""Jobs: pods until enough of them have succeeded. CronJobs are objects without a clock here."""

from __future__ import annotations

from collections.abc import Sequence

from tapio_shared.errors import ApiError, ApiTerminal
from tapio_shared.json import JsonObject, at, int_at, object_at, objects_at, str_at
from tapio_shared.ports import Clock
from tapio_simulator.controllers.replicas import PodControl, build_pod
from tapio_simulator.machinery.events import EventRecorder
from tapio_simulator.machinery.informer import Informers
from tapio_simulator.machinery.objects import (
    Key,
    is_active,
    is_ready,
    is_terminating,
    is_true,
    key_of,
    merge_patch,
    phase_of,
    with_condition,
    without_zeros,
)
from tapio_simulator.machinery.queue import WorkQueue
from tapio_simulator.machinery.resources import JOBS
from tapio_simulator.stamps import parse_timestamp, timestamp

COMPONENT = "job-controller"


def is_over(job: JsonObject) -> bool:
    return is_true(job, "Complete") or is_true(job, "Failed")


def missing(job: JsonObject, pods: Sequence[JsonObject]) -> int:
    """How many pods to start now."""
    if is_over(job) or at(job, "spec", "suspend") is True:
        return 0
    active = sum(1 for pod in pods if is_active(pod))
    done = sum(1 for pod in pods if phase_of(pod) == "Succeeded")
    parallel = int_at(job, "spec", "parallelism", default=1)
    wanted = at(job, "spec", "completions")
    if not isinstance(wanted, int):
        return max(parallel - active, 0) if done == 0 else 0
    return max(min(parallel, wanted - done) - active, 0)


def status_of(job: JsonObject, pods: Sequence[JsonObject], now: str) -> JsonObject:
    """The status of a Job; a finished one keeps what it has."""
    if is_over(job):
        return object_at(job, "status")
    succeeded = sum(1 for pod in pods if phase_of(pod) == "Succeeded")
    failed = sum(1 for pod in pods if phase_of(pod) == "Failed")
    active = [pod for pod in pods if is_active(pod)]
    status: JsonObject = {
        "startTime": str_at(job, "status", "startTime") or now,
        **without_zeros(
            {
                "active": len(active),
                "ready": sum(1 for pod in active if is_ready(pod)),
                "succeeded": succeeded,
                "failed": failed,
            }
        ),
    }
    conditions = objects_at(job, "status", "conditions")
    wanted = int_at(job, "spec", "completions", default=1)
    entry: JsonObject = {"status": "True", "lastProbeTime": now, "lastTransitionTime": now}
    if succeeded >= wanted and not active:
        conditions = with_condition(conditions, {"type": "Complete", **entry})
        status["completionTime"] = now
    elif failed > int_at(job, "spec", "backoffLimit", default=6):
        text = "Job has reached the specified backoff limit"
        conditions = with_condition(
            conditions, {"type": "Failed", **entry, "reason": "BackoffLimitExceeded", "message": text}
        )
    if conditions:
        status["conditions"] = list(conditions)
    return status


class Jobs:
    """The Job controller."""

    def __init__(self, informers: Informers, clock: Clock, events: EventRecorder) -> None:
        self._clock = clock
        self._jobs = informers.of(JOBS)
        self._control = PodControl(informers, JOBS, events, COMPONENT)
        self.queue: WorkQueue[Key] = WorkQueue("jobs")
        self._jobs.subscribe(lambda _before, after: None if after is None else self.queue.add(key_of(after)))
        self._control.wake(self.queue)

    async def run(self, workers: int) -> None:
        await self.queue.run(workers, self._sync)

    async def _sync(self, key: Key) -> None:
        job = self._jobs.get(*key)
        if job is None or is_terminating(job):
            return
        failure: ApiError | None = None
        template = object_at(job, "spec", "template")
        try:
            for _ in range(missing(job, self._control.owned(job))):
                await self._control.create(job, build_pod(job, JOBS, template))
        except ApiTerminal as err:
            failure = err
        now = self._clock.now()
        patch = merge_patch(object_at(job, "status"), status_of(job, self._control.owned(job), timestamp(now)))
        if patch:
            left = await self._jobs.patch(job, {"status": patch}, subresource="status")
            job = left or job
        if is_over(job):
            await self._expire(key, job, now)
        if failure is not None:
            raise failure

    async def _expire(self, key: Key, job: JsonObject, now: int) -> None:
        """ttlSecondsAfterFinished; pods that still run when a Job failed are ended."""
        for pod in self._control.owned(job):
            if is_active(pod):
                await self._control.delete(job, pod)
        seconds = at(job, "spec", "ttlSecondsAfterFinished")
        if not isinstance(seconds, int):
            return
        ended = [str_at(one, "lastTransitionTime") for one in objects_at(job, "status", "conditions")]
        since = max((parse_timestamp(one) or 0.0 for one in ended), default=0.0)
        left = since + seconds - now / 1000
        if left <= 0:
            await self._jobs.delete(job, propagation="Foreground")
        else:
            self.queue.add_after(key, left)
