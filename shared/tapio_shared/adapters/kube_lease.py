"""`ports.Lease` on a coordination.k8s.io Lease, as client-go's leader election does it.

Expiry is measured on the local steady clock from the moment a change of the Lease was seen, never by comparing clocks
of two machines. A lease is not a fence: every write of a leader is guarded by the log itself.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import cast

import structlog

from tapio_shared.codec import decode_as, encode
from tapio_shared.errors import TapioError
from tapio_shared.json import JsonObject, int_at, object_at, str_at
from tapio_shared.kubernetes import check, object_path
from tapio_shared.ports import Clock, Kube

log = structlog.get_logger(__name__)

DURATION = 15
RENEW_EVERY = 5.0
RETRY_EVERY = 2.0


class KubeLease:
    """One Lease, held by one holder at a time."""

    def __init__(self, kube: Kube, clock: Clock, *, namespace: str, name: str, holder: str) -> None:
        self._kube, self._clock = kube, clock
        self._namespace, self._name, self._holder = namespace, name, holder
        self._seen: tuple[str, float] = ("", 0.0)
        self._transitions = 0

    async def acquire(self) -> None:
        while True:
            try:
                if await self._try():
                    log.info("lease acquired", lease=self._name, holder=self._holder)
                    return
            except TapioError as err:
                log.warning("lease not acquired", lease=self._name, error=str(err))
            await asyncio.sleep(RETRY_EVERY)

    async def lost(self) -> None:
        renewed = self._clock.monotonic()
        while True:
            await asyncio.sleep(RENEW_EVERY)
            try:
                if not await self._try():
                    return
                renewed = self._clock.monotonic()
            except TapioError as err:
                log.warning("lease not renewed", lease=self._name, error=str(err))
                if self._clock.monotonic() - renewed > DURATION - RENEW_EVERY:
                    return

    async def release(self) -> None:
        try:
            document = await self._read()
            if document is not None and str_at(document, "spec", "holderIdentity") == self._holder:
                spec = object_at(document, "spec") | {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._write({**document, "spec": spec})
        except TapioError as err:
            log.warning("lease not released", lease=self._name, error=str(err))

    async def _try(self) -> bool:
        """Take or renew the Lease; False while somebody else holds it. Writing names the version that was read."""
        document = await self._read()
        if document is None:
            return await self._create()
        holder, version = str_at(document, "spec", "holderIdentity"), str_at(document, "metadata", "resourceVersion")
        if version != self._seen[0]:
            self._seen = (version, self._clock.monotonic())
        if holder not in {"", self._holder}:
            duration = int_at(document, "spec", "leaseDurationSeconds", default=DURATION)
            if self._clock.monotonic() - self._seen[1] < duration:
                return False
        self._transitions = int_at(document, "spec", "leaseTransitions") + (1 if holder != self._holder else 0)
        spec = object_at(document, "spec") | self._spec()
        if holder != self._holder:
            spec["acquireTime"] = self._time()
        return await self._write({**document, "spec": spec})

    async def _read(self) -> JsonObject | None:
        response = await self._kube.request("GET", self._path(self._name), timeout=RENEW_EVERY)
        if response.status == 404:
            return None
        return cast("JsonObject", decode_as(dict, check(response)))

    async def _create(self) -> bool:
        body: JsonObject = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {**self._spec(), "acquireTime": self._time()},
        }
        response = await self._kube.request("POST", self._path(), body=encode(body), timeout=RENEW_EVERY)
        if response.status == 409:
            return False
        check(response)
        return True

    async def _write(self, document: JsonObject) -> bool:
        response = await self._kube.request("PUT", self._path(self._name), body=encode(document), timeout=RENEW_EVERY)
        if response.status == 409:
            return False
        written = cast("JsonObject", decode_as(dict, check(response)))
        self._seen = (str_at(written, "metadata", "resourceVersion"), self._clock.monotonic())
        return True

    def _spec(self) -> JsonObject:
        return {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": DURATION,
            "renewTime": self._time(),
            "leaseTransitions": self._transitions,
        }

    def _time(self) -> str:
        """MicroTime, as the Lease API wants it."""
        moment = datetime.fromtimestamp(self._clock.now() / 1000, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _path(self, name: str = "") -> str:
        return object_path("coordination.k8s.io", "v1", "leases", self._namespace, name)
