"""A simulated cluster, a real nats-server and watchers between them, as these tests need them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import cast

import yaml
from prometheus_client import CollectorRegistry

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.adapters.provisioning import provision
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.api.labels import managed_labels
from tapio_shared.codec import decode_as, decode_record, encode
from tapio_shared.errors import TapioError
from tapio_shared.facts import ObjectGone, ObjectObserved, Record
from tapio_shared.json import JsonObject, str_at
from tapio_shared.keys import LOG_STREAM, ObjectRef, OrderingKey, object_subject, subject_matches
from tapio_shared.kubernetes import check, object_path
from tapio_shared.ports import Kube, Message, NewMessage
from tapio_simulator.cluster import SimulatedCluster
from tapio_simulator.kube import SimulatorKube
from tapio_watcher.metrics import Metrics
from tapio_watcher.watcher import Identity, Pace, Watcher
from tests.support.eventually import eventually

PARTITIONS = 4
TARGET = "local"
OPERATOR_NAMESPACE = "tapio-system"
CRDS = Path(__file__).parents[3] / "crds" / "crds.yaml"
CLUSTER = OrderingKey(TARGET, "default", "tapio")
CLUSTER_REF = ObjectRef("tapio.io", "TapioCluster", "default", "tapio")
FAST = Pace(look_at_log=0.1, discover=0.3, settle=0.02, cursors=0.2)
CONFIG = "reconcileInterval: 1s\n"


@cache
def crds() -> tuple[JsonObject, ...]:
    return tuple(yaml.load_all(CRDS.read_text(), Loader=yaml.CSafeLoader))


def config_map_ref(name: str = "settings") -> ObjectRef:
    return ObjectRef("", "ConfigMap", "default", name)


def cluster_document(name: str = "tapio", **spec: object) -> JsonObject:
    """A TapioCluster of the namespace `default`."""
    return cast(
        "JsonObject",
        {
            "apiVersion": "tapio.io/v1alpha1",
            "kind": "TapioCluster",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"profile": "development", **spec},
        },
    )


def labels_of(cluster: str = "tapio") -> JsonObject:
    labels = managed_labels(cluster=cluster, namespace="default", uid="u-1", name="tapio", component="test")
    return cast("JsonObject", dict(labels))


def config_map(name: str = "settings", *, cluster: str = "tapio", **data: str) -> JsonObject:
    """A ConfigMap that the operator manages for `cluster`."""
    return cast(
        "JsonObject",
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "default", "labels": labels_of(cluster)},
            "data": data,
        },
    )


_PLURALS = {
    "TapioCluster": "tapioclusters",
    "TapioCollector": "tapiocollectors",
    "ConfigMap": "configmaps",
    "Deployment": "deployments",
    "HorizontalPodAutoscaler": "horizontalpodautoscalers",
    "Secret": "secrets",
    "Pod": "pods",
    "ServiceAccount": "serviceaccounts",
    "ServiceMonitor": "servicemonitors",
    "Node": "nodes",
    "StorageClass": "storageclasses",
    "Namespace": "namespaces",
    "CustomResourceDefinition": "customresourcedefinitions",
}


@dataclass
class World:
    """Everything around the watchers. Use as `async with World(tmp_path) as world`."""

    directory: Path
    max_bytes: int = 64 << 20
    clock: SystemClock = field(default_factory=SystemClock)
    random: SeededRandom = field(default_factory=lambda: SeededRandom(7))
    door: Callable[[Kube], Kube] = lambda kube: kube
    """What stands between the watcher and the API server."""

    async def __aenter__(self) -> World:
        self._stack = AsyncExitStack()
        self.cluster = SimulatedCluster(self.clock, self.random)
        self.kube: SimulatorKube = self.cluster.kube(user_agent="test")
        await self.cluster.prepare()
        await self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OPERATOR_NAMESPACE}})
        account: JsonObject = {"name": "default", "namespace": "default"}
        await self.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
        for crd in crds():
            await self.create(crd)
        await self.configure(CONFIG)
        self.nats = await self._stack.enter_async_context(EmbeddedNatsServer(self.directory / "nats"))
        self.connection = await NatsConnection.connect([self.nats.url], name="test")
        self._stack.push_async_callback(self.connection.close)
        self.log = NatsEventLog(self.connection)
        await self.provision()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def provision(self) -> None:
        await provision(self.connection, partitions=PARTITIONS, max_bytes=self.max_bytes)

    async def delete_log(self) -> None:
        await self.connection.api(f"STREAM.DELETE.{LOG_STREAM}", None, dict[str, object])

    @asynccontextmanager
    async def watcher(
        self, *, pace: Pace = FAST, provision: Callable[[], Awaitable[None]] | None = None
    ) -> AsyncGenerator[Watched]:
        """A watcher that leads; it has synced when the block begins, and has ended after it."""
        async with self.unsynced_watcher(pace=pace, provision=provision) as watched:
            await eventually(watched.is_synced)
            yield watched

    @asynccontextmanager
    async def unsynced_watcher(
        self, *, pace: Pace = FAST, provision: Callable[[], Awaitable[None]] | None = None
    ) -> AsyncGenerator[Watched]:
        connection = await NatsConnection.connect([self.nats.url], name="watcher")
        registry = CollectorRegistry()
        watcher = Watcher(
            self.door(self.cluster.kube(user_agent="watcher")),
            NatsEventLog(connection),
            None,
            Identity(target=TARGET, namespace=OPERATOR_NAMESPACE, partitions=PARTITIONS),
            provision=provision or self.provision,
            clock=self.clock,
            random=self.random,
            metrics=Metrics(registry),
            pace=pace,
        )
        task = asyncio.create_task(watcher.run(), name="watcher")
        try:
            yield Watched(watcher, registry, task)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await connection.close()

    # --- Kubernetes ----------------------------------------------------------------------------------------------

    async def create(self, document: JsonObject) -> JsonObject:
        path = _path(document)
        answer = check(await self.kube.request("POST", path, body=encode(document)))
        return cast("JsonObject", decode_as(dict, answer))

    async def patch(self, document: JsonObject, patch: JsonObject) -> None:
        path = f"{_path(document)}/{str_at(document, 'metadata', 'name')}"
        kind = "application/merge-patch+json"
        check(await self.kube.request("PATCH", path, body=encode(patch), content_type=kind))

    async def delete(self, document: JsonObject) -> None:
        check(await self.kube.request("DELETE", f"{_path(document)}/{str_at(document, 'metadata', 'name')}"))

    async def configure(self, text: str) -> None:
        """Write the operator's ConfigMap."""
        document = cast(
            "JsonObject",
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "tapio-operator-config", "namespace": OPERATOR_NAMESPACE},
                "data": {"config.yaml": text},
            },
        )
        try:
            await self.create(document)
        except TapioError:
            await self.patch(document, {"data": {"config.yaml": text}})

    # --- the log -------------------------------------------------------------------------------------------------

    async def last(self, ref: ObjectRef, key: OrderingKey = CLUSTER) -> Record | None:
        """The last fact of one object."""
        message = await self.log.last(object_subject(key, ref, PARTITIONS))
        return None if message is None else decode_record(message.data)

    async def observed(self, ref: ObjectRef, key: OrderingKey = CLUSTER) -> JsonObject | None:
        """The object as its last fact has it; None when there is none or it is gone."""
        record = await self.last(ref, key)
        return record.object if isinstance(record, ObjectObserved) else None

    async def is_gone(self, ref: ObjectRef, key: OrderingKey = CLUSTER) -> bool:
        return isinstance(await self.last(ref, key), ObjectGone)

    async def messages(self, filter_subject: str = "tapio.log.>", *, from_sequence: int = 1) -> list[Message]:
        """Every message that the log holds now."""
        last = (await self.log.info()).last_sequence
        found: list[Message] = []
        if last < from_sequence:
            return found
        marker = f"tapio.cursor.test.{self.random.identifier()}"
        end = (await self.log.append(NewMessage(subject=marker, data=b"{}"))).sequence
        async with self.log.follow("tapio.>", from_sequence=from_sequence) as messages:
            async for message in messages:
                if message.sequence >= end:
                    return [one for one in found if subject_matches(filter_subject, one.subject)]
                found.append(message)
        return found


@dataclass(frozen=True)
class Watched:
    """One running watcher."""

    watcher: Watcher
    registry: CollectorRegistry
    task: asyncio.Task[None]

    async def is_synced(self) -> bool:
        if self.task.done():
            self.task.result()
        return self.watcher.is_synced

    def count(self, name: str, **labels: str) -> float:
        """The value of one of the watcher's metrics."""
        full = f"tapio_watcher_{name}"
        of_target = self.registry.get_sample_value(full, {**labels, "target": "local"})
        return of_target or self.registry.get_sample_value(full, labels) or 0.0


def _path(document: JsonObject) -> str:
    group, _, version = str_at(document, "apiVersion").rpartition("/")
    namespace = str_at(document, "metadata", "namespace")
    return object_path(group, version, _PLURALS[str_at(document, "kind")], namespace)
