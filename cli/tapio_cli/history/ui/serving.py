"""The HTTP server behind the page: its assets, its JSON, and the stream of what is new."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib import resources

import msgspec
from aiohttp import web

from tapio_cli.history.ui.api import at_of, check_number, events_of, marks_of, object_of
from tapio_cli.history.ui.details import details_of
from tapio_cli.history.ui.guarding import Handler, add_headers, guard, loopback, origins
from tapio_cli.history.ui.library import Library
from tapio_shared.errors import InvalidSettings, TapioError
from tapio_shared.json import JsonValue
from tapio_shared.keys import OrderingKey

_ASSETS = resources.files("tapio_cli.history.ui") / "assets"
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_EVERY = 0.5
"""Seconds between two looks at a live log, while a page follows it."""
_PING = 20
"""Looks after which a stream without news says that it is alive."""


class Page:
    """Serves the page. An async context manager; `port` 0 takes any free one. `url` is what to open."""

    def __init__(
        self, library: Library, *, target: str, title: str, only: OrderingKey | None, token: str, host: str, port: int
    ) -> None:
        self._library, self._target, self._title, self._only = library, target, title, only
        self._token, self._host, self.port = token, loopback(host), port
        self._ending = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The address, token included."""
        name = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{name}:{self.port}/{self._token}/"

    async def __aenter__(self) -> Page:
        application = web.Application(
            middlewares=[guard(lambda: origins(self._host, self.port), self._token), _tell_errors]
        )
        application.on_response_prepare.append(add_headers)
        for path, handler in {
            "": self._asset,
            "assets/{name}": self._asset,
            "api/clusters": _told(self._clusters),
            "api/marks": _told(self._marks),
            "api/events": _told(self._events),
            "api/mark": _told(self._mark),
            "api/at": _told(self._at),
            "api/object": _told(self._object),
            "api/follow": self._follow,
        }.items():
            application.router.add_get(f"/{self._token}/{path}", handler)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self.port).start()
        except OSError as err:
            await self._runner.cleanup()
            raise InvalidSettings(
                f"Port {self.port} of {self._host} can't be served: {err.strerror or err}. Choose another (--port), or "
                "0 for any free one."
            ) from err
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _asset(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name", "index.html")
        file = _ASSETS / name
        kind = _TYPES.get(name.rpartition(".")[2])
        if kind is None or not file.is_file():
            return web.Response(status=404, text=f"There is no {name}.\n")
        return web.Response(body=file.read_bytes(), content_type=kind, charset="utf-8")

    async def _clusters(self, _: web.Request) -> JsonValue:
        keys = [self._only] if self._only is not None else await self._library.keys()
        names: list[JsonValue] = [f"{key.namespace}/{key.name}" for key in keys]
        return {"clusters": names, "source": self._title, "target": self._target, "live": self._library.live}

    async def _marks(self, request: web.Request) -> JsonValue:
        return await asyncio.to_thread(marks_of, await self._library.newest(self._key(request)))

    async def _events(self, request: web.Request) -> JsonValue:
        numbers = [_number(text) for text in request.query.get("numbers", "").split(",") if text]
        return events_of(await self._library.chapter(self._key(request)), numbers)

    async def _mark(self, request: web.Request) -> JsonValue:
        chapter = await self._library.chapter(self._key(request))
        number = _number(request.query.get("number", ""))
        check_number(chapter, number)
        return await asyncio.to_thread(details_of, chapter, number)

    async def _at(self, request: web.Request) -> JsonValue:
        chapter = await self._library.chapter(self._key(request))
        return await asyncio.to_thread(at_of, chapter, request.query.get("instant", "now"))

    async def _object(self, request: web.Request) -> JsonValue:
        chapter = await self._library.chapter(self._key(request))
        name, instant = request.query.get("object", ""), request.query.get("instant", "now")
        return await asyncio.to_thread(object_of, chapter, instant, name)

    async def _follow(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: `marks` from number `after` on, and `trouble` with a sentence when the log is away."""
        key, sent = self._key(request), _number(request.query.get("after", "0"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        known = await self._library.chapter(key)
        quiet, trouble = 0, ""
        try:
            while not self._ending.is_set():
                try:
                    chapter = await self._library.newest(key)
                except TapioError as err:
                    if str(err) != trouble:
                        trouble = str(err)
                        await response.write(_sent("trouble", {"error": trouble}))
                else:
                    if chapter is not known:
                        await response.write(_sent("again", {}))
                        break
                    if trouble or len(chapter.marks) > sent:
                        trouble, first, sent = "", sent, len(chapter.marks)
                        await response.write(_sent("marks", marks_of(chapter, first)))
                        quiet = 0
                quiet += 1
                if quiet % _PING == 0:
                    await response.write(b": still here\n\n")
                await _until(self._ending, _EVERY)
        except ConnectionResetError:
            pass  # the page was closed
        return response

    def _key(self, request: web.Request) -> OrderingKey:
        namespace, _, name = request.query.get("cluster", "").partition("/")
        if not namespace or not name:
            raise InvalidSettings("Name a TapioCluster: cluster=namespace/name.")
        return OrderingKey(self._target, namespace, name)


@web.middleware
async def _tell_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """An error of ours is told in its sentence."""
    try:
        return await handler(request)
    except TapioError as err:
        return _json({"error": str(err)}, status=422)


def _told(answer: Callable[[web.Request], Awaitable[JsonValue]]) -> Handler:
    """A handler that answers JSON."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return _json(await answer(request))

    return handle


def _json(document: JsonValue, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(document), content_type="application/json")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise InvalidSettings(f"{text!r} is no number of a mark.")
    return int(text)


def _sent(event: str, document: JsonValue) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event.encode(), msgspec.json.encode(document))


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
