"""The watcher's life: lead, hydrate, list everything, say so, follow; from the start again when the log is another.

Order matters once: `Synced` is published after every fact of the lists is durable, so that whoever reads it knows that
the log holds a complete observation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from tapio_shared.api.kinds import ALL_KINDS, FLEET_KINDS, MANAGED_KINDS, OBSERVED_KINDS, RESOURCE_KINDS, Kind
from tapio_shared.api.labels import MANAGED_SELECTOR
from tapio_shared.api.operator_config import CONFIG_KEY, CONFIG_MAP, OperatorConfig, parse_operator_config
from tapio_shared.errors import InvalidSettings, LogMissing, LogRewound, RetryableError
from tapio_shared.facts import (
    ConfigurationObserved,
    DiscoveryObserved,
    ServedResource,
    SweepMarked,
    Synced,
)
from tapio_shared.json import at
from tapio_shared.kubernetes import discover
from tapio_shared.ports import Clock, EventLog, Kube, Lease, LogInfo, Random
from tapio_watcher.fleet import fleet_of
from tapio_watcher.metrics import Metrics
from tapio_watcher.publishing import FactWriter
from tapio_watcher.secrets import SecretWatches, load_digest_key
from tapio_watcher.shared_facts import SharedFacts
from tapio_watcher.sinks import Collection, ObjectSink, PodSink
from tapio_watcher.watching import KindWatch, every

log = structlog.get_logger(__name__)

LOOK_AT_LOG = 2.0
DISCOVER_EVERY = 60.0
SWEEP_LOOK_EVERY = 60.0
SETTLE = 0.3
"""Seconds in which changes of nodes become one fleet fact."""
_SWEEP_FROM = 0.75
_AGAIN = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whom this watcher watches and for which log."""

    target: str
    namespace: str
    partitions: int


class Watcher:
    """Watches one target while it leads. `provision` makes the streams when they are missing."""

    def __init__(
        self,
        kube: Kube,
        event_log: EventLog,
        lease: Lease | None,
        identity: Identity,
        *,
        provision: Callable[[], Awaitable[None]],
        clock: Clock,
        random: Random,
        metrics: Metrics,
    ) -> None:
        """`lease` is None when the operator's configuration says that exactly one watcher runs."""
        self._kube, self._log, self._lease, self._identity = kube, event_log, lease, identity
        self._provision, self._clock, self._random, self._metrics = provision, clock, random, metrics
        self._synced = False
        self._leading = False
        self._config = OperatorConfig()

    def is_ready(self) -> bool:
        """Ready is: standing by for the leader, or leading with a complete observation."""
        return self._synced or not self._leading

    async def run(self) -> None:
        """Lead whenever the lease is ours, until cancelled."""
        while True:
            if self._lease is None:
                await self._lead_again_and_again()
                continue
            await self._lease.acquire()
            leading = asyncio.create_task(self._lead_again_and_again(), name="leading")
            losing = asyncio.create_task(self._lease.lost(), name="lease-lost")
            try:
                await asyncio.wait({leading, losing}, return_when=asyncio.FIRST_COMPLETED)
                if leading.done():
                    leading.result()
                log.warning("lease lost", target=self._identity.target)
            finally:
                self._leading = self._synced = False
                for task in (leading, losing):
                    task.cancel()
                await asyncio.gather(leading, losing, return_exceptions=True)

    async def _lead_again_and_again(self) -> None:
        """Lead; when the log turns out to be another one, or shorter, observe everything anew."""
        self._leading = True
        self._metrics.leading.set(1)
        try:
            while True:
                try:
                    await self._lead()
                except* (LogMissing, LogRewound) as group:
                    log.warning("log lost", reason=str(group.exceptions[0]))
                except* RetryableError as group:
                    log.warning("watching begins anew", reason=str(group.exceptions[0]))
                self._synced = False
                self._metrics.synced.set(0)
                await asyncio.sleep(self._random.uniform(_AGAIN / 2, _AGAIN))
        finally:
            self._metrics.leading.set(0)

    async def _lead(self) -> None:
        await self._provision()
        info = await self._log.info()
        async with asyncio.TaskGroup() as group:
            await _Lead(self, info, group).run()

    # What a lead needs of its watcher.

    @property
    def kube(self) -> Kube:
        return self._kube

    @property
    def event_log(self) -> EventLog:
        return self._log

    @property
    def identity(self) -> Identity:
        return self._identity

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def random(self) -> Random:
        return self._random

    @property
    def metrics(self) -> Metrics:
        return self._metrics

    @property
    def config(self) -> OperatorConfig:
        return self._config

    @config.setter
    def config(self, config: OperatorConfig) -> None:
        self._config = config

    def synced(self) -> None:
        self._synced = True
        self._metrics.synced.set(1)


class _Lead:
    """One uninterrupted spell of leading over one log."""

    def __init__(self, watcher: Watcher, info: LogInfo, group: asyncio.TaskGroup) -> None:
        self._w, self._info, self._group = watcher, info, group
        self._target = watcher.identity.target
        self._writer = FactWriter(
            watcher.event_log, self._target, watcher.identity.partitions, watcher.clock, watcher.metrics, group
        )
        self._shared = SharedFacts(watcher.event_log, self._target, watcher.identity.partitions)
        self._watches: dict[tuple[str, str], KindWatch] = {}
        self._fleet_changed = asyncio.Event()
        self._fleet = {kind.kind: Collection(self._fleet_changed.set) for kind in FLEET_KINDS}
        self._config_changed = asyncio.Event()
        self._config_map = Collection(self._config_changed.set)
        self._pods = PodSink(self._writer, self._target, watcher.clock, group)
        self._newest = info.last_sequence

    async def run(self) -> None:
        await self._writer.hydrate()
        await self._shared.hydrate()
        digest_key, key_id = await load_digest_key(self._w.kube, self._w.identity.namespace, self._w.random)
        secret_sink = ObjectSink(self._writer, self._target, self._w.clock, digest_key=digest_key, key_id=key_id)
        self._secrets = SecretWatches(self._w.kube, secret_sink, self._writer, self._target, self._group)
        served = await self._discover()
        self._start_watches(served)
        await self._start_config()
        create = self._group.create_task
        create(self._follow_fleet(), name="fleet")
        create(self._follow_config(), name="config")
        create(self._watch_log(), name="log")
        create(every(lambda: DISCOVER_EVERY, self._discover_again, "discovery"), name="discovery")
        create(every(self._interval, self._compare, "comparison"), name="comparison")
        create(every(lambda: SWEEP_LOOK_EVERY, self._sweep_if_due, "sweep"), name="sweep")
        await self._sync()

    async def _sync(self) -> None:
        """Wait for every list, then for every fact of them, then say that the observation is complete."""
        for watch in list(self._watches.values()):
            await watch.is_listed.wait()
        await self._publish_config()
        await self._publish_fleet()
        await self._writer.flush()
        kinds = sorted(f"{kind}.{group}" if group else kind for group, kind in self._watches)
        fact = Synced(generation=self._info.created_at, kinds=kinds, synced_at=self._w.clock.now())
        await self._shared.publish("synced", fact)
        self._w.synced()
        log.info(
            "synced", target=self._target, kinds=len(kinds), objects=sum(one.count for one in self._watches.values())
        )

    async def _discover(self) -> list[ServedResource]:
        wanted = [(kind.group, kind.kind) for kind in ALL_KINDS]
        version, found = await discover(self._w.kube, wanted)
        usable = [one for one in found if one.version in _VERSIONS.get((one.group, one.kind), ())]
        fact = DiscoveryObserved(version=version, resources=usable, observed_at=self._w.clock.now())
        await self._shared.publish("discovery", fact)
        return usable

    async def _discover_again(self) -> None:
        self._start_watches(await self._discover())

    def _start_watches(self, served: list[ServedResource]) -> None:
        """Begin to follow every served kind that is not followed yet."""
        best: dict[tuple[str, str], ServedResource] = {}
        for one in served:
            name = (one.group, one.kind)
            order = _VERSIONS[name]
            if name not in best or order.index(one.version) < order.index(best[name].version):
                best[name] = one
        for kind in (*RESOURCE_KINDS, *MANAGED_KINDS, *OBSERVED_KINDS, *FLEET_KINDS):
            name = (kind.group, kind.kind)
            if name in best and name not in self._watches:
                self._watches[name] = self._watch(kind, best[name])

    def _watch(self, kind: Kind, resource: ServedResource) -> KindWatch:
        if kind in FLEET_KINDS:
            watch = KindWatch(self._w.kube, resource, self._fleet[kind.kind], self._w.random, self._w.metrics)
        elif kind.kind == "Pod":
            watch = KindWatch(self._w.kube, resource, self._pods, self._w.random, self._w.metrics, selector=_MANAGED)
        else:
            own = kind in RESOURCE_KINDS
            sink = ObjectSink(self._writer, self._target, self._w.clock, also=self._secrets.told if own else None)
            sink.kinds = frozenset({(kind.group, kind.kind)})
            watch = KindWatch(
                self._w.kube, resource, sink, self._w.random, self._w.metrics, selector=None if own else _MANAGED
            )
            sink.fetch = watch.fetch
        self._group.create_task(watch.run(), name=f"watch-{kind.kind}")
        return watch

    async def _start_config(self) -> None:
        resource = ServedResource(group="", version="v1", kind="ConfigMap", plural="configmaps", namespaced=True)
        watch = KindWatch(
            self._w.kube,
            resource,
            self._config_map,
            self._w.random,
            self._w.metrics,
            namespace=self._w.identity.namespace,
            selector={"fieldSelector": f"metadata.name={CONFIG_MAP}"},
        )
        self._group.create_task(watch.run(), name="watch-config")
        await watch.is_listed.wait()

    async def _follow_fleet(self) -> None:
        while True:
            await self._fleet_changed.wait()
            await asyncio.sleep(SETTLE)
            self._fleet_changed.clear()
            if all(self._watches[name].is_listed.is_set() for name in self._watches if name[1] in self._fleet):
                await self._publish_fleet()

    async def _publish_fleet(self) -> None:
        fleet = self._fleet
        fact = fleet_of(
            fleet["Node"].objects,
            storage_classes=fleet["StorageClass"].objects,
            namespaces=fleet["Namespace"].objects,
            priority_classes=fleet["PriorityClass"].objects,
            allowed_namespaces=self._w.config.node_agents.allowed_namespaces,
            now=self._w.clock.now(),
        )
        await self._shared.publish("fleet", fact)

    async def _follow_config(self) -> None:
        while True:
            await self._config_changed.wait()
            self._config_changed.clear()
            await self._publish_config()
            self._fleet_changed.set()

    async def _publish_config(self) -> None:
        """Take a new configuration over when it is right; else keep the last good one and say what is wrong."""
        problems: list[str] = []
        found = self._config_map.objects
        text = at(found[0], "data", CONFIG_KEY) if found else None
        try:
            self._w.config = parse_operator_config(text) if isinstance(text, str) else OperatorConfig()
        except InvalidSettings as err:
            problems.append(str(err))
            log.warning("configuration refused", error=str(err))
        document = self._w.config.model_dump(mode="json", by_alias=True)
        fact = ConfigurationObserved(configuration=document, problems=problems, observed_at=self._w.clock.now())
        await self._shared.publish("config", fact)

    def _interval(self) -> float:
        """`reconcileInterval` as it is configured now, in seconds."""
        return self._w.config.interval.total_seconds()

    async def _compare(self) -> None:
        for name in sorted(self._watches):
            await self._watches[name].compare()

    async def _watch_log(self) -> None:
        """`LogRewound` when the stream was made anew or is shorter than it was: all that we know of it is void."""
        while True:
            await asyncio.sleep(LOOK_AT_LOG)
            try:
                info = await self._w.event_log.info()
            except LogMissing:
                raise
            except RetryableError as err:
                log.warning("log not answering", error=str(err))
                continue
            if info.created_at != self._info.created_at:
                raise LogRewound("The stream was made anew; everything is observed again.")
            if info.last_sequence < self._newest:
                seen = self._newest
                raise LogRewound(f"The stream ends at {info.last_sequence} and {seen} was seen; all is observed again.")
            self._newest = info.last_sequence

    async def _sweep_if_due(self) -> None:
        """Publish anew what lies in the oldest quarter of the stream, when age or size have come near their limit."""
        info = await self._w.event_log.info()
        full = info.max_bytes > 0 and info.bytes > _SWEEP_FROM * info.max_bytes
        oldest = await self._oldest_age(info)
        if not full and not (info.max_age > 0 and oldest > _SWEEP_FROM * info.max_age):
            return
        below = info.first_sequence + (info.last_sequence - info.first_sequence) // 4
        await self._mark("started", below)
        for subject, sequence in self._writer.subjects_below(below):
            await self._writer.republish(subject, sequence)
        await self._shared.below(below)
        await self._mark("ended", below)
        log.info("swept", below=below)

    async def _oldest_age(self, info: LogInfo) -> float:
        """Seconds since the oldest fact that is still somebody's last was written; 0 when there is none."""
        for subject, _ in self._writer.subjects_below(info.last_sequence + 1):
            last = await self._w.event_log.last(subject)
            return 0.0 if last is None else (self._w.clock.now() - last.written_at) / 1000
        return 0.0

    async def _mark(self, phase: str, below: int) -> None:
        await self._shared.publish("sweep", SweepMarked(phase=phase, below=below, marked_at=self._w.clock.now()))


_MANAGED = {"labelSelector": MANAGED_SELECTOR}
_VERSIONS = {(kind.group, kind.kind): kind.versions for kind in ALL_KINDS}
