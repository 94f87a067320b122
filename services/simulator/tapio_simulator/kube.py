"""The `Kube` port over a simulated API server in the same process: the same handler, no socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from tapio_shared.errors import ApiUnavailable
from tapio_shared.kubernetes import error_of
from tapio_shared.ports import Kube, KubeResponse
from tapio_simulator.api import ApiServer
from tapio_simulator.calls import ADMIN, JSON, Call, User
from tapio_simulator.errors import StatusError
from tapio_simulator.faults import ConnectionReset


class SimulatorKube(Kube):
    """One client of `server`, acting as `user`. `user_agent` names the field manager of writes that don't name one."""

    def __init__(self, server: ApiServer, *, user: User = ADMIN, user_agent: str = "tapio") -> None:
        self._server, self._user, self._user_agent = server, user, user_agent

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
        call = self._call(method, path, query or {}, body or b"", content_type, accept)
        try:
            async with asyncio.timeout(timeout):
                answer = await self._server.handle(call)
        except TimeoutError as err:
            raise ApiUnavailable(f"{method} {path} was not answered within {timeout:g} seconds. Try again.") from err
        except ConnectionReset as err:
            raise ApiUnavailable(f"The connection broke before {method} {path} was answered. Try again.") from err
        return KubeResponse(answer.status, answer.body, answer.headers)

    def watch(
        self, path: str, *, query: Mapping[str, str], silence: float = 70.0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._watch(path, query, silence)

    @asynccontextmanager
    async def _watch(self, path: str, query: Mapping[str, str], silence: float) -> AsyncGenerator[AsyncIterator[bytes]]:
        call = self._call("GET", path, {**query, "watch": "1"}, b"", JSON, JSON)
        try:
            batches = await self._server.watch(call)
        except ConnectionReset as err:
            raise ApiUnavailable(f"The connection broke before the watch of {path} began. Try again.") from err
        except StatusError as err:
            raise error_of(err.code, err.body(), err.headers) from err
        lines = _lines(batches, path, silence)
        try:
            yield lines
        finally:
            await lines.aclose()

    def _call(
        self, method: str, path: str, query: Mapping[str, str], body: bytes, content_type: str, accept: str
    ) -> Call:
        return Call(
            method=method,
            path=path,
            query=query,
            body=body,
            content_type=content_type,
            accept=accept,
            user=self._user,
            user_agent=self._user_agent,
        )


async def _lines(batches: AsyncIterator[bytes], path: str, silence: float) -> AsyncGenerator[bytes]:
    """Single lines; ApiUnavailable when nothing came for `silence` seconds or the connection broke."""
    iterator = aiter(batches)
    try:
        while True:
            try:
                async with asyncio.timeout(silence):
                    batch = await anext(iterator)
            except StopAsyncIteration:
                return
            except TimeoutError as err:
                raise ApiUnavailable(f"The watch of {path} was silent for {silence:g} seconds. Watch again.") from err
            except ConnectionReset as err:
                raise ApiUnavailable(f"The watch of {path} broke. Watch again.") from err
            for line in batch.splitlines():
                yield line
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()
