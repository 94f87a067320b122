"""Short calls on a `Kube` for tests: JSON in, status and document out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count

import msgspec

from tapio_shared.json import JsonObject, JsonValue, str_at
from tapio_shared.ports import Kube

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
_names = count(1)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with its decoded body."""

    status: int
    document: JsonObject
    headers: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def message(self) -> str:
        return str_at(self.document, "message")

    @property
    def reason(self) -> str:
        return str_at(self.document, "reason")

    @property
    def version(self) -> str:
        return str_at(self.document, "metadata", "resourceVersion")


@dataclass(frozen=True, slots=True)
class Calls:
    """`kube`, with JSON documents instead of bytes, in one namespace of its own."""

    kube: Kube
    namespace: str

    def path(self, group: str, plural: str, name: str = "") -> str:
        """Path of a namespaced resource: `group` is `v1` or `apps/v1`."""
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        return f"{root}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    async def call(
        self,
        method: str,
        path: str,
        body: JsonValue = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        **query: str,
    ) -> Reply:
        answer = await self.kube.request(
            method,
            path,
            query=query,
            body=None if body is None else msgspec.json.encode(body),
            content_type=content_type,
            accept=accept,
        )
        try:
            document: JsonValue = msgspec.json.decode(answer.body)
        except msgspec.DecodeError:
            document = {"message": answer.body.decode()}  # A path of no known group is answered in plain text.
        assert isinstance(document, dict), answer.body
        return Reply(answer.status, document, {name.lower(): value for name, value in answer.headers.items()})

    async def get(self, path: str, **query: str) -> Reply:
        return await self.call("GET", path, **query)

    async def create(self, path: str, document: JsonObject, **query: str) -> Reply:
        return await self.call("POST", path, document, **query)

    async def apply(
        self, path: str, document: JsonObject, manager: str = "tester", *, force: bool = False, **query: str
    ) -> Reply:
        forced = {"force": "true"} if force else {}
        return await self.call("PATCH", path, document, APPLY, fieldManager=manager, **forced, **query)

    async def merge(self, path: str, patch: JsonObject, **query: str) -> Reply:
        return await self.call("PATCH", path, patch, MERGE, **query)

    async def delete(self, path: str, options: JsonObject | None = None, **query: str) -> Reply:
        return await self.call("DELETE", path, options, **query)


async def new_namespace(kube: Kube) -> Calls:
    """A namespace of its own for one test."""
    name = f"contract-{next(_names)}"
    calls = Calls(kube, name)
    made = await calls.create("/api/v1/namespaces", {"metadata": {"name": name}})
    assert made.status == 201, made.message
    return calls


async def next_events(lines: AsyncIterator[bytes], number: int, seconds: float = 10.0) -> list[JsonObject]:
    """The next `number` events of a watch, bookmarks left out."""
    found: list[JsonObject] = []
    async with asyncio.timeout(seconds):
        async for line in lines:
            event = msgspec.json.decode(line)
            if event["type"] != "BOOKMARK":
                found.append(event)
            if len(found) == number:
                return found
    return found


def config_map(name: str, data: dict[str, str] | None = None, **metadata: JsonValue) -> JsonObject:
    entries: JsonObject = dict(data or {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": entries}


def deployment(name: str, *, image: str = "registry.example/web:1", replicas: int | None = None) -> JsonObject:
    spec: JsonObject = {
        "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "web", "image": image, "ports": [{"containerPort": 80}]}]},
        },
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
