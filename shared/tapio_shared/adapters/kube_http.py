"""`ports.Kube` over HTTP: kubernetes-asyncio finds configuration and credentials, aiohttp does the rest.

kubernetes-asyncio's own request path re-reads proxy settings and netrc for every request and decodes into models;
measured at several times the cost (see ../shared/reference/kubernetes-client.md).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Protocol, cast

import aiohttp
import structlog
import yaml
from multidict import CIMultiDict

from tapio_shared.adapters.kubernetes_configuration import (
    ConfigException,
    Configuration,
    load_incluster_config,
    load_kube_config,
)
from tapio_shared.errors import ApiError, ApiUnavailable, InvalidSettings, UnusableTarget
from tapio_shared.kube_metrics import KubeMetrics
from tapio_shared.kubernetes import error_of
from tapio_shared.pacing import Pacing
from tapio_shared.ports import KubeResponse

log = structlog.get_logger(__name__)

USER_AGENT = "tapio-operator/0.1"
_READ_BUFFER = 1 << 15
_WINDOW = 1 << 16
"""Bytes that may wait on one connection, in the kernel, for being read. Left to itself that grows to megabytes, and
uvloop and OpenSSL then keep half a megabyte for each of the thirty watches."""
_CONNECT_TIMEOUT = 10.0


class Configured(Protocol):
    """The parts of kubernetes-asyncio's Configuration that are used."""

    host: str
    ssl_ca_cert: str | None
    cert_file: str | None
    key_file: str | None
    verify_ssl: bool
    proxy: str | None
    tls_server_name: str | None

    async def auth_settings(self) -> dict[str, dict[str, str]]: ...


class Source(Protocol):
    """Where address and credentials come from; they are read again when the API server refuses them."""

    async def load(self) -> Configured:
        """Those of now. `InvalidSettings` or `UnusableTarget` when there are none that can be used."""
        ...


async def load_configuration(kubeconfig: str, context: str) -> Configured:
    """The configuration of `context` in `kubeconfig` (a path), or the pod's own when no path is given."""
    configuration = Configuration()
    try:
        if kubeconfig:
            await load_kube_config(config_file=kubeconfig, context=context or None, client_configuration=configuration)
        else:
            load_incluster_config(client_configuration=configuration)
    except (ConfigException, OSError, yaml.YAMLError, AttributeError, LookupError, TypeError, ValueError) as err:
        # Whoever renews the file may be half way, and the library then fails in any way that a wrong type does.
        raise InvalidSettings(_unusable(kubeconfig, context, str(err).rstrip("."))) from err
    return cast("Configured", configuration)


def _unusable(kubeconfig: str, context: str, why: str) -> str:
    """That there is no configuration where it was looked for, and where else it may be."""
    if not kubeconfig:
        return (
            f"The Kubernetes configuration of this pod's service account can't be used: {why}. Outside of a cluster, "
            "name a kubeconfig (TAPIO_KUBECONFIG)."
        )
    if not Path(kubeconfig).is_file():
        return f"There is no kubeconfig {kubeconfig}. Name one that there is (TAPIO_KUBECONFIG)."
    where = f"context {context or '(current)'} of {kubeconfig}"
    return f"The Kubernetes configuration of {where} can't be used: {why}."


class HttpKube:
    """One API server. An async context manager; safe for many concurrent callers."""

    def __init__(
        self,
        configuration: Configured,
        source: Source,
        metrics: KubeMetrics | None = None,
        pacing: Pacing | None = None,
    ) -> None:
        self._configuration, self._source, self._metrics = configuration, source, metrics
        self._pacing = pacing or Pacing()
        self._requests: aiohttp.ClientSession | None = None
        self._watches: aiohttp.ClientSession | None = None
        self._context = _ssl_context(configuration)
        self._generation: int = 0
        self._reloading = asyncio.Lock()

    @classmethod
    async def connect(
        cls,
        *,
        kubeconfig: str = "",
        context: str = "",
        metrics: KubeMetrics | None = None,
        pacing: Pacing | None = None,
    ) -> HttpKube:
        """Client of the named context, or of the cluster this process runs in; `metrics` counts its requests."""
        return await cls.from_source(_File(kubeconfig, context), metrics, pacing)

    @classmethod
    async def from_source(
        cls, source: Source, metrics: KubeMetrics | None = None, pacing: Pacing | None = None
    ) -> HttpKube:
        """Client of the API server that `source` names. Raises what its `load` does."""
        return cls(await source.load(), source, metrics, pacing)

    @property
    def host(self) -> str:
        return self._configuration.host

    async def __aenter__(self) -> HttpKube:
        self._requests = self._session(0)  # the pacing bounds what is under way
        self._watches = self._session(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in (self._requests, self._watches):
            if session is not None:
                await session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float = 30.0,
    ) -> KubeResponse:
        generation = self._generation
        answer = await self._request(method, path, query, body, content_type, accept, timeout)
        if answer.status == 401 and await self._renew_credentials(generation):
            answer = await self._request(method, path, query, body, content_type, accept, timeout)
        return answer

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: bytes | None,
        content_type: str,
        accept: str,
        timeout: float,
    ) -> KubeResponse:
        session = self._open(self._requests)
        async with self._pacing.slots:
            await self._pacing.turn()
            headers = await self._headers() | {"Accept": accept}
            if body is not None:
                headers["Content-Type"] = content_type
            try:
                async with session.request(
                    method,
                    self._configuration.host + path,
                    params=query,
                    data=body,
                    headers=headers,
                    ssl=self._context,
                    server_hostname=self._configuration.tls_server_name,
                    proxy=self._configuration.proxy,
                    timeout=aiohttp.ClientTimeout(total=timeout, connect=_CONNECT_TIMEOUT),
                ) as response:
                    answer = await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as err:
                if self._metrics is not None:
                    self._metrics.answered(method, content_type, 0)
                raise ApiUnavailable(
                    f"The API server at {self.host} did not answer {method} {path}: {type(err).__name__} {err}."
                ) from err
        if self._metrics is not None:
            self._metrics.answered(method, content_type, response.status)
        self._pacing.answered(response.status, response.headers)
        return KubeResponse(response.status, answer, response.headers)

    @asynccontextmanager
    async def watch(
        self, path: str, *, query: Mapping[str, str], silence: float = 70.0
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        generation = self._generation
        response = await self._open_watch(path, query, silence)
        if response.status == 401 and await self._renew_credentials(generation):
            response.close()
            response = await self._open_watch(path, query, silence)
        try:
            if response.status != 200:
                raise error_of(response.status, await self._refusal(response, path), response.headers)
            async with aclosing(self._lines(response, path, silence)) as lines:
                yield lines
        finally:
            response.close()

    async def _open_watch(self, path: str, query: Mapping[str, str], silence: float) -> aiohttp.ClientResponse:
        session = self._open(self._watches)
        await self._pacing.turn()
        try:
            response = await session.get(
                self._configuration.host + path,
                params={**query, "watch": "1"},
                headers=await self._headers() | {"Accept": "application/json"},
                ssl=self._context,
                server_hostname=self._configuration.tls_server_name,
                proxy=self._configuration.proxy,
                timeout=aiohttp.ClientTimeout(total=None, connect=_CONNECT_TIMEOUT, sock_read=silence),
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            if self._metrics is not None:
                self._metrics.watched(0)
            raise ApiUnavailable(f"The watch of {path} can't be opened: {type(err).__name__} {err}.") from err
        if self._metrics is not None:
            self._metrics.watched(response.status)
        self._pacing.answered(response.status, response.headers)
        return response

    async def _refusal(self, response: aiohttp.ClientResponse, path: str) -> bytes:
        try:
            return await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            raise ApiUnavailable(f"The watch of {path} was refused without a reason: {type(err).__name__}.") from err

    async def _lines(self, response: aiohttp.ClientResponse, path: str, silence: float) -> AsyncGenerator[bytes]:
        """Whole lines, however long: aiohttp's own `readline` refuses those beyond its buffer, an object may be."""
        parts: list[bytes] = []
        try:
            async for chunk in response.content.iter_any():
                *lines, rest = chunk.split(b"\n")
                for line in lines:
                    whole = b"".join((*parts, line))
                    parts.clear()
                    if whole:
                        yield whole
                parts.append(rest)
        except TimeoutError as err:
            raise ApiUnavailable(f"The watch of {path} was silent for {silence:g} s. Open it again.") from err
        except (aiohttp.ClientError, OSError) as err:
            raise ApiUnavailable(f"The watch of {path} broke: {type(err).__name__} {err}. Open it again.") from err

    async def _renew_credentials(self, generation: int) -> bool:
        """Read configuration and credentials again, once for all that were refused; whether there are new ones."""
        async with self._reloading:
            if generation != self._generation:
                return True
            try:
                configuration = await self._source.load()
                self._context = _ssl_context(configuration)
            except (InvalidSettings, UnusableTarget, ApiError, ApiUnavailable, OSError) as err:
                log.warning("credentials not read again", host=self.host, error=str(err))
                return False
            self._configuration = configuration
            self._generation += 1
            log.info("credentials read again", host=self.host)
            return True

    async def _headers(self) -> dict[str, str]:
        settings = await self._configuration.auth_settings()
        return {one["key"]: one["value"] for one in settings.values() if one.get("in") == "header"}

    def _session(self, limit: int) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limit, ttl_dns_cache=30, socket_factory=_socket),
            trust_env=False,
            auto_decompress=True,
            read_bufsize=_READ_BUFFER,
            headers=CIMultiDict({"User-Agent": USER_AGENT}),
        )

    def _open(self, session: aiohttp.ClientSession | None) -> aiohttp.ClientSession:
        if session is None:
            raise ApiUnavailable(f"The client of {self.host} is closed; enter it as a context manager first.")
        return session


class _File:
    """A context of a kubeconfig, or the pod's own service account when no path is given."""

    def __init__(self, kubeconfig: str, context: str) -> None:
        self._kubeconfig, self._context = kubeconfig, context

    async def load(self) -> Configured:
        return await load_configuration(self._kubeconfig, self._context)


def _socket(address: tuple[int, int, int, str, object]) -> socket.socket:
    """A socket for `address`, as getaddrinfo tells it, whose window does not grow."""
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
    return made


def _ssl_context(configuration: Configured) -> ssl.SSLContext | bool:
    """TLS as the configuration says; plain HTTP (a test's loopback) needs none."""
    if not configuration.host.startswith("https"):
        return True
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        key = configuration.key_file
        context.load_cert_chain(configuration.cert_file, None if key is None else str(Path(key)))
    return context
