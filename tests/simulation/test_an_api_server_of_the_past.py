"""An API server whose versions went back: a past that ends is not told, and a restored backup is, after a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tapio_shared.api.labels import managed_labels
from tapio_shared.codec import decode_record, encode
from tapio_shared.facts import ObjectGone, ObjectObserved
from tapio_shared.json import JsonObject, object_at, str_at
from tapio_shared.kubernetes import check, object_path
from tapio_simulator.store import Store
from tapio_watcher.past import DOUBTED
from tests.support.eventually import eventually
from tests.support.operator_in_process import Operator, documents
from tests.support.virtual_time import run_virtually

MERGE = "application/merge-patch+json"
PATIENCE = DOUBTED + 60.0
"""A comparison finds a watch that is dead within `reconcileInterval`, 30 seconds."""
MUCH = 1_000
"""Versions, more than the controllers' own writes make meanwhile: a past that has caught up can't be told any more."""


@asynccontextmanager
async def watched() -> AsyncGenerator[Operator]:
    """A watcher that has observed everything."""
    operator = Operator(seed=1)
    await operator.prepare()
    operator.start_watcher()
    try:
        await synced(operator)
        await asyncio.sleep(10)  # The cursors, which say of which cluster all this is, are written every five.
        yield operator
    finally:
        for name in list(operator.tasks):
            await operator.kill(name)


async def synced(operator: Operator, seconds: float = 20.0) -> None:
    async def is_synced() -> bool:
        return operator.watcher is not None and operator.watcher.is_synced

    await eventually(is_synced, seconds=seconds)


async def patch(operator: Operator, name: str, body: JsonObject) -> None:
    path = object_path("tapio.io", "v1alpha1", "tapioclusters", "default", name)
    check(await operator.admin.request("PATCH", path, body=encode(body), content_type=MERGE))


async def told(operator: Operator, name: str) -> list[str]:
    """What the log was ever told of a TapioCluster: its label `step`, or that it is gone."""
    found: list[str] = []
    for message in operator.log.stored:
        if message.subject.endswith(f".TapioCluster.default.{name}"):
            record = decode_record(message.data)
            if isinstance(record, ObjectObserved):
                found.append(str_at(object_at(record.object, "metadata", "labels"), "step") or "new")
            elif isinstance(record, ObjectGone):
                found.append("gone")
    return found


async def is_told(operator: Operator, name: str, *expected: str) -> None:
    async def holds() -> bool:
        return await told(operator, name) == list(expected)

    await eventually(holds, seconds=PATIENCE)


async def changed_after_a_backup(operator: Operator) -> int:
    """One TapioCluster before a backup, whose version is answered; it changes and another one appears after that."""
    store = operator.cluster.api.store
    await operator.create(documents()[0])
    await is_told(operator, "dev", "new")
    backup = store.version
    store.version += MUCH
    await patch(operator, "dev", {"metadata": {"labels": {"step": "one"}}})
    await operator.create(documents()[2])
    await is_told(operator, "other", "new")
    return backup


async def succeeded_while_the_past_lasts(operator: Operator, past: Store) -> None:
    """Another watcher takes over while the API server answers with its `past`, which ends before it is believed."""
    store = operator.cluster.api.store
    await operator.kill("watcher")
    store.swap(past)
    operator.start_watcher()
    await asyncio.sleep(DOUBTED / 2)
    assert operator.watcher is not None
    assert not operator.watcher.is_synced
    store.swap(past)
    await synced(operator)


def test_a_successor_tells_nothing_of_a_past_that_ends() -> None:
    async def run() -> None:
        async with watched() as operator:
            store = operator.cluster.api.store
            other = store.restored(store.version)
            store.version += MUCH
            await operator.create(documents()[0])
            await is_told(operator, "dev", "new")
            await patch(operator, "dev", {"metadata": {"labels": {"step": "one"}}})
            await is_told(operator, "dev", "new", "one")
            await succeeded_while_the_past_lasts(operator, other)
            await asyncio.sleep(PATIENCE)
            assert await told(operator, "dev") == ["new", "one"]

    run_virtually(run())


def test_a_successor_tells_nothing_of_pods_of_the_past() -> None:
    """A summary of pods has no version of its own, and the cursor is written once an hour."""

    async def run() -> None:
        async with watched() as operator:
            store, pods = operator.cluster.api.store, object_path("", "v1", "pods", "default")
            labels = managed_labels(cluster="dev", namespace="default", uid="u", name="nats", component="nats")
            pod: JsonObject = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": "dev-nats-0",
                    "labels": {**labels, "statefulset.kubernetes.io/pod-name": "dev-nats-0"},
                },
                "spec": {"containers": [{"name": "nats", "image": "nats"}]},
            }
            check(await operator.admin.request("POST", pods, body=encode(pod)))
            await asyncio.sleep(1)
            other = store.restored(store.version)
            store.version += MUCH
            now: JsonObject = {"gracePeriodSeconds": 0}
            check(await operator.admin.request("DELETE", f"{pods}/dev-nats-0", body=encode(now)))
            await asyncio.sleep(1)
            ended = pods_told(operator)
            assert (ended[0], ended[-1]) == ("1 pod", "gone")
            await succeeded_while_the_past_lasts(operator, other)
            assert pods_told(operator) == ended

    run_virtually(run())


def pods_told(operator: Operator) -> list[str]:
    """What the log was ever told of the pods of dev's NATS."""
    records = [decode_record(one.data) for one in operator.log.stored if one.subject.endswith(".StatefulSet-dev-nats")]
    return [f"{one.object['total']} pod" if isinstance(one, ObjectObserved) else "gone" for one in records]


def test_a_restored_backup_is_believed_after_a_while_and_remembered() -> None:
    async def run() -> None:
        async with watched() as operator:
            store = operator.cluster.api.store
            backup = await changed_after_a_backup(operator)
            await operator.kill("watcher")
            store.swap(store.restored(backup))
            operator.start_watcher()
            began = operator.clock.monotonic()
            await synced(operator, PATIENCE)
            assert operator.clock.monotonic() - began >= DOUBTED
            assert await told(operator, "dev") == ["new", "one", "new"]
            assert await told(operator, "other") == ["new", "gone"]
            await asyncio.sleep(10)  # the cursors are written every five
            await operator.kill("watcher")
            operator.start_watcher()
            await synced(operator, 20.0)
            assert await told(operator, "dev") == ["new", "one", "new"]

    run_virtually(run())


def test_a_backup_that_is_restored_under_a_watcher_is_told() -> None:
    async def run() -> None:
        async with watched() as operator:
            store = operator.cluster.api.store
            backup = await changed_after_a_backup(operator)
            await is_told(operator, "dev", "new", "one")
            store.swap(store.restored(backup))
            await is_told(operator, "dev", "new", "one", "new")
            await is_told(operator, "other", "new", "gone")
            await patch(operator, "dev", {"metadata": {"labels": {"step": "two"}}})
            await is_told(operator, "dev", "new", "one", "new", "two")

    run_virtually(run())
