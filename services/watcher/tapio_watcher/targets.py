"""Every target that a Secret tells of, each watched by a watcher of its own under a Lease of its own.

Watchers of targets share this process and the log, and nothing that one of them could hold up for another: a target
that does not answer is tried again by itself. Targets come, change and go while this runs. Which ones there are is
read from the API server each time something is to be said of it: that a watch tells of no Secret proves nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Set
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from tapio_shared.api.labels import TARGET
from tapio_shared.codec import encode
from tapio_shared.errors import RetryableError, TapioError, TargetMissing, UnusableTarget
from tapio_shared.facts import ServedResource, TargetObserved
from tapio_shared.json import JsonObject, str_at
from tapio_shared.keys import parse_subject
from tapio_shared.ports import Clock, EventLog, Kube, Lease, Random
from tapio_shared.targets import Target, read_target
from tapio_watcher.api import Api
from tapio_watcher.digest_key import load_digest_key
from tapio_watcher.following import KindWatch
from tapio_watcher.leading import LISTS_AT_ONCE, Identity
from tapio_watcher.metrics import Metrics
from tapio_watcher.shared_facts import SharedFacts
from tapio_watcher.sinks import Collection

log = structlog.get_logger(__name__)

LOOK_AGAIN_EVERY = 60.0
"""Seconds between two looks at which targets the log knows of."""
_SECRETS = ServedResource(group="", version="v1", kind="Secret", plural="secrets", namespaced=True)
_AGAIN = wait_random_exponential(multiplier=0.2, max=30.0)


class Watching(Protocol):
    """What watches one target until it is cancelled."""

    async def run(self) -> None: ...


Connect = Callable[[str], Awaitable[AbstractAsyncContextManager[Kube]]]
Watch = Callable[[Kube, Lease, Identity], Watching]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the targets' watchers are made with."""

    home: Kube
    event_log: EventLog
    clock: Clock
    random: Random
    metrics: Metrics
    identity: Identity
    """Of the operator's own cluster."""
    lease: Callable[[str], Lease]
    """The Lease under which a target is watched."""
    connect: Connect
    watch: Watch


class Targets:
    """Runs beside the watcher of the operator's own cluster."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._changed = asyncio.Event()
        self._secrets = Collection(_name_and_version, self._changed.set)
        self._versions: dict[str, str] = {}
        """Resource version of the Secret that a target's task was begun with; empty where there was none."""
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}
        """Those that watch a target, and those that are to let go of it."""

    async def run(self) -> None:
        """Watch every target there is, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch().run(), name="watch-targets")
            await self._secrets.is_complete.wait()
            while True:
                self._changed.clear()
                await self._follow(group)
                try:
                    async with asyncio.timeout(LOOK_AGAIN_EVERY):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    def _watch(self) -> KindWatch:
        given = self._given

        async def room() -> None:
            """Secrets of targets are no facts: nothing of them waits to be published."""

        api = Api(
            kube=given.home,
            random=given.random,
            metrics=given.metrics,
            room=room,
            lists=asyncio.Semaphore(LISTS_AT_ONCE),
        )
        return KindWatch(
            api,
            _SECRETS,
            self._secrets,
            namespace=given.identity.namespace,
            selector={"labelSelector": f"{TARGET}=true"},
        )

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        """Begin anew with every target whose Secret has changed, has come, or is gone though the log knows of it."""
        versions = dict(self._secrets)
        for name in await self._known_to_the_log():
            versions.setdefault(name, "")
        for name in self._tasks:
            versions.setdefault(name, "")
        for name, version in sorted(versions.items()):
            if self._versions.get(name) != version:
                self._versions[name] = version
                former = {task for task in self._tasks.get(name, ()) if not task.done()}
                task = group.create_task(self._serve(name, former), name=f"target-{name}")
                self._tasks[name] = {*former, task}

    async def _known_to_the_log(self) -> list[str]:
        try:
            view = await self._given.event_log.last_per_subject("tapio.log.0._shared.*.target")
        except TapioError as err:
            log.warning("recorded targets not read", error=str(err))
            return []
        return [parse_subject(message.subject).target for message in view.messages]

    async def _serve(self, name: str, former: Set[asyncio.Task[None]]) -> None:
        """Watch target `name` by its Secret as it is now, or record why not; after all `former` have let go of it.

        Of these the last may not even have begun: it ends at once, and the one before it not until its facts are told.
        """
        for task in former:
            task.cancel()
        if former:
            await asyncio.wait(former)
        async for attempt in AsyncRetrying(retry=retry_if_exception_type(TapioError), wait=_AGAIN):
            with attempt:
                try:
                    await self._watch_target(name)
                except UnusableTarget as err:
                    log.warning("target not watched", target=name, reason=str(err))
                    await self._tell(name)
                except TapioError as err:
                    log.warning("target is tried again", target=name, reason=str(err))
                    raise
                except Exception as err:
                    log.exception("watching a target broke; it is tried again", target=name)
                    raise RetryableError(f"Watching target {name} broke: {err}.") from err

    async def _watch_target(self, name: str) -> None:
        given = self._given
        target = await self._read(name)
        connection = TargetObserved(
            state="connected",
            server=target.server,
            credentials=await self._digest(target),
            observed_at=given.clock.now(),
        )
        async with await given.connect(name) as kube:
            lease = given.lease(name)
            try:
                await given.watch(kube, lease, replace(given.identity, target=name, connection=connection)).run()
            finally:
                given.metrics.forget(name)
                await lease.release()

    async def _tell(self, name: str) -> None:
        """Record that a target can't be used, as its leader: whoever leads may have read a newer Secret."""
        given = self._given
        facts = SharedFacts(given.event_log, name, given.identity.partitions, given.clock)
        lease = given.lease(name)
        await lease.acquire()
        try:
            await facts.hydrate()
            try:
                await self._read(name)
            except TargetMissing as err:
                if facts.last("target") is not None:
                    await facts.publish("target", self._unusable("removed", err))
            except UnusableTarget as err:
                await facts.publish("target", self._unusable("refused", err))
        finally:
            await lease.release()

    def _unusable(self, state: str, err: UnusableTarget) -> TargetObserved:
        return TargetObserved(state=state, message=str(err), observed_at=self._given.clock.now())

    async def _read(self, name: str) -> Target:
        identity = self._given.identity
        if name == identity.target:
            raise UnusableTarget(
                f"Secret {identity.namespace}/{name} is no usable target: {name} is the name of the operator's own "
                "cluster. Give the Secret another name, or set TAPIO_TARGET."
            )
        return await read_target(self._given.home, identity.namespace, name)

    async def _digest(self, target: Target) -> str:
        key = await load_digest_key(self._given.home, self._given.identity.namespace, self._given.random)
        return hashlib.blake2b(encode(target.kubeconfig), key=key.key, digest_size=16).hexdigest()


def _name_and_version(secret: JsonObject) -> tuple[str, str]:
    return str_at(secret, "metadata", "name"), str_at(secret, "metadata", "resourceVersion")
