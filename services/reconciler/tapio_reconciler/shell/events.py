"""Kubernetes Events (core/v1), counted as client-go's recorder counts them: the same Event again raises `count`.

An Event's name is a hash of what it says, so a repeat finds its predecessor without a read. Events are for people and
best effort: a refused one is logged and forgotten.
"""

from __future__ import annotations

import hashlib
from typing import cast

import structlog

from tapio_reconciler.core.conditions import timestamp
from tapio_shared.api.names import API_VERSION, CLUSTER_KIND
from tapio_shared.codec import decode_as, encode
from tapio_shared.errors import TapioError
from tapio_shared.facts import EventIntent
from tapio_shared.json import JsonObject, int_at
from tapio_shared.keys import OrderingKey
from tapio_shared.kubernetes import MERGE_PATCH, check, object_path
from tapio_shared.ports import Clock, Kube

log = structlog.get_logger(__name__)
SOURCE = "tapio-operator"


class EventWriter:
    """Writes Events about TapioClusters."""

    def __init__(self, kube: Kube, clock: Clock) -> None:
        self._kube, self._clock = kube, clock

    async def write(self, key: OrderingKey, cluster_uid: str, intent: EventIntent) -> None:
        """Write one Event, or raise the count of the same one. Never fails the caller."""
        name = _name(key, cluster_uid, intent)
        now = timestamp(self._clock.now())
        try:
            response = await self._kube.request(
                "POST",
                object_path("", "v1", "events", key.namespace),
                body=encode(_document(key, cluster_uid, intent, name, now)),
            )
            if response.status == 409:
                await self._count_up(key, name, now)
                return
            check(response)
        except TapioError as err:
            log.warning("event not written", key=str(key), reason=intent.reason, error=str(err))

    async def _count_up(self, key: OrderingKey, name: str, now: str) -> None:
        path = object_path("", "v1", "events", key.namespace, name)
        response = await self._kube.request(
            "PATCH", path, body=encode({"lastTimestamp": now}), content_type=MERGE_PATCH
        )
        count = int_at(cast("JsonObject", decode_as(dict, check(response))), "count", default=1)
        check(await self._kube.request("PATCH", path, body=encode({"count": count + 1}), content_type=MERGE_PATCH))


def _name(key: OrderingKey, cluster_uid: str, intent: EventIntent) -> str:
    text = "\x00".join((cluster_uid, intent.type, intent.reason, intent.message, intent.regarding))
    return f"{key.name[:200]}.{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def _document(key: OrderingKey, cluster_uid: str, intent: EventIntent, name: str, now: str) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": key.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": CLUSTER_KIND,
            "namespace": key.namespace,
            "name": key.name,
            "uid": cluster_uid,
        },
        "reason": intent.reason,
        "message": intent.message,
        "type": intent.type,
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": SOURCE},
        "reportingComponent": SOURCE,
        "reportingInstance": SOURCE,
    }
