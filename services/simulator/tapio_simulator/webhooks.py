"""Calls to admission webhooks over TLS, by URL or by Service.

A Service has no network here: `services` says where one listens in reality (`make run` and tests know); a Service that
isn't listed fails as if it had no endpoints.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

from tapio_shared.json import JsonObject, object_at, str_at
from tapio_simulator.admission import WebhookCallFailed


@dataclass(slots=True)
class HttpWebhooks:
    """A `WebhookCaller` over aiohttp. Close it when done."""

    services: Mapping[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    """`namespace/name` of a Service → host and port that answer for it."""
    _session: aiohttp.ClientSession | None = None
    _contexts: dict[str, ssl.SSLContext] = field(default_factory=dict[str, ssl.SSLContext])

    async def call(self, client_config: JsonObject, body: bytes, timeout: float) -> bytes:
        url, server_name = self._target(client_config)
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=False)
        try:
            async with self._session.post(
                f"{url}?timeout={timeout:g}s",
                data=body,
                headers={"Content-Type": "application/json", "Accept": "application/json"},
                ssl=self._context(str_at(client_config, "caBundle")),
                server_hostname=server_name,
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as response:
                answer = await response.read()
                if response.status != 200:
                    raise WebhookCallFailed(f"the server answered HTTP {response.status}: {answer[:200]!r}")
                return answer
        except TimeoutError as err:
            raise WebhookCallFailed(f'Post "{url}?timeout={timeout:g}s": context deadline exceeded') from err
        except (aiohttp.ClientError, OSError, ssl.SSLError) as err:
            raise WebhookCallFailed(f'Post "{url}?timeout={timeout:g}s": {err}') from err

    def _target(self, client_config: JsonObject) -> tuple[str, str | None]:
        if url := str_at(client_config, "url"):
            return url, None
        service = object_at(client_config, "service")
        namespace, name = str_at(service, "namespace"), str_at(service, "name")
        found = self.services.get(f"{namespace}/{name}")
        if found is None:
            raise WebhookCallFailed(f'no endpoints available for service "{name}"')
        host, port = found
        path = str_at(service, "path").lstrip("/")
        return f"https://{host}:{port}/{path}", f"{name}.{namespace}.svc"

    def _context(self, bundle: str) -> ssl.SSLContext:
        context = self._contexts.get(bundle)
        if context is None:
            authority = base64.b64decode(bundle).decode() if bundle else None
            try:
                context = ssl.create_default_context(cadata=authority) if authority else ssl.create_default_context()
            except ssl.SSLError as err:
                raise WebhookCallFailed(f"unable to load root certificates: {err}") from err
            self._contexts[bundle] = context
        return context

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
