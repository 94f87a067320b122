"""`ports.Lease` on a coordination.k8s.io Lease, as client-go's leader election does it.

Expiry is measured on the local steady clock from the moment a change of the Lease was seen, never by comparing clocks
of two machines. A lease is not a fence: every write of a leader is guarded by the log itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import structlog

from tapio_shared.codec import decode_as, encode
from tapio_shared.errors import TapioError
from tapio_shared.json import JsonObject, int_at, object_at, str_at
from tapio_shared.kubernetes import check, object_path
from tapio_shared.ports import Clock, Kube

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds. A leader that stops to live is superseded within 10: duration, two looks of the one that stands by to
    see the last renewal and its end, and one look that it lets pass when it leads something else already."""

    duration: int = 6
    """A Lease that nobody renews for so long is anybody's."""
    deadline: float = 4.0
    """A leader that could not renew for so long steps down, well before another may take over."""
    renew: float = 2.0
    """Each time costs the API server a write, for each target."""
    retry: float = 1.0


class KubeLease:
    """One Lease, held by one holder at a time.

    `held` are the names of the Leases that this process holds, shared by all of its KubeLeases: one that leads already
    lets another process be the first to take what comes free, so that targets spread over the replicas there are.
    """

    def __init__(
        self,
        kube: Kube,
        clock: Clock,
        *,
        namespace: str,
        name: str,
        holder: str,
        times: LeaseTimes | None = None,
        held: set[str] | None = None,
    ) -> None:
        self._kube, self._clock, self._times = kube, clock, times or LeaseTimes()
        self._namespace, self._name, self._holder = namespace, name, holder
        self._held: set[str] = set() if held is None else held
        self._gives_way = True
        """Whether the next look at a Lease that has come free is left to others."""
        self._seen: tuple[str, float] = ("", 0.0)
        self._renewed = 0.0

    async def acquire(self) -> None:
        while True:
            if await self._hold():
                log.info("lease acquired", lease=self._name, holder=self._holder)
                self._held.add(self._name)
                return
            await asyncio.sleep(self._times.retry)

    async def lost(self) -> None:
        pause = self._times.renew
        while True:
            await asyncio.sleep(max(0.0, min(pause, self._left())))
            held = await self._hold()
            if held is False or self._left() <= 0:
                log.warning("lease lost", lease=self._name, holder=self._holder, taken=held is False)
                self._held.discard(self._name)
                return
            pause = self._times.retry if held is None else self._times.renew

    async def release(self) -> None:
        """Give the Lease up at once, so that a successor need not wait for its expiry. Fails quietly: it expires."""
        self._held.discard(self._name)
        try:
            document = await self._read()
            if document is not None and str_at(document, "spec", "holderIdentity") == self._holder:
                spec = object_at(document, "spec") | {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._write({**document, "spec": spec})
        except TapioError as err:
            log.warning("lease not released", lease=self._name, error=str(err))

    def _left(self) -> float:
        """Seconds until a leader that can't renew must step down."""
        return self._renewed + self._times.deadline - self._clock.monotonic()

    async def _hold(self) -> bool | None:
        """Take or renew the Lease. False: somebody else holds it; None: that can't be told at the moment."""
        asked = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._times.deadline / 2):
                held = await self._try()
        except TimeoutError:
            log.warning("lease not renewed", lease=self._name, error="The API server did not answer in time.")
            return None
        except TapioError as err:
            log.warning("lease not renewed", lease=self._name, error=str(err))
            return None
        if held:
            self._renewed = asked
        return held

    async def _try(self) -> bool:
        """Take or renew the Lease; False while somebody else holds it. Writing names the version that was read."""
        document = await self._read()
        if document is not None and self._is_taken(document):
            self._gives_way = True
            return False
        if self._gives_way and self._held - {self._name} and str_at(document, "spec", "holderIdentity") != self._holder:
            self._gives_way = False
            return False
        if document is None:
            await self._create()
            return True
        holder = str_at(document, "spec", "holderIdentity")
        spec = object_at(document, "spec") | self._spec()
        if holder != self._holder:
            spec["acquireTime"] = spec["renewTime"]
            spec["leaseTransitions"] = int_at(document, "spec", "leaseTransitions") + 1
        await self._write({**document, "spec": spec})
        return True

    def _is_taken(self, document: JsonObject) -> bool:
        """Whether somebody else holds the Lease, who may still be alive."""
        holder, version = str_at(document, "spec", "holderIdentity"), str_at(document, "metadata", "resourceVersion")
        if version != self._seen[0]:
            self._seen = (version, self._clock.monotonic())
        if holder in {"", self._holder}:
            return False
        duration = int_at(document, "spec", "leaseDurationSeconds", default=self._times.duration)
        return self._clock.monotonic() - self._seen[1] < duration

    async def _read(self) -> JsonObject | None:
        response = await self._kube.request("GET", self._path(self._name))
        if response.status == 404:
            return None
        return cast("JsonObject", decode_as(dict, check(response)))

    async def _create(self) -> None:
        spec = self._spec()
        body: JsonObject = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {**spec, "acquireTime": spec["renewTime"], "leaseTransitions": 0},
        }
        check(await self._kube.request("POST", self._path(), body=encode(body)))

    async def _write(self, document: JsonObject) -> None:
        check(await self._kube.request("PUT", self._path(self._name), body=encode(document)))

    def _spec(self) -> JsonObject:
        return {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": self._times.duration,
            "renewTime": self._time(),
        }

    def _time(self) -> str:
        """MicroTime, as the Lease API wants it."""
        moment = datetime.fromtimestamp(self._clock.now() / 1000, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _path(self, name: str = "") -> str:
        return object_path("coordination.k8s.io", "v1", "leases", self._namespace, name)
