"""Workloads for tests, and waiting until a cluster that moves by itself has reached a state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at
from tapio_simulator.kubelet import Breakages
from tests.support.kube_calls import Calls

IMAGE = "docker.io/library/nats:2.12-alpine"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster in which objects move, and a namespace of its own in it."""

    calls: Calls
    breakages: Breakages
    admits_by_pod_security: bool
    """Whether the API server refuses pods by Pod Security; else the kubelet holds them back."""
    serves_retention_policy: bool

    async def until(
        self, path: str, holds: Callable[[JsonObject], bool], *, seconds: float = 30.0, status: int = 200
    ) -> JsonObject:
        """The document at `path` (an object or a list) as soon as `holds`; fails with its last state."""
        seen: JsonObject = {}
        try:
            async with asyncio.timeout(seconds):
                while True:
                    reply = await self.calls.get(path)
                    seen = reply.document
                    if reply.status == status and holds(seen):
                        return seen
                    await asyncio.sleep(0.02)
        except TimeoutError:
            text = msgspec.json.format(msgspec.json.encode(seen)).decode()
            raise AssertionError(f"{path} did not get there within {seconds:g} s. Its last state:\n{text}") from None

    async def gone(self, path: str, *, seconds: float = 30.0) -> None:
        await self.until(path, lambda _: True, seconds=seconds, status=404)

    async def create(self, group: str, plural: str, document: JsonObject) -> JsonObject:
        reply = await self.calls.create(self.calls.path(group, plural), document)
        assert reply.status == 201, reply.message
        return reply.document

    async def pods(self) -> list[JsonObject]:
        reply = await self.calls.get(self.calls.path("v1", "pods"))
        return objects_at(reply.document, "items")

    async def until_pods(self, holds: Callable[[list[JsonObject]], bool], *, seconds: float = 30.0) -> list[JsonObject]:
        found = await self.until(
            self.calls.path("v1", "pods"), lambda document: holds(objects_at(document, "items")), seconds=seconds
        )
        return objects_at(found, "items")

    async def until_event(self, reason: str, text: str, *, seconds: float = 30.0) -> JsonObject:
        """The first Event of this reason whose message holds `text`."""
        found = await self.until(
            self.calls.path("v1", "events"), lambda document: bool(_events(document, reason, text)), seconds=seconds
        )
        return _events(found, reason, text)[0]


def _events(document: JsonObject, reason: str, text: str) -> list[JsonObject]:
    return [
        one for one in objects_at(document, "items") if one.get("reason") == reason and text in str_at(one, "message")
    ]


def container(name: str = "main", extra: JsonObject | None = None, **fields: JsonValue) -> JsonObject:
    """A container that passes Pod Security `restricted` and listens on port 4222, named `client`."""
    return {
        "name": name,
        "image": IMAGE,
        "ports": [{"name": "client", "containerPort": 4222}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **(extra or {}),
        **fields,
    }


def template(name: str, spec: JsonObject | None = None, annotations: JsonObject | None = None) -> JsonObject:
    return {
        "metadata": {"labels": {"app": name}, "annotations": annotations or {}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container()], **(spec or {})},
    }


def workload(kind: str, name: str, pod: JsonObject, **fields: JsonValue) -> JsonObject:
    """A Deployment, StatefulSet or DaemonSet."""
    spec: JsonObject = {"selector": {"matchLabels": {"app": name}}, "template": pod}
    if kind != "DaemonSet":
        spec["replicas"] = 1
    if kind == "StatefulSet":
        spec["serviceName"] = name
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": {**spec, **fields}}


def claim_template(name: str = "data", **fields: JsonValue) -> JsonObject:
    spec: JsonObject = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **fields}
    return {"metadata": {"name": name, "labels": {"kept": "yes"}}, "spec": spec}


def is_ready(pod: JsonObject) -> bool:
    return any(
        one.get("type") == "Ready" and one.get("status") == "True" for one in objects_at(pod, "status", "conditions")
    )


def waiting_reason(pod: JsonObject, group: str = "containerStatuses") -> str:
    """The reason for which the first container that waits does so."""
    for status in objects_at(pod, "status", group):
        if reason := str_at(status, "state", "waiting", "reason"):
            return reason
    return ""


def names(documents: list[JsonObject]) -> list[str]:
    return sorted(str_at(one, "metadata", "name") for one in documents)


def condition(document: JsonObject, kind: str) -> JsonObject:
    for one in objects_at(document, "status", "conditions"):
        if one.get("type") == kind:
            return one
    return {}


def status(document: JsonObject) -> JsonObject:
    return object_at(document, "status")
