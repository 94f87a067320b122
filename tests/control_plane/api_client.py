"""A plain HTTP client of the API server for tests: one call, one answer, nothing translated.

Deliberately not the product's adapter: a test of what the API server does must not depend on how the product sees it.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import aiohttp
import msgspec
import yaml

from tapio_shared.json import JsonObject, JsonValue, objects_at, str_at

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said. `body` is empty when it was no JSON object; `text` is always there."""

    status: int
    body: JsonObject
    text: str

    @property
    def reason(self) -> str:
        """Kubernetes' own word for a failure: `NotFound`, `Conflict`, `Forbidden`."""
        return str_at(self.body, "reason")


class ApiClient:
    """Calls one API server as one user. Opens a connection per call, so it belongs to no event loop."""

    def __init__(self, server: str, context: ssl.SSLContext, token: str = "") -> None:
        self.server = server
        self._context = context
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    @classmethod
    def from_kubeconfig(cls, path: Path) -> ApiClient:
        """The server and user of a kubeconfig as `credentials` writes it: one cluster, one user, files by path."""
        document = cast("JsonObject", yaml.safe_load(path.read_text()))
        cluster, user = objects_at(document, "clusters")[0], objects_at(document, "users")[0]
        context = ssl.create_default_context(cafile=str_at(cluster, "cluster", "certificate-authority"))
        certificate = str_at(user, "user", "client-certificate")
        if certificate:
            context.load_cert_chain(certificate, str_at(user, "user", "client-key"))
        return cls(str_at(cluster, "cluster", "server"), context, str_at(user, "user", "token"))

    async def call(
        self,
        method: str,
        path: str,
        body: JsonValue = None,
        *,
        content_type: str = JSON,
        query: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """One request; failures of HTTP are answers, failures to connect are aiohttp's errors."""
        data = None if body is None else msgspec.json.encode(body)
        headers = self._headers | {"Accept": JSON} | ({"Content-Type": content_type} if data is not None else {})
        limit = aiohttp.ClientTimeout(total=timeout)
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.request(
                method, self.server + path, params=query, data=data, headers=headers, ssl=self._context
            ) as response,
        ):
            text = await response.text()
            return Answer(response.status, _object(text), text)

    async def apply(self, path: str, body: JsonObject, *, manager: str = "test", force: bool = True) -> Answer:
        """Server-side apply of `body` as field manager `manager`."""
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        return await self.call("PATCH", path, body, content_type=APPLY_PATCH, query=query)


def _object(text: str) -> JsonObject:
    try:
        return msgspec.json.decode(text, type=JsonObject)
    except msgspec.DecodeError:
        return {}
