"""An API server that is behind: get and list are answered as of a past version of the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from tapio_shared.json import JsonObject, objects_at, str_at
from tapio_shared.ports import KubeResponse
from tapio_simulator import reads
from tapio_simulator.api import ApiServer
from tapio_simulator.calls import ADMIN, Call, error_answer
from tapio_simulator.errors import StatusError


@dataclass(frozen=True, slots=True)
class Past:
    """Until the loop's time is `until`, reads know nothing after `version`."""

    version: int
    until: float
    is_cache: bool
    """The watch cache alone is behind, as Kubernetes allows: only what asks for any version is answered from it, and
    watches tell nothing newer. Else every read is from the past, which Kubernetes does not do: an etcd brought back."""


def past_answer(
    server: ApiServer, version: int, path: str, query: Mapping[str, str], accept: str
) -> KubeResponse | None:
    """What a get or list of `path` was at `version`; None for what is no resource."""
    place = server.registry.locate(path)
    if place is None:
        return None
    store = server.store.as_of(place.resource.storage_key, version)
    if store is None:
        return None
    asked = {name: value for name, value in query.items() if name != "resourceVersion"}
    call = Call(method="GET", path=path, query=asked, body=b"", accept=accept, user=ADMIN)
    try:
        found = reads.get(store, place, call) if place.name else reads.list_objects(store, place, call)
    except StatusError as error:
        found = error_answer(error)
    return KubeResponse(found.status, found.body, found.headers)


def past_events(server: ApiServer, version: int, path: str, query: Mapping[str, str]) -> list[bytes]:
    """The lines of a streaming list of `path` as it was at `version`, the bookmark that ends it included."""
    selector = {name: one for name, one in query.items() if name in ("labelSelector", "fieldSelector")}
    answer, place = past_answer(server, version, path, selector, "application/json"), server.registry.locate(path)
    if answer is None or place is None:
        return []
    listed: JsonObject = msgspec.json.decode(answer.body)
    whole: JsonObject = {"kind": place.resource.kind, "apiVersion": place.resource.api_version}
    ended: JsonObject = {
        "resourceVersion": str(version),
        "annotations": {"k8s.io/initial-events-end": "true"},
    }
    lines: list[JsonObject] = [{"type": "ADDED", "object": {**whole, **one}} for one in objects_at(listed, "items")]
    lines.append({"type": "BOOKMARK", "object": {**whole, "metadata": ended}})
    return [msgspec.json.encode(line) for line in lines]


def version_of(line: bytes) -> int:
    """The resourceVersion of the object of a line of a watch; 0 when it has none."""
    event: JsonObject = msgspec.json.decode(line)
    text = str_at(event, "object", "metadata", "resourceVersion")
    return int(text) if text.isdigit() else 0
