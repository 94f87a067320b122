"""Secrets: our own by label, people's one by one; as digests alone, and never by a list of all.

The verbs are get and watch. A watch without a version begins with what exists; what does not exist any more is found by
reading each Secret that the log knows.
"""

from __future__ import annotations

import asyncio
from typing import cast

import structlog

from tapio_shared.api.references import referenced_secrets
from tapio_shared.codec import decode_as, encode
from tapio_shared.errors import ApiError, ApiTerminal, ResourceExpired, RetryableError
from tapio_shared.json import JsonObject, int_at, object_at, str_at
from tapio_shared.keys import ObjectRef, OrderingKey
from tapio_shared.kubernetes import check, error_of, object_path
from tapio_shared.ports import Kube, Random
from tapio_watcher.publishing import FactWriter
from tapio_watcher.routing import key_of
from tapio_watcher.sinks import ObjectSink

log = structlog.get_logger(__name__)
DIGEST_KEY_SECRET = "tapio-operator-digest-key"  # noqa: S105 - the name of a Secret
_DIGEST_KEY_LENGTH = 48
_RETRY = 2.0
_WATCH_SECONDS = "540"


class SecretWatches:
    """One watch per referenced Secret; references come from the custom resources."""

    def __init__(self, kube: Kube, sink: ObjectSink, writer: FactWriter, target: str, group: asyncio.TaskGroup) -> None:
        self._kube, self._sink, self._writer, self._target, self._group = kube, sink, writer, target, group
        self._references: dict[tuple[str, str, str], tuple[OrderingKey, tuple[str, ...]]] = {}
        self._watches: dict[tuple[str, str], asyncio.Task[None]] = {}

    def told(self, document: JsonObject, exists: bool) -> None:
        """Note what a custom resource refers to; watches begin and end accordingly."""
        kind = str_at(document, "kind")
        namespace, name = str_at(document, "metadata", "namespace"), str_at(document, "metadata", "name")
        key = key_of(self._target, document)
        if exists and key is not None:
            self._references[kind, namespace, name] = (key, referenced_secrets(kind, document, namespace))
        else:
            self._references.pop((kind, namespace, name), None)
        wanted = self._keys()
        for secret in sorted(wanted.keys() - self._watches.keys()):
            self._watches[secret] = self._group.create_task(self._follow(*secret), name=f"secret-{secret}")
        for secret in sorted(self._watches.keys() - wanted.keys()):
            self._watches.pop(secret).cancel()

    def _keys(self) -> dict[tuple[str, str], set[OrderingKey]]:
        wanted: dict[tuple[str, str], set[OrderingKey]] = {}
        for (_, namespace, _), (key, secrets) in self._references.items():
            for secret in secrets:
                wanted.setdefault((namespace, secret), set()).add(key)
        return wanted

    async def _follow(self, namespace: str, name: str) -> None:
        path = object_path("", "v1", "secrets", namespace)
        while True:
            try:
                version = await self._read(namespace, name)
                query = {"fieldSelector": f"metadata.name={name}", "timeoutSeconds": _WATCH_SECONDS}
                if version:
                    query["resourceVersion"] = version
                async with self._kube.watch(path, query=query, silence=600.0) as lines:
                    async for line in lines:
                        await self._event(namespace, name, line)
            except ResourceExpired:
                continue
            except (RetryableError, ApiTerminal) as err:
                log.warning("secret watch interrupted", namespace=namespace, name=name, error=str(err))
                await asyncio.sleep(_RETRY)

    async def _event(self, namespace: str, name: str, line: bytes) -> None:
        event = cast("JsonObject", decode_as(dict, line))
        document = object_at(event, "object")
        match str_at(event, "type"):
            case "ERROR":
                raise error_of(int_at(document, "code", default=500), encode(document), {})
            case "DELETED":
                await self._gone(namespace, name, str_at(document, "metadata", "uid"))
            case "ADDED" | "MODIFIED":
                await self._observed({"apiVersion": "v1", "kind": "Secret", **document})
            case _:
                pass

    async def _read(self, namespace: str, name: str) -> str:
        """Read one Secret and publish it; answers its version, empty when it does not exist."""
        response = await self._kube.request("GET", object_path("", "v1", "secrets", namespace, name))
        if response.status == 404:
            await self._gone(namespace, name, "")
            return ""
        document = cast("JsonObject", decode_as(dict, check(response)))
        await self._observed({"apiVersion": "v1", "kind": "Secret", **document})
        return str_at(document, "metadata", "resourceVersion")

    async def _observed(self, document: JsonObject) -> None:
        namespace, name = str_at(document, "metadata", "namespace"), str_at(document, "metadata", "name")
        for key in sorted(self._keys().get((namespace, name), set())):
            await self._sink.publish(key, document)

    async def _gone(self, namespace: str, name: str, uid: str) -> None:
        for key in sorted(self._keys().get((namespace, name), set())):
            await self._writer.gone(ObjectRef("", "Secret", namespace, name), uid=uid, key=key)


async def load_digest_key(kube: Kube, namespace: str, random: Random) -> tuple[bytes, str]:
    """The key that Secret values are digested with, and its id; made once and kept in a Secret of the operator's."""
    path = object_path("", "v1", "secrets", namespace, DIGEST_KEY_SECRET)
    response = await kube.request("GET", path)
    if response.status == 404:
        body: JsonObject = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": DIGEST_KEY_SECRET, "namespace": namespace},
            "type": "Opaque",
            "stringData": {"key": random.token(_DIGEST_KEY_LENGTH), "id": random.identifier()[:8]},
        }
        created = await kube.request("POST", object_path("", "v1", "secrets", namespace), body=encode(body))
        if created.status != 409:
            check(created)
        response = await kube.request("GET", path)
    data = object_at(cast("JsonObject", decode_as(dict, check(response))), "data")
    if "key" not in data:
        raise ApiError(
            422, "Invalid", f"Secret {namespace}/{DIGEST_KEY_SECRET} has no key `key`; delete it, it is made again"
        )
    return str(data["key"]).encode(), str(data.get("id", ""))
