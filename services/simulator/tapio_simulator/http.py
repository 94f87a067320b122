"""The simulated API server on a TLS port, so that kubectl and the services' own HTTP client can talk to it.

Only transport: authentication, reading bodies, streaming watches. aiohttp's low-level server is used without routing,
since every path goes to the same handler.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress

import structlog
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from tapio_shared.json import JsonValue
from tapio_simulator.api import ApiServer
from tapio_simulator.calls import Answer, Call, User, error_answer, json_answer
from tapio_simulator.errors import StatusError, internal, not_simulated, too_large_body, unauthorized
from tapio_simulator.faults import ConnectionReset
from tapio_simulator.identity import ANONYMOUS

log = structlog.get_logger(__name__)
WRITES_PATH = "/debug/writes"
"""Not Kubernetes: `kubectl get --raw '/debug/writes?since=0'` tells who wrote what, as an audit log would."""
MAX_BODY = 3 * 1024 * 1024
_SHUTDOWN_SECONDS = 1.0
_OPEN_PATHS = ("/healthz", "/readyz", "/livez", "/version")


class HttpFrontend:
    """Serves one `ApiServer` over HTTP."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request of any kind."""
        try:
            call = await self._call(request)
            if call.path == WRITES_PATH:
                return _response(self._writes(call))
            if call.method == "GET" and call.flag("watch"):
                return await self._watch(request, call)
            return _response(await self._api.handle(call))
        except StatusError as error:
            return _response(error_answer(error))
        except web.HTTPRequestEntityTooLarge:
            return _response(error_answer(too_large_body(MAX_BODY)))
        except ConnectionReset:
            _abort(request)
            return web.Response(status=500)
        except asyncio.CancelledError:
            raise
        except Exception as err:
            log.exception("request failed", method=request.method, path=request.path)
            return _response(error_answer(internal(repr(err))))

    def _writes(self, call: Call) -> Answer:
        """The writes after position `since`, and the position after the last; for administrators' tests alone."""
        if "system:masters" not in call.user.groups:
            raise not_simulated(f"{call.method} {call.path}")
        since, total = int(call.query.get("since", "0")), self._api.writes.total
        writes: list[JsonValue] = [
            {
                "user": write.user,
                "verb": write.verb,
                "resource": write.resource,
                "namespace": write.namespace,
                "name": write.name,
                "subresource": write.subresource,
                "status": write.status,
            }
            for write in (self._api.writes.since(since) if since >= 0 else ())
            if not write.dry_run
        ]
        return json_answer({"total": total, "writes": writes})

    async def _call(self, request: web.BaseRequest) -> Call:
        user = self._user(request)
        body = await request.read() if request.can_read_body else b""
        headers = request.headers
        return Call(
            method=request.method,
            path=request.path,
            query=request.query,
            body=body,
            content_type=headers.get("Content-Type", "application/json"),
            accept=headers.get("Accept", "application/json"),
            user=user,
            user_agent=headers.get("User-Agent", "unknown"),
        )

    def _user(self, request: web.BaseRequest) -> User:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            user = self._api.identities.user_of(token.strip())
            if user is None:
                raise unauthorized()
            return user
        transport = request.transport
        certificate = transport.get_extra_info("peercert") if transport is not None else None
        if certificate:
            return _certificate_user(certificate)
        if request.path in _OPEN_PATHS:
            return ANONYMOUS
        raise unauthorized()

    async def _watch(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        lines = await self._api.watch(call)
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        iterator = aiter(lines)
        try:
            async for batch in iterator:
                await response.write(batch)
        except ConnectionReset:
            _abort(request)
        except ConnectionError:
            pass  # The client went away; nothing is left to tell it.
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()
        return response


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """A request whose body may be as large as a real API server takes."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY)


def _response(answer: Answer) -> web.Response:
    headers = {"Content-Type": answer.content_type, "Cache-Control": "no-cache, private", **answer.headers}
    return web.Response(status=answer.status, body=answer.body, headers=headers)


def _abort(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()


def _certificate_user(certificate: Mapping[str, tuple[tuple[tuple[str, str], ...], ...]]) -> User:
    """The user of a client certificate: common name, and organisations as groups."""
    name, groups = "", list[str]()
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.append(value)
    return User(name, (*groups, "system:authenticated"))


@asynccontextmanager
async def serve(api: ApiServer, *, host: str, port: int, context: ssl.SSLContext | None) -> AsyncGenerator[int]:
    """Serve `api` while the context is open; answers the port (a free one for `port=0`)."""
    # Without cancellation an abandoned watch would live on until its next bookmark.
    server = web.Server(HttpFrontend(api).handle, request_factory=_request, handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=context)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        # Open watches never end by themselves: close their connections instead of waiting for them.
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * _SHUTDOWN_SECONDS):
                await runner.cleanup()
