"""The status of PodDisruptionBudgets; evictions themselves are outside the simulator's closed list."""

from __future__ import annotations

from collections.abc import Sequence

from tapio_shared.json import JsonObject, int_at, object_at, objects_at, strings_at
from tapio_shared.ports import Clock
from tapio_simulator.kubelet.sight import label_keys
from tapio_simulator.machinery.informer import Informers
from tapio_simulator.machinery.objects import (
    Key,
    is_finished,
    is_ready,
    is_terminating,
    key_of,
    merge_patch,
    share_of,
    with_condition,
)
from tapio_simulator.machinery.queue import WorkQueue
from tapio_simulator.machinery.resources import BUDGETS, PODS
from tapio_simulator.selectors import label_selector_matches
from tapio_simulator.stamps import timestamp

_GATHER = 0.05
"""Seconds in which changes of pods are gathered before a budget is counted again."""


def status_of(budget: JsonObject, pods: Sequence[JsonObject], now: str) -> JsonObject:
    """The status, taking the pods there are for the pods expected."""
    spec = object_at(budget, "spec")
    healthy = sum(1 for pod in pods if is_ready(pod) and not is_terminating(pod))
    expected = len(pods)
    if "maxUnavailable" in spec:
        desired = max(expected - share_of(spec["maxUnavailable"], expected, round_up=True), 0)
    else:
        desired = share_of(spec.get("minAvailable"), expected, round_up=True, default=1)
    allowed = max(healthy - desired, 0) if expected else 0
    entry: JsonObject = {
        "type": "DisruptionAllowed",
        "status": "True" if allowed else "False",
        "reason": "SufficientPods" if allowed else "InsufficientPods",
        "message": "",
        "lastTransitionTime": now,
        "observedGeneration": int_at(budget, "metadata", "generation"),
    }
    return {
        "expectedPods": expected,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "observedGeneration": int_at(budget, "metadata", "generation"),
        "conditions": list(with_condition(objects_at(budget, "status", "conditions"), entry)),
    }


class DisruptionBudgets:
    """The disruption controller."""

    def __init__(self, informers: Informers, clock: Clock) -> None:
        self._clock = clock
        self._budgets, pods = informers.of(BUDGETS), informers.of(PODS)
        self._by_namespace = self._budgets.index(lambda one: [key_of(one)[0]])
        self._by_label = pods.index(label_keys)
        self.queue: WorkQueue[Key] = WorkQueue("disruptionbudgets")
        self._budgets.subscribe(lambda _before, after: None if after is None else self.queue.add(key_of(after)))
        pods.subscribe(self._pod_changed)

    async def run(self, workers: int) -> None:
        await self.queue.run(workers, self._sync)

    def _pod_changed(self, before: JsonObject | None, after: JsonObject | None) -> None:
        pod = after if after is not None else before
        if pod is None:
            return
        labels = strings_at(pod, "metadata", "labels")
        for budget in self._by_namespace[key_of(pod)[0]]:
            if label_selector_matches(object_at(budget, "spec", "selector"), labels):
                self.queue.add_after(key_of(budget), _GATHER)

    async def _sync(self, key: Key) -> None:
        budget = self._budgets.get(*key)
        if budget is None or is_terminating(budget):
            return
        selector = object_at(budget, "spec", "selector")
        keys = [f"{key[0]}/{name}={value}" for name, value in strings_at(selector, "matchLabels").items()]
        pods = [
            pod
            for pod in self._by_label[min(keys, key=self._by_label.count, default=key[0])]
            if not is_finished(pod) and label_selector_matches(selector, strings_at(pod, "metadata", "labels"))
        ]
        status = status_of(budget, pods, timestamp(self._clock.now()))
        patch = merge_patch(object_at(budget, "status"), status)
        if patch:
            await self._budgets.patch(budget, {"status": patch}, subresource="status")
