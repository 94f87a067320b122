"""A way to an API server on which something happens: the `Kube` port with every request as one value."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from tapio_shared.ports import Kube, KubeResponse


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `timeout` is in seconds."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes | None
    content_type: str
    accept: str
    timeout: float

    @property
    def is_write(self) -> bool:
        """Whether it may change something."""
        return self.method != "GET" and "dryRun" not in self.query

    async def send(self, kube: Kube, *, timeout: float | None = None) -> KubeResponse:
        """Have `kube` answer it."""
        return await kube.request(
            self.method,
            self.path,
            query=self.query,
            body=self.body,
            content_type=self.content_type,
            accept=self.accept,
            timeout=self.timeout if timeout is None else timeout,
        )


class KubeBetween(Kube):
    """Requests go through `answer`, and watches to `kube`, unless `watch` says otherwise."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube

    @abstractmethod
    async def answer(self, request: Request) -> KubeResponse:
        """Answer one request, most likely by sending it to `self.kube`."""

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
        return await self.answer(Request(method, path, query or {}, body, content_type, accept, timeout))

    def watch(
        self, path: str, *, query: Mapping[str, str], silence: float = 70.0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self.kube.watch(path, query=query, silence=silence)
