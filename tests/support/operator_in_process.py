"""A watcher, workers, the memory log and the simulated cluster in one event loop, and witnesses of what they did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
import yaml
from prometheus_client import CollectorRegistry

from tapio_reconciler.core.changes import is_controlled_by_cluster
from tapio_reconciler.shell import metrics as reconciler_metrics
from tapio_reconciler.shell.applying import Applier
from tapio_reconciler.shell.capacity import Capacity
from tapio_reconciler.shell.events import EventWriter
from tapio_reconciler.shell.identity import Identity
from tapio_reconciler.shell.partition import Partition
from tapio_reconciler.shell.targets import Targets
from tapio_reconciler.shell.worker import Worker
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.adapters.memory_membership import MemoryMembership
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.api.labels import DESIRED_HASH
from tapio_shared.api.operator_config import CONFIG_KEY, CONFIG_MAP
from tapio_shared.codec import decode_record, encode
from tapio_shared.errors import LogMissing, Undecodable
from tapio_shared.facts import DecisionRecorded
from tapio_shared.json import JsonObject, object_at, objects_at, str_at, strings_at
from tapio_shared.keys import ObjectRef
from tapio_shared.kubernetes import check, object_path
from tapio_shared.ports import Kube, KubeResponse, Message, NewMessage
from tapio_simulator.calls import User
from tapio_simulator.cluster import SimulatedCluster
from tapio_simulator.controllers import ControllerSettings, run_controllers
from tapio_simulator.kubelet import KubeletSettings
from tapio_watcher import metrics as watcher_metrics
from tapio_watcher.watcher import Identity as WatcherIdentity
from tapio_watcher.watcher import Pace, Watcher
from tests.support.kept import HISTORIES
from tests.support.kube_between import KubeBetween, Request
from tests.support.virtual_time import VirtualClock

ROOT = Path(__file__).parents[2]
PARTITIONS = 3
CONTROLLERS = User("system:kube-controller-manager", ("system:masters",))
RECONCILER = User("reconciler", ("system:masters",))
WATCHER = User("watcher", ("system:masters",))
_PACE = Pace(look_at_log=0.5, discover=5.0, settle=0.05, cursors=5.0)
_QUICK = KubeletSettings(startup=(0.0, 0.0), shutdown=(0.0, 0.0), job_seconds=0.0, crash_backoff=(0.2, 1.0))


class WitnessedLog(MemoryEventLog):
    """The log, and everything it ever held, in the order in which it was stored; losing the log loses none of that."""

    def __init__(self, clock: VirtualClock, max_bytes: int = -1) -> None:
        super().__init__(clock, partitions=PARTITIONS, max_bytes=max_bytes)
        self.stored: list[NewMessage] = []
        self.delay = 0.0
        """Seconds by which every followed message comes late."""
        self.lives: list[list[Message]] = [[]]
        """Every message with its sequence; a log that was lost and made again begins a new list."""

    def _store(self, message: NewMessage, size: int) -> None:
        super()._store(message, size)
        self.stored.append(message)
        self.lives[-1].append(self._messages[self._sequence])

    async def _follow(self, filter_subject: str, from_sequence: int, created: str) -> AsyncGenerator[Message]:
        async for message in super()._follow(filter_subject, from_sequence, created):
            if self.delay > 0:
                await asyncio.sleep(self.delay)
            yield message

    async def remove(self) -> None:
        await super().remove()
        self.lives.append([])

    def decisions(self) -> list[tuple[int, DecisionRecorded]]:
        """Every decision that was ever recorded, and how many messages were stored with it."""
        found: list[tuple[int, DecisionRecorded]] = []
        for number, message in enumerate(self.stored, start=1):
            if message.subject.endswith(".decision"):
                try:
                    record = decode_record(message.data)
                except Undecodable:
                    continue
                if isinstance(record, DecisionRecorded):
                    found.append((number, record))
        return found


@dataclass(frozen=True, slots=True)
class Asked:
    """One write as the reconciler asked for it, and how much the log held at that moment."""

    stored: int
    method: str
    path: str
    document: JsonObject


class WitnessKube(KubeBetween):
    """The reconciler's way to the API server; notes every write before it is done."""

    def __init__(self, kube: Kube, log: WitnessedLog) -> None:
        super().__init__(kube)
        self._log = log
        self.asked: list[Asked] = []

    async def answer(self, request: Request) -> KubeResponse:
        if request.is_write:
            document: JsonObject = {} if request.body is None else msgspec.json.decode(request.body)
            self.asked.append(Asked(len(self._log.stored), request.method, request.path, document))
        return await request.send(self.kube)

    def unrecorded(self) -> list[str]:
        """Writes that no decision names that was in the log before them. There must be none."""
        recorded = iter(self._log.decisions())
        named: set[tuple[str, str, str]] = set()
        following = next(recorded, None)
        wrong: list[str] = []
        for asked in self.asked:
            while following is not None and following[0] <= asked.stored:
                named |= _named(following[1])
                following = next(recorded, None)
            kind = _kind(asked)
            if kind is not None and kind not in named:
                wrong.append(f"{asked.method} {asked.path} ({kind})")
        return wrong


def _kind(asked: Asked) -> tuple[str, str, str] | None:
    """What a decision must name for this write: path, verb, digest."""
    metadata = object_at(asked.document, "metadata")
    if "/events" in asked.path:
        return None  # Named by reason and message; best effort.
    if asked.method == "DELETE":
        return (asked.path, "delete", str_at(asked.document, "preconditions", "uid"))
    if asked.method == "POST":
        return (f"{asked.path}/{str_at(metadata, 'name')}", "generate", "")
    if asked.path.endswith("/status"):
        return (asked.path, "status", "")
    if "/tapioclusters/" in asked.path:
        return (asked.path, "finalizer", "")
    if asked.method == "PATCH" and "/persistentvolumeclaims/" in asked.path:
        return (asked.path, "expand", "")
    return (asked.path, "apply", strings_at(metadata, "annotations")[DESIRED_HASH])


_STATUSES = {"TapioCollector": "tapiocollectors", "TapioIntelligence": "tapiointelligences"}


def _named(decision: DecisionRecorded) -> set[tuple[str, str, str]]:
    named: set[tuple[str, str, str]] = set()
    for action in decision.apply:
        path = object_path(action.group, action.version, action.plural, action.namespace, action.name)
        made = action.mode in ("generate", "expand")
        named.add((path, action.mode, "") if made else (path, "apply", action.digest))
    for gone in decision.delete:
        path = object_path(gone.group, gone.version, gone.plural, gone.namespace, gone.name)
        named.add((path, "delete", gone.uid))
    return named | _named_of_cluster(decision)


def _named_of_cluster(decision: DecisionRecorded) -> set[tuple[str, str, str]]:
    named: set[tuple[str, str, str]] = set()
    for name in NAMES:
        path = object_path("tapio.io", "v1alpha1", "tapioclusters", "default", name)
        if decision.status is not None:
            named.add((f"{path}/status", "status", ""))
        if decision.finalizer:
            named.add((path, "finalizer", ""))
    for resource in decision.resources:
        kind, _, name = resource.partition("/")
        path = object_path("tapio.io", "v1alpha1", _STATUSES[kind], "default", name, "status")
        named.add((path, "status", ""))
    return named


NAMES = ("dev", "edge", "other")


def documents() -> list[JsonObject]:
    """The TapioClusters of these runs."""
    dev = _example("development")
    return [dev, _example("edge"), {**dev, "metadata": {"name": "other"}}]


def _example(name: str) -> JsonObject:
    return cast("JsonObject", yaml.safe_load((ROOT / "examples" / f"{name}.yaml").read_text()))


class Operator:
    """The parts, each of which can be started and cut off at any moment. Made by `operator_in_process`."""

    kubelet: KubeletSettings = _QUICK
    """How nodes and pods behave."""

    def __init__(self, seed: int, *, log_max_bytes: int = -1) -> None:
        self.clock, self.random = VirtualClock(), SeededRandom(seed)
        self.log, self.membership = WitnessedLog(self.clock, log_max_bytes), MemoryMembership()
        self.cluster = SimulatedCluster(self.clock, self.random)
        self.kube = WitnessKube(self.cluster.kube(RECONCILER, user_agent="reconciler"), self.log)
        self.admin = self.cluster.kube(user_agent="test")
        self.registry, self.watcher_registry = CollectorRegistry(), CollectorRegistry()
        self._metrics = reconciler_metrics.Metrics(self.registry)
        self._events = EventWriter(self.kube, self.clock)
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.workers: dict[str, Worker] = {}
        self.watcher: Watcher | None = None

    async def prepare(self) -> None:
        await self.cluster.prepare()
        for manifest in ("deploy/operator/namespaces.yaml", "crds/crds.yaml"):
            for document in yaml.load_all((ROOT / manifest).read_text(), Loader=yaml.CSafeLoader):
                await self.create(document)
        controllers = run_controllers(
            self.cluster.kube(CONTROLLERS, user_agent="kube-controller-manager"),
            self.clock,
            self.random,
            ControllerSettings(kubelet=self.kubelet),
        )
        self.tasks["controllers"] = asyncio.create_task(controllers, name="controllers")

    async def create(self, document: JsonObject) -> None:
        plurals = {
            "Namespace": ("", "namespaces", ""),
            "CustomResourceDefinition": ("apiextensions.k8s.io", "customresourcedefinitions", ""),
            "TapioCluster": ("tapio.io", "tapioclusters", "default"),
            "ConfigMap": ("", "configmaps", "tapio-system"),
        }
        group, plural, namespace = plurals[str_at(document, "kind")]
        version = str_at(document, "apiVersion").rpartition("/")[2]
        check(await self.admin.request("POST", object_path(group, version, plural, namespace), body=encode(document)))

    async def configure(self, text: str) -> None:
        """Make the operator's ConfigMap."""
        metadata: JsonObject = {"name": CONFIG_MAP, "namespace": "tapio-system"}
        await self.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {CONFIG_KEY: text}})

    def start_watcher(self) -> None:
        self.watcher_registry = CollectorRegistry()
        self.watcher = Watcher(
            self.cluster.kube(WATCHER, user_agent="watcher"),
            self.log,
            None,
            WatcherIdentity(target="local", namespace="tapio-system", partitions=PARTITIONS),
            provision=self._provision,
            clock=self.clock,
            random=self.random,
            metrics=watcher_metrics.Metrics(self.watcher_registry),
            pace=_PACE,
        )
        self.tasks["watcher"] = asyncio.create_task(self.watcher.run(), name="watcher")

    def start_worker(self, name: str, membership: MemoryMembership | None = None, *, version: str = "1") -> None:
        """Start a worker; one with a membership of its own believes that every partition is its own."""
        identity, capacity = Identity(worker=name, operator_version=version, partitions=PARTITIONS), Capacity()
        targets = Targets("local", Applier(self.kube, self.random, self._events, self._metrics))

        def make_partition(number: int) -> Partition:
            return Partition(number, self.log, targets, identity, self.clock, self._metrics, capacity)

        worker = Worker(name, PARTITIONS, membership or self.membership, make_partition, self._metrics)
        self.workers[name] = worker
        self.tasks[name] = asyncio.create_task(worker.run(), name=name)

    async def kill(self, name: str) -> None:
        """Cut a part off at whatever await it stands."""
        task = self.tasks.pop(name)
        self.workers.pop(name, None)
        task.cancel()
        await asyncio.wait([task])

    def raise_errors(self) -> None:
        """Fail when a part has ended by itself."""
        for name, task in self.tasks.items():
            if task.done():
                task.result()
                raise AssertionError(f"{name} has ended by itself.")

    async def _provision(self) -> None:
        try:
            await self.log.info()
        except LogMissing:
            await self.log.make()

    # --- what is there ---------------------------------------------------------------------------------------------

    def objects(self) -> dict[str, str]:
        """Every object that the operator made: its ObjectRef as text -> the hash of what was wanted of it."""
        found: dict[str, str] = {}
        for _, table in self.cluster.api.store.tables():
            for stored in table.objects.values():
                document = stored.document
                wanted = strings_at(document, "metadata", "annotations").get(DESIRED_HASH)
                if wanted and any(
                    is_controlled_by_cluster(document, cluster=name, namespace="default") for name in NAMES
                ):
                    found[_name(document)] = wanted
        return found

    def wanted(self) -> dict[str, str]:
        """Every object that the last decisions name, generated ones apart: its ObjectRef as text -> its hash."""
        last = {record.cluster_uid: record for _, record in self.log.decisions() if record.objects}
        generated = {
            str(ObjectRef(action.group, action.kind, action.namespace, action.name))
            for _, record in self.log.decisions()
            for action in record.apply
            if action.mode == "generate"
        }
        named = {name: wanted for record in last.values() for name, wanted in record.objects.items()}
        return {name: wanted for name, wanted in named.items() if name not in generated}

    def paths(self) -> list[str]:
        """The paths of everything that the last decisions name and that may be deleted without a loss."""
        actions = [action for _, record in self.log.decisions() for action in record.apply]
        return (
            sorted(
                {
                    object_path(action.group, action.version, action.plural, action.namespace, action.name)
                    for action in actions
                    if action.mode != "generate" and action.kind not in {"Secret", "PersistentVolumeClaim"}
                }
            )
            or ["/api/v1/namespaces/default/configmaps/nothing"] * 5
        )

    async def patch(self, path: str, patch: JsonObject) -> None:
        """Change an object as somebody else; nothing when it is not there."""
        kind = "application/merge-patch+json"
        await self.admin.request("PATCH", path, body=encode(patch), content_type=kind)

    async def delete_cluster(self, name: str) -> None:
        """Delete a TapioCluster as a person does."""
        check(await self.admin.request("DELETE", object_path("tapio.io", "v1alpha1", "tapioclusters", "default", name)))

    def not_ready(self) -> list[str]:
        """TapioClusters whose newest generation is not Ready."""
        table = self.cluster.api.store.table("tapioclusters.tapio.io")
        return [
            f"{stored.key[1]}: {object_at(stored.document, 'status')}"
            for stored in table.objects.values()
            if not any(
                str_at(one, "type") == "Ready"
                and str_at(one, "status") == "True"
                and one.get("observedGeneration") == object_at(stored.document, "metadata").get("generation")
                for one in objects_at(stored.document, "status", "conditions")
            )
        ]

    async def until_converged(self, *, seconds: float = 1_200.0) -> None:
        """Wait until every TapioCluster is Ready and nobody writes any more for a while."""
        deadline = self.clock.monotonic() + seconds
        quiet_since, mark = self.clock.monotonic(), -1
        while True:
            self.raise_errors()
            total = self.operator_writes()
            synced = self.watcher is not None and self.watcher.is_synced
            ready = all(worker.is_ready() for worker in self.workers.values())
            if self.not_ready() or not synced or not ready or total != mark:
                quiet_since, mark = self.clock.monotonic(), total
            elif self.clock.monotonic() - quiet_since > 70.0:
                return
            if self.clock.monotonic() > deadline:
                late = self.operator_writes_named()[-20:]
                raise AssertionError(f"Not converged. {self.not_ready()}; synced {synced}, ready {ready}; {late}")
            await asyncio.sleep(1.0)

    def operator_writes(self) -> int:
        """Writes of the operator that changed something, leases apart."""
        return len(self.operator_writes_named())

    def operator_writes_named(self) -> list[str]:
        return [
            f"{write.verb} {write.resource} {write.namespace}/{write.name}/{write.subresource} {write.status}"
            for write in self.cluster.writes
            if write.user in (RECONCILER.name, WATCHER.name) and write.effective and write.resource != "leases"
        ]

    def deletes(self) -> list[str]:
        """Deletions by the operator that took effect."""
        return [one for one in self.operator_writes_named() if one.startswith("delete")]


def _name(document: JsonObject) -> str:
    group = str_at(document, "apiVersion").rpartition("/")[0]
    metadata = object_at(document, "metadata")
    return str(ObjectRef(group, str_at(document, "kind"), str_at(metadata, "namespace"), str_at(metadata, "name")))


@asynccontextmanager
async def operator_in_process(seed: int, *, workers: int = 2) -> AsyncGenerator[Operator]:
    """An operator of one watcher and `workers` workers; it begins to work on the TapioClusters of `documents`."""
    operator = Operator(seed)
    await operator.prepare()
    operator.start_watcher()
    for number in range(workers):
        operator.start_worker(f"w{number}")
    try:
        for document in documents():
            await operator.create(document)
        yield operator
        HISTORIES.extend(operator.log.lives)
    finally:
        for name in list(operator.tasks):
            await operator.kill(name)
