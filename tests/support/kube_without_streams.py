"""API servers that take a streamed list, and can't serve it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from tapio_shared.errors import ApiRetryable
from tapio_shared.ports import KubeResponse
from tapio_watcher.watching import INITIAL_EVENTS_END
from tests.support.kube_between import KubeBetween, Request

REFUSED = "a watch stream was requested by the client but the required storage feature RequestWatchProgress is disabled"


class _Watched(KubeBetween):
    """Requests are answered as they are."""

    async def answer(self, request: Request) -> KubeResponse:
        return await request.send(self.kube)

    def watch(
        self, path: str, *, query: Mapping[str, str], silence: float = 70.0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        self.check(query)
        return self._lines(path, query, silence)

    @asynccontextmanager
    async def _lines(self, path: str, query: Mapping[str, str], silence: float) -> AsyncGenerator[AsyncIterator[bytes]]:
        async with self.kube.watch(path, query=query, silence=silence) as lines:
            yield self.heard(lines)

    @abstractmethod
    def check(self, query: Mapping[str, str]) -> None:
        """Refuse a watch."""

    @abstractmethod
    def heard(self, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """What of the lines arrives."""


class OldEtcd(_Watched):
    """Kubernetes from 1.34 on beside an etcd older than 3.4.31. Source: apiserver, storage/cacher/cacher.go."""

    def check(self, query: Mapping[str, str]) -> None:
        begins = "sendInitialEvents" in query or query.get("resourceVersion", "") in {"", "0"}
        if begins and "allowWatchBookmarks" in query:
            raise ApiRetryable(500, "InternalError", REFUSED)

    def heard(self, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        return lines


class Endless(_Watched):
    """Without the bookmark that ends a streamed list."""

    def check(self, query: Mapping[str, str]) -> None:
        """Nothing is refused."""

    def heard(self, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        return (line async for line in lines if INITIAL_EVENTS_END.encode() not in line)
