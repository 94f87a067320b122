"""The verbs that controllers use, over the `Kube` port. Answers are documents, failures the project's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import msgspec

from tapio_shared.codec import decode_as
from tapio_shared.errors import ApiError
from tapio_shared.json import JsonObject, JsonValue, int_at, str_at
from tapio_shared.kubernetes import check
from tapio_shared.ports import Kube
from tapio_simulator.machinery.objects import finalizers_of, is_terminating
from tapio_simulator.machinery.resources import Collection

MERGE = "application/merge-patch+json"
_encode = msgspec.json.Encoder().encode


class Client:
    """One client of one API server. `manager` is the field manager of every write."""

    def __init__(self, kube: Kube, manager: str) -> None:
        self.kube, self._query = kube, {"fieldManager": manager}

    async def get(self, collection: Collection, namespace: str, name: str) -> JsonObject | None:
        response = await self.kube.request("GET", collection.path(namespace, name))
        return None if response.status == 404 else _object(check(response))

    async def create(
        self, collection: Collection, namespace: str, document: JsonObject, *, name: str = "", subresource: str = ""
    ) -> JsonObject:
        """POST to a collection, or to a subresource of `name`."""
        path = collection.path(namespace, name, subresource)
        response = await self.kube.request("POST", path, query=self._query, body=_encode(document))
        return _object(check(response))

    async def patch(
        self,
        collection: Collection,
        namespace: str,
        name: str,
        patch: Mapping[str, JsonValue],
        *,
        subresource: str = "",
    ) -> JsonObject | None:
        """JSON merge patch; None when the object does not exist (any more)."""
        path = collection.path(namespace, name, subresource)
        body = _encode(patch)
        response = await self.kube.request("PATCH", path, query=self._query, body=body, content_type=MERGE)
        return None if response.status == 404 else _object(check(response))

    async def delete(
        self,
        collection: Collection,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        grace: int | None = None,
        propagation: str = "Background",
    ) -> JsonObject | None:
        """Delete under a UID precondition; the object that is left (finalizers, grace period), None when it is gone."""
        options: JsonObject = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        response = await self.kube.request("DELETE", collection.path(namespace, name), body=_encode(options))
        if response.status == 404:
            return None
        answer = _object(check(response))
        return answer if _is_left(answer) else None


def _is_left(answer: JsonObject) -> bool:
    """Some API servers answer an immediate deletion with the deleted object instead of a Status."""
    if answer.get("kind") == "Status" or not is_terminating(answer):
        return False
    return bool(finalizers_of(answer)) or int_at(answer, "metadata", "deletionGracePeriodSeconds") > 0


def _object(body: bytes) -> JsonObject:
    return cast("JsonObject", decode_as(dict, body))


def is_already_there(error: ApiError) -> bool:
    return error.code == 409 and error.reason == "AlreadyExists"


def name_of(document: JsonObject) -> str:
    return str_at(document, "metadata", "name")
