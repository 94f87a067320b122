"""The `Kube` port over a simulated API server in the same process: the same handler, no socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from tapio_shared.errors import ApiRetryable, ApiTerminal, ApiUnavailable, ResourceExpired
from tapio_shared.ports import Kube, KubeResponse
from tapio_simulator.api import ApiServer
from tapio_simulator.calls import ADMIN, Call, User
from tapio_simulator.errors import StatusError
from tapio_simulator.faults import ConnectionReset

RETRYABLE = frozenset({409, 429, 500, 502, 503, 504})


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
        timeout: float = 30.0,
    ) -> KubeResponse:
        call = self._call(method, path, query or {}, body or b"", content_type)
        try:
            # No timer unless something can wait: a simulated request without delay or webhook never suspends.
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
    async def _watch(self, path: str, query: Mapping[str, str], silence: float) -> AsyncIterator[AsyncIterator[bytes]]:
        call = self._call("GET", path, {**query, "watch": "1"}, b"", "application/json")
        try:
            batches = await self._server.watch(call)
        except ConnectionReset as err:
            raise ApiUnavailable(f"The connection broke before the watch of {path} began. Try again.") from err
        except StatusError as err:
            raise _translated(err) from err
        lines = _lines(batches, path, silence)
        try:
            yield lines
        finally:
            await lines.aclose()

    def _call(self, method: str, path: str, query: Mapping[str, str], body: bytes, content_type: str) -> Call:
        return Call(
            method=method,
            path=path,
            query=query,
            body=body,
            content_type=content_type,
            user=self._user,
            user_agent=self._user_agent,
        )


async def _lines(batches: AsyncIterator[bytes], path: str, silence: float):  # noqa: ANN202
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


def _translated(error: StatusError) -> Exception:
    if error.code == 410:
        return ResourceExpired(error.message)
    retry_after = error.headers.get("Retry-After")
    seconds = float(retry_after) if retry_after else None
    kind = ApiRetryable if error.code in RETRYABLE else ApiTerminal
    return kind(error.code, error.reason, error.message, retry_after=seconds)
