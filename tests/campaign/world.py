"""The whole operator, its log and its Kubernetes clusters in one event loop, each part on links that may fail.

A part can be frozen, thawed, killed and started again at any await of any other; the servers can be cut off, slowed
down, restarted and robbed of what they hold.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec
import yaml
from prometheus_client import CollectorRegistry

from tapio_reconciler.shell import metrics as reconciler_metrics
from tapio_reconciler.shell.applying import Applier
from tapio_reconciler.shell.capacity import Capacity
from tapio_reconciler.shell.events import EventWriter
from tapio_reconciler.shell.identity import Identity
from tapio_reconciler.shell.partition import Partition
from tapio_reconciler.shell.targets import Targets
from tapio_reconciler.shell.worker import Worker
from tapio_shared.adapters.kube_lease import KubeLease
from tapio_shared.adapters.random import SeededRandom
from tapio_shared.errors import LogMissing
from tapio_shared.facts import TargetObserved
from tapio_shared.json import JsonObject
from tapio_shared.ports import Kube
from tapio_simulator.api import Options
from tapio_simulator.calls import User
from tapio_simulator.cluster import SimulatedCluster
from tapio_simulator.controllers import ControllerSettings, run_controllers
from tapio_simulator.kubelet import KubeletSettings
from tapio_simulator.kubelet.settings import fleet
from tapio_watcher import metrics as watcher_metrics
from tapio_watcher.watcher import Identity as WatcherIdentity
from tapio_watcher.watcher import Pace, Watcher
from tests.campaign.deliveries import DeliveringServer
from tests.campaign.history import CampaignLog
from tests.campaign.links import Link, Members, PartClock, PartKube, PartLog, PartMembership, Weather
from tests.campaign.parts import this_loop
from tests.support.kube_without_streams import OldEtcd
from tests.support.virtual_time import VirtualClock

ROOT = Path(__file__).parents[2]
HOME, FAR = "local", "far"
NAMESPACE = "default"
RECONCILER = User("reconciler", ("system:masters",))
WATCHER = User("watcher", ("system:masters",))
CONTROLLERS = User("system:kube-controller-manager", ("system:masters",))
_PACE = Pace(look_at_log=2.0, discover=20.0, settle=0.05, cursors=30.0)
_KUBELET = KubeletSettings(
    nodes=fleet(1),
    startup=(0.0, 0.0),
    shutdown=(0.0, 0.0),
    job_seconds=0.0,
    crash_backoff=(0.2, 1.0),
    heartbeat=100_000.0,
)
ServerAge = Literal["newest", "beside an old etcd", "1.20"]
"""The newest streams lists and has comparable versions. Beside an old etcd it refuses streams; 1.20 does neither."""
_RELEASES: Mapping[ServerAge, str] = {"1.20": "v1.20.2"}
INTERVAL = 40
"""Seconds: the operator's `reconcileInterval` where a schedule says nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a schedule begins with."""

    seed: int
    partitions: int = 2
    workers: int = 2
    watchers: int = 1
    is_far: bool = False
    """Whether there is a second Kubernetes cluster."""
    max_bytes: int = -1
    interval: int = INTERVAL
    """Seconds: the operator's `reconcileInterval`."""
    server: ServerAge = "newest"
    """What the API servers can do."""
    logic: int = 1
    """`plannerLogic`, as the configuration says it; schedules that were kept say what was the only one then."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One write as the reconciler asked for it, and how much the log had stored at that moment."""

    stored: int
    target: str
    method: str
    path: str
    document: JsonObject


@dataclass(slots=True)
class Part:
    """One process of the operator, while it lives."""

    name: str
    incarnation: str
    task: asyncio.Task[None]
    to_log: Link
    to_api: Link
    clock: PartClock
    worker: Worker | None = None
    watcher: Watcher | None = None

    @property
    def links(self) -> tuple[Link, Link]:
        return self.to_log, self.to_api


@dataclass(slots=True)
class World:
    """Made by `world`; `parts` are those that live, by their names."""

    setup: Setup
    clock: VirtualClock
    log: CampaignLog
    server: DeliveringServer
    clusters: dict[str, SimulatedCluster]
    fired: Counter[str]
    members: Members = field(default_factory=Members)
    weather: Weather = field(default_factory=Weather)
    parts: dict[str, Part] = field(default_factory=dict[str, Part])
    asked: list[Asked] = field(default_factory=list[Asked])
    expiries: dict[str, asyncio.TimerHandle] = field(default_factory=dict[str, asyncio.TimerHandle])
    _born: Counter[str] = field(default_factory=Counter[str])
    _metrics: reconciler_metrics.Metrics = field(
        default_factory=lambda: reconciler_metrics.Metrics(CollectorRegistry())
    )

    # --- parts -------------------------------------------------------------------------------------------------

    def start_all(self) -> None:
        """Start whatever does not run."""
        for target in self.clusters:
            for number in range(self.setup.watchers if target == HOME else 1):
                self.start_watcher(f"watcher-{target}-{number}", target)
        for number in range(self.setup.workers):
            self.start_worker(f"worker-{number}")

    def start(self, name: str) -> None:
        """Start a part again that was killed."""
        if name.startswith("watcher-"):
            self.start_watcher(name, name.split("-")[1])
        else:
            self.start_worker(name)

    def _born_as(self, name: str) -> tuple[str, random.Random]:
        self._born[name] += 1
        incarnation = f"{name}#{self._born[name]}"
        return incarnation, random.Random(f"{self.setup.seed} {incarnation}")

    def _links(self, rng: random.Random) -> tuple[Link, Link]:
        return Link(rng, self.fired, "NATS"), Link(rng, self.fired, "the API server")

    def start_watcher(self, name: str, target: str, *, asks: bool = True) -> None:
        """Start a watcher; one that does not ask leads whoever holds the Lease."""
        if name in self.parts:
            return
        incarnation, rng = self._born_as(name)
        (to_log, to_api), clock = self._links(rng), PartClock(self.clock)
        kube = PartKube(self._watched(target), to_api, None)
        home = kube if target == HOME else PartKube(self._watched(HOME), to_api, None)
        told = TargetObserved(state="connected", server="https://far", credentials="1", observed_at=self.clock.now())
        watcher = Watcher(
            kube,
            PartLog(self.log, self.server, to_log, self.weather, rng),
            KubeLease(home, clock, namespace="tapio-system", name="tapio-watcher-local", holder=incarnation)
            if self.setup.watchers > 1 and target == HOME and asks
            else None,
            WatcherIdentity(
                target=target,
                namespace="tapio-system",
                partitions=self.setup.partitions,
                connection=None if target == HOME else told,
            ),
            provision=self._provision,
            clock=clock,
            random=SeededRandom(rng.randrange(1 << 30)),
            metrics=watcher_metrics.Metrics(CollectorRegistry()),
            home=home,
            pace=_PACE,
        )
        task = this_loop().start(incarnation, watcher.run())
        self.parts[name] = Part(name, incarnation, task, to_log, to_api, clock, watcher=watcher)

    def _watched(self, target: str) -> Kube:
        kube = self.clusters[target].kube(WATCHER, user_agent="watcher")
        return OldEtcd(kube) if self.setup.server == "beside an old etcd" else kube

    def start_worker(self, name: str, members: Members | None = None) -> None:
        """Start a worker; one with members of its own believes that every partition is its own."""
        if name in self.parts:
            return
        incarnation, rng = self._born_as(name)
        (to_log, to_api), clock = self._links(rng), PartClock(self.clock)
        log = PartLog(self.log, self.server, to_log, self.weather, rng)
        identity = Identity(worker=incarnation, operator_version="1", partitions=self.setup.partitions)
        metrics, made = self._metrics, SeededRandom(rng.randrange(1 << 30))

        def kube_of(target: str) -> PartKube:
            def asked(method: str, path: str, body: bytes | None, is_dry: bool) -> None:
                if not is_dry:
                    document: JsonObject = {} if body is None else msgspec.json.decode(body)
                    self.asked.append(Asked(self.log.stored, target, method, path, document))

            return PartKube(self.clusters[target].kube(RECONCILER, user_agent="reconciler"), to_api, asked)

        def applier_of(kube: Kube) -> Applier:
            return Applier(kube, made, EventWriter(kube, clock), metrics)

        @asynccontextmanager
        async def connected(target: str) -> AsyncGenerator[Kube]:
            yield kube_of(target)

        async def connect(target: str) -> AbstractAsyncContextManager[Kube]:
            return connected(target)

        targets = Targets(HOME, applier_of(kube_of(HOME)), connect, applier_of)
        capacity = Capacity()

        def partition_of(number: int) -> Partition:
            return Partition(number, log, targets, identity, clock, metrics, capacity)

        membership = PartMembership(members or self.members, to_log, self.weather)
        worker = Worker(name, self.setup.partitions, membership, partition_of, metrics)
        self._keep_member(name)
        task = this_loop().start(incarnation, worker.run())
        self.parts[name] = Part(name, incarnation, task, to_log, to_api, clock, worker=worker)

    def kill(self, name: str) -> None:
        """As `kill -9` does: none of the part's code runs any more; what it sent is on its way."""
        part = self.parts.pop(name)
        this_loop().freeze(part.incarnation)
        self._expire_member(name)

    def freeze(self, name: str) -> None:
        this_loop().freeze(self.parts[name].incarnation)
        self._expire_member(name)

    def thaw(self, name: str) -> None:
        part = self.parts.get(name)
        if part is not None:
            this_loop().thaw(part.incarnation)
            self._renew_member(part)

    def _expire_member(self, name: str) -> None:
        """A member that renews itself no more is one for a little longer."""
        if name in self.members.names and name not in self.expiries:
            after = random.Random(f"{self.setup.seed} {name} {self.clock.now()}").uniform(0.5, 8.0)
            self.expiries[name] = this_loop().call_later(after, self._drop_member, name)

    def _drop_member(self, name: str) -> None:
        self.expiries.pop(name, None)
        self.members.drop(name)

    def _keep_member(self, name: str) -> None:
        expiry = self.expiries.pop(name, None)
        if expiry is not None:
            expiry.cancel()

    def _renew_member(self, part: Part) -> None:
        self._keep_member(part.name)
        if part.worker is not None:
            self.members.put(part.name)

    async def _provision(self) -> None:
        try:
            await self.log.info()
        except LogMissing:
            await self.log.make()

    # --- people ------------------------------------------------------------------------------------------------

    async def admin(
        self, method: str, path: str, body: JsonObject | None = None, *, target: str = HOME
    ) -> tuple[int, JsonObject]:
        """A request of somebody else, which no fault touches; answers status and document."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else msgspec.json.encode(body)
        answer = (
            await self.clusters[target].kube(user_agent="somebody").request(method, path, body=data, content_type=kind)
        )
        return answer.status, msgspec.json.decode(answer.body or b"{}")

    def documents(self, target: str = HOME) -> list[JsonObject]:
        """Every object of a Kubernetes cluster."""
        return [
            stored.document
            for _, table in self.clusters[target].api.store.tables()
            for stored in table.objects.values()
        ]

    def effective_writes(self) -> int:
        """How many writes of the operator changed something, leases apart."""
        return sum(
            1
            for cluster in self.clusters.values()
            for write in cluster.writes
            if write.effective and write.user in (RECONCILER.name, WATCHER.name) and write.resource not in _LEASES
        )


_LEASES = ("leases", "leases.coordination.k8s.io")


@lru_cache
def _manifests() -> tuple[bytes, ...]:
    return tuple(
        msgspec.json.encode(document)
        for name in ("deploy/operator/namespaces.yaml", "crds/crds.yaml")
        for document in yaml.load_all((ROOT / name).read_text(), Loader=yaml.CSafeLoader)
    )


_COLLECTIONS = {
    "Namespace": "/api/v1/namespaces",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
}


async def _prepared(clock: VirtualClock, seed: int, setup: Setup) -> SimulatedCluster:
    options = Options(release=_RELEASES.get(setup.server, ""))
    cluster = SimulatedCluster(clock, SeededRandom(seed), options=options)
    await cluster.prepare()
    admin = cluster.kube(user_agent="kubectl")
    for data in _manifests():
        document: JsonObject = msgspec.json.decode(data)
        await admin.request("POST", _COLLECTIONS[str(document["kind"])], body=data)
    metadata: JsonObject = {"name": "tapio-operator-config", "namespace": "tapio-system"}
    text: JsonObject = {"config.yaml": f"reconcileInterval: {setup.interval}s\nplannerLogic: {setup.logic}\n"}
    config: JsonObject = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": text}
    await admin.request("POST", "/api/v1/namespaces/tapio-system/configmaps", body=msgspec.json.encode(config))
    controllers = run_controllers(
        cluster.kube(CONTROLLERS, user_agent="kube-controller-manager"),
        clock,
        SeededRandom(seed + 1),
        ControllerSettings(kubelet=_KUBELET),
    )
    asyncio.get_running_loop().create_task(controllers, name="controllers")
    return cluster


async def made(setup: Setup) -> World:
    """The world before any part runs; its controllers run until the loop ends."""
    clock, fired = VirtualClock(), Counter[str]()
    log = CampaignLog(clock, setup.partitions, setup.max_bytes)
    clusters = {HOME: await _prepared(clock, setup.seed, setup)}
    if setup.is_far:
        clusters[FAR] = await _prepared(clock, setup.seed + 1, setup)
    server = DeliveringServer(log, random.Random(f"{setup.seed} deliveries"), fired)
    return World(setup, clock, log, server, clusters, fired)
