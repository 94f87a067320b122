"""One uninterrupted spell of leading over one log: hydrate, list everything, say so, follow.

Order matters once: `Synced` is published after every fact of the lists is durable, so that whoever reads it knows that
the log holds a complete observation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from tapio_shared.api.kinds import (
    ALL_KINDS,
    DISCOVERED_KINDS,
    FLEET_KINDS,
    MANAGED_KINDS,
    OBSERVED_KINDS,
    RESOURCE_KINDS,
    Kind,
)
from tapio_shared.api.labels import MADE_SELECTOR, MANAGED_SELECTOR
from tapio_shared.api.operator_config import CONFIG_MAP, Limits
from tapio_shared.errors import TapioError
from tapio_shared.facts import DiscoveryObserved, ServedResource, Synced, TargetObserved
from tapio_shared.kubernetes import discover, identity_of
from tapio_shared.ports import Clock, EventLog, Kube, LogInfo, Random
from tapio_watcher.api import Api, Streams
from tapio_watcher.authorities import Authorities
from tapio_watcher.configuration import Configuration, text_of
from tapio_watcher.cursors import Cursors
from tapio_watcher.digest_key import load_digest_key
from tapio_watcher.fleet import fleet_of, seen_class, seen_namespace, seen_node
from tapio_watcher.following import KindWatch, Sink
from tapio_watcher.generation import generation_of
from tapio_watcher.guarding import LogGuard
from tapio_watcher.metrics import Metrics
from tapio_watcher.past import Told, kind_name
from tapio_watcher.pod_sink import PodSink
from tapio_watcher.publishing import FactWriter
from tapio_watcher.refusal_sink import RefusalSink, RefusedWorkloads
from tapio_watcher.refusals import SELECTOR, WORKLOADS
from tapio_watcher.scalers import AutoscalerSink, Scalers
from tapio_watcher.secrets import SecretWatches
from tapio_watcher.shared_facts import SharedFacts
from tapio_watcher.sinks import Collection, ObjectSink, References
from tapio_watcher.watching import are_comparable, offers_streams

log = structlog.get_logger(__name__)

LISTS_AT_ONCE = 2
"""Lists that are read at once: a page of 250 pods takes some 4 MB when it is decoded, a stream half a megabyte."""
_STILL_LISTING = 15.0
_MANAGED, _MADE = {"labelSelector": MANAGED_SELECTOR}, {"labelSelector": MADE_SELECTOR}
_DISCOVERED = (*ALL_KINDS, *DISCOVERED_KINDS)
_OPTIONAL = frozenset(kind.group for kind in DISCOVERED_KINDS)
_VERSIONS = {(kind.group, kind.kind): kind.versions for kind in _DISCOVERED}
_FOLLOWED = (*RESOURCE_KINDS, *MANAGED_KINDS, *OBSERVED_KINDS, *FLEET_KINDS)

GroupKind = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whom this watcher watches and for which log."""

    target: str
    namespace: str
    """The operator's own namespace, in the operator's own cluster."""
    partitions: int
    connection: TargetObserved | None = None
    """How the target is reached, when it is not the operator's own cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds between rounds of what is done again and again. `reconcileInterval` is the configuration's."""

    look_at_log: float = 2.0
    discover: float = 60.0
    """A kind whose CRD is installed later is followed after at most this long."""
    settle: float = 0.3
    """In which changes of nodes become one fleet fact."""
    cursors: float = 60.0
    flush: float = 5.0
    """In which a watcher that is asked to end appends what it was told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a lead works with."""

    kube: Kube
    """The target's API."""
    home: Kube
    """The API of the operator's own cluster, where its configuration and the digest key are."""
    event_log: EventLog
    clock: Clock
    random: Random
    metrics: Metrics
    identity: Identity
    pace: Pace
    configuration: Configuration
    limit: Callable[[Limits], None]
    """Takes the limits for the target's API server, as they are configured now."""


class Lead:
    """Leads over the log that `info` describes. Watches run in `group`, which ends when the log is lost."""

    def __init__(
        self,
        given: Surroundings,
        info: LogInfo,
        writer: FactWriter,
        group: asyncio.TaskGroup,
        *,
        backwards: bool,
        synced: Callable[[], None],
    ) -> None:
        """`backwards`: the log was lost or cut short since it was last seen. `synced` is called when all is told."""
        self._given, self._info, self._writer, self._group = given, info, writer, group
        self._backwards, self._say_synced = backwards, synced
        self._target = given.identity.target
        self._shared = SharedFacts(given.event_log, self._target, given.identity.partitions, given.clock)
        self._cursors = Cursors(given.event_log, self._target, given.clock)
        self.guard = LogGuard(
            given.event_log, info, writer, self._shared, given.clock, given.metrics, trusted=not backwards
        )
        self._watches: dict[GroupKind, tuple[KindWatch, asyncio.Task[None]]] = {}
        self._kinds_changed = asyncio.Event()
        self._fleet_changed, self._config_changed = asyncio.Event(), asyncio.Event()
        self._nodes = Collection(seen_node, self._fleet_changed.set)
        self._namespaces = Collection(seen_namespace, self._fleet_changed.set)
        self._storage_classes = Collection(seen_class, self._fleet_changed.set)
        self._priority_classes = Collection(seen_class, self._fleet_changed.set)
        self._config_map = Collection(text_of, self._config_changed.set)
        self._refusals = RefusalSink(writer, given.clock)
        self._scalers = Scalers(writer, given.clock)
        self._pods = PodSink(writer, self._target, given.clock, group, self._refusals)
        self._generation = ""

    async def run(self) -> None:
        """Begin everything, and return; the tasks go on in the group."""
        given = self._given
        await self._cursors.hydrate()
        self._told = Told(self._cursors.moved())
        await self._writer.hydrate(self._info.last_sequence, self._told)
        await self._shared.hydrate(self._info.last_sequence)
        self._generation = generation_of(
            self._info, self._shared.last("synced"), backwards=self._backwards, now=given.clock.now()
        )
        given.configuration.remember(self._shared.last("config"))
        digest_key = await load_digest_key(given.home, given.identity.namespace, given.random)
        version, served = await self._discover()
        if are_comparable(version):
            self._cursors.cluster = await identity_of(given.kube)
        self._api = Api(
            kube=given.kube,
            random=given.random,
            metrics=given.metrics,
            room=self._writer.room,
            lists=asyncio.Semaphore(LISTS_AT_ONCE),
            streams=Streams(offers_streams(version)),
            comparable=are_comparable(version),
        )
        self._secrets = SecretWatches(
            self._api, self._writer, given.clock, digest_key, self._group, trusted=not self._backwards
        )
        self._authorities = Authorities(self._api, self._writer, self._target, given.clock, self._group)
        self._authorities.configured(given.configuration.authorities)
        self._config_watch = self._watch_config()
        self._watch_refusals()
        self._follow_served(served)
        self._secrets.start(self._resources_listed)
        begin = self._group.create_task
        begin(self._sync(), name="sync")
        begin(self._follow_fleet(), name="fleet")
        begin(self._follow_config(), name="config")
        begin(self._again(lambda: given.pace.look_at_log, self.guard.look, "log"), name="log")
        begin(self._again(lambda: given.pace.discover, self._discover_again, "discovery"), name="discovery")
        begin(self._again(self._interval, self._compare, "comparison"), name="comparison")
        begin(self._again(lambda: given.pace.cursors, self._move_cursors, "cursors"), name="cursors")

    # --- saying that all is told -------------------------------------------------------------------------------

    async def _sync(self) -> None:
        """Whenever the followed kinds change: wait for every list, then for every fact of them, then say so."""
        while True:
            await self._kinds_changed.wait()
            self._kinds_changed.clear()
            await self._all_listed()
            await self._secrets.settled()
            await self._publish_config()
            await self._authorities.settled()
            await self._publish_fleet()
            await self._writer.flush()
            kinds = sorted(kind_name(*name) for name in self._watches)
            fact = Synced(
                generation=self._generation,
                kinds=kinds,
                synced_at=self._given.clock.now(),
                complete_from=self.guard.vouch(),
            )
            await self._shared.publish("synced", fact)
            if self._given.identity.connection is not None:
                await self._shared.publish("target", self._given.identity.connection)
            self._given.metrics.known.set(len(self._writer.known))
            self._say_synced()
            objects = sum(watch.count for watch, _ in self._watches.values())
            log.info("synced", target=self._target, kinds=len(kinds), objects=objects, generation=self._generation)

    async def _all_listed(self) -> None:
        while True:
            missing = [watch for watch, _ in self._watches.values() if not watch.is_listed.is_set()]
            missing += [] if self._config_watch.is_listed.is_set() else [self._config_watch]
            if not missing:
                return
            try:
                async with asyncio.timeout(_STILL_LISTING):
                    await missing[0].is_listed.wait()
            except TimeoutError:
                log.warning("still listing", kinds=[watch.resource.kind for watch in missing])

    async def _resources_listed(self) -> None:
        """Wait for the lists of the custom resources that are served."""
        for kind in RESOURCE_KINDS:
            if (kind.group, kind.kind) in self._watches:
                await self._watches[kind.group, kind.kind][0].is_listed.wait()

    # --- kinds -------------------------------------------------------------------------------------------------

    async def _discover(self) -> tuple[str, list[ServedResource]]:
        wanted = [(kind.group, kind.kind) for kind in _DISCOVERED]
        version, found = await discover(self._given.kube, wanted, optional=_OPTIONAL)
        usable = [one for one in found if one.version in _VERSIONS.get((one.group, one.kind), ())]
        fact = DiscoveryObserved(version=version, resources=usable, observed_at=self._given.clock.now())
        await self._shared.publish("discovery", fact)
        return version, usable

    async def _discover_again(self) -> None:
        _, served = await self._discover()
        self._follow_served(served)

    def _follow_served(self, served: list[ServedResource]) -> None:
        """Follow every served kind, under the version that we prefer; no more those that are not served.

        What the log holds of a kind that is not served stays: that nobody answers is no word on what exists.
        """
        best: dict[GroupKind, ServedResource] = {}
        for one in served:
            name = (one.group, one.kind)
            order = _VERSIONS[name]
            if name not in best or order.index(one.version) < order.index(best[name].version):
                best[name] = one
        for name, (watch, task) in list(self._watches.items()):
            if best.get(name) != watch.resource:
                log.info("kind followed no more", kind=name[1], version=watch.resource.version)
                task.cancel()
                watch.is_listed.set()
                del self._watches[name]
                self._kinds_changed.set()
        for kind in _FOLLOWED:
            name = (kind.group, kind.kind)
            if name in best and name not in self._watches:
                watch = self._watch_of(kind, best[name])
                task = self._group.create_task(watch.run(), name=f"watch-{kind.kind}")
                self._watches[name] = (watch, task)
                self._kinds_changed.set()

    def _watch_of(self, kind: Kind, resource: ServedResource) -> KindWatch:
        fleet: dict[str, Sink] = {
            "Node": self._nodes,
            "Namespace": self._namespaces,
            "StorageClass": self._storage_classes,
            "PriorityClass": self._priority_classes,
        }
        name = kind_name(kind.group, kind.kind)
        seen = self._told.of(name) if self._cursors.is_of_this_cluster(name) else ""
        if kind in FLEET_KINDS:
            return KindWatch(self._api, resource, fleet[kind.kind], seen=seen)
        if kind.kind == "Pod":
            return KindWatch(self._api, resource, self._pods, selector=_MANAGED, seen=seen)
        is_ours = kind in RESOURCE_KINDS
        references: Sequence[References] = (self._secrets, self._authorities) if is_ours else ()
        if kind.kind in WORKLOADS:
            references = (RefusedWorkloads(kind.group, self._refusals),)
        if kind.kind == "Deployment":
            references = (self._scalers,)
        sink = ObjectSink(
            self._writer,
            self._target,
            self._given.clock,
            group=kind.group,
            kind=kind.kind,
            references=references,
        )
        if kind.kind == "HorizontalPodAutoscaler":
            watch = KindWatch(self._api, resource, AutoscalerSink(sink, self._scalers), seen=seen)
        else:
            selector = None if is_ours else _MADE if kind in MANAGED_KINDS else _MANAGED
            watch = KindWatch(self._api, resource, sink, selector=selector, seen=seen)
        sink.fetch = watch.fetch
        return watch

    def _watch_config(self) -> KindWatch:
        given = self._given
        is_own = given.home is given.kube
        watch = KindWatch(
            self._api if is_own else replace(self._api, kube=given.home, streams=Streams(), comparable=False),
            ServedResource(group="", version="v1", kind="ConfigMap", plural="configmaps", namespaced=True),
            self._config_map,
            namespace=given.identity.namespace,
            selector={"fieldSelector": f"metadata.name={CONFIG_MAP}"},
        )
        self._group.create_task(watch.run(), name="watch-config")
        return watch

    def _watch_refusals(self) -> None:
        """Nothing waits for these, and no comparison is made: Events explain what is, and expire.

        API servers keep no cache of Events, so that every list of them reads all there are.
        """
        resource = ServedResource(group="", version="v1", kind="Event", plural="events", namespaced=True)
        watch = KindWatch(self._api, resource, self._refusals, selector=SELECTOR)
        self._group.create_task(watch.run(), name="watch-events")

    # --- shared facts ------------------------------------------------------------------------------------------

    async def _follow_fleet(self) -> None:
        while True:
            await self._fleet_changed.wait()
            await asyncio.sleep(self._given.pace.settle)
            self._fleet_changed.clear()
            collections = (self._nodes, self._namespaces, self._storage_classes, self._priority_classes)
            if all(one.is_complete.is_set() for one in collections):
                await self._publish_fleet()

    async def _publish_fleet(self) -> None:
        fact = fleet_of(
            self._nodes,
            storage_classes=self._storage_classes,
            namespaces=self._namespaces,
            priority_classes=self._priority_classes,
            allowed_namespaces=self._given.configuration.current.node_agents.allowed_namespaces,
            now=self._given.clock.now(),
        )
        await self._shared.publish("fleet", fact)

    async def _follow_config(self) -> None:
        while True:
            await self._config_changed.wait()
            self._config_changed.clear()
            if self._config_map.is_complete.is_set():
                await self._publish_config()
                self._fleet_changed.set()

    async def _publish_config(self) -> None:
        self._given.configuration.take(next(iter(self._config_map), None))
        self._given.limit(self._given.configuration.current.limits_of(self._target))
        self._authorities.configured(self._given.configuration.authorities)
        await self._shared.publish("config", self._given.configuration.fact(self._given.clock.now()))

    # --- again and again ---------------------------------------------------------------------------------------

    def _interval(self) -> float:
        """`reconcileInterval` as it is configured now, in seconds."""
        return self._given.configuration.current.interval.total_seconds()

    async def _compare(self) -> None:
        for name in sorted(self._watches):
            if name in self._watches:
                try:
                    await self._watches[name][0].compare()
                except TapioError as err:
                    log.warning("comparison failed", kind=name[1], error=str(err))
        await self._config_watch.compare()
        await self._authorities.compare()

    async def _move_cursors(self) -> None:
        for group, kind in sorted(self._watches):
            watch = self._watches[group, kind][0]
            version, at_once = watch.version, watch.was_restored
            if version:
                await self._cursors.move(kind_name(group, kind), version, self._generation, at_once=at_once)
                watch.was_restored = watch.was_restored and not at_once
        self._given.metrics.known.set(len(self._writer.known))

    async def _again(self, seconds: Callable[[], float], work: Callable[[], Awaitable[None]], what: str) -> None:
        """Do `work` again and again, `seconds()` apart; a failure is logged and waits for the next time."""
        while True:
            await asyncio.sleep(seconds())
            try:
                await work()
            except TapioError as err:
                if self.guard.is_lost(err):
                    raise
                log.warning("periodic work failed", what=what, error=str(err))
