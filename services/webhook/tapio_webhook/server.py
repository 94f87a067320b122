"""The HTTPS server that API servers call: two paths, bounded bodies, graceful end."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

from aiohttp import web
from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Histogram

from tapio_shared.api.trust import Trust
from tapio_shared.codec import encode
from tapio_shared.errors import InvalidSettings
from tapio_shared.listening import listening_socket
from tapio_shared.ports import Clock
from tapio_webhook.admission import MUTATE, VALIDATE, answer
from tapio_webhook.reading import MalformedReview, read_request
from tapio_webhook.recording import AdmissionRecorder

tracer = trace.get_tracer(__name__)
_LARGEST = 8 << 20
"""Bytes of a review: an object of at most 1.5 MiB, twice, with room to spare."""
_DRAIN = 5.0


class WebhookServer:
    """Answers reviews. An async context manager; `port` 0 takes any free one."""

    def __init__(
        self,
        context: ssl.SSLContext,
        recorder: AdmissionRecorder,
        trust: Callable[[], Trust],
        registry: CollectorRegistry,
        clock: Clock,
        *,
        target: str,
        address: str,
        port: int,
    ) -> None:
        self._context, self._recorder, self._trust, self._clock = context, recorder, trust, clock
        self._target, self._address, self.port = target, address, port
        self._answers = Counter(
            "tapio_webhook_answers", "Reviews answered.", ["handler", "kind", "allowed"], registry=registry
        )
        self._seconds = Histogram("tapio_webhook_answer_seconds", "Seconds to answer a review.", registry=registry)
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> WebhookServer:
        application = web.Application(client_max_size=_LARGEST)
        application.router.add_post("/mutate", self._handler(MUTATE))
        application.router.add_post("/validate", self._handler(VALIDATE))
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_DRAIN)
        await self._runner.setup()
        try:
            listening = listening_socket(self._address, self.port)
            await web.SockSite(self._runner, listening, ssl_context=self._context).start()
        except OSError as err:
            await self._runner.cleanup()
            raise InvalidSettings(
                f"Port {self.port} of {self._address} can't be served: {err.strerror or err}. Choose another port for "
                "the webhook, or 0 for any free one."
            ) from err
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def _handler(self, handler: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.Response:
            with self._seconds.time(), tracer.start_as_current_span(f"admission {handler}"):
                if request.content_type != "application/json":
                    return web.Response(status=415, text="An AdmissionReview must come as application/json.\n")
                return self._answered(await request.read(), handler)

        return handle

    def _answered(self, body: bytes, handler: str) -> web.Response:
        try:
            review = read_request(body)
        except MalformedReview as err:
            return web.Response(status=400, text=f"{err}\n")
        found = answer(review, handler=handler, trust=self._trust(), target=self._target, now=self._clock.now())
        self._answers.labels(handler, found.kind or "other", str(found.allowed).lower()).inc()
        if found.admission is not None:
            self._recorder.put(found.admission)
        return web.Response(body=encode(found.document), content_type="application/json")
