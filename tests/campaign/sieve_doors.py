"""The doors of the struck operator's processes: what they write, decide and are told passes there, and has a name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from tapio_shared.codec import encode
from tapio_shared.json import JsonObject, object_at, str_at
from tapio_shared.ports import Appended, EventLog, Kube, KubeResponse, LogInfo, Message, NewMessage, View
from tests.campaign.sieve_past import Past, past_answer, past_events, version_of
from tests.campaign.sieve_process import Process, Strike
from tests.support.kube_between import KubeBetween, Request

if TYPE_CHECKING:
    from tests.campaign.sieve_operator import StruckOperator


class Door(KubeBetween):
    """A process's way to the API server."""

    def __init__(self, operator: StruckOperator, process: Process, kube: Kube) -> None:
        super().__init__(kube)
        self._operator, self._process = operator, process

    async def answer(self, request: Request) -> KubeResponse:
        operator, process = self._operator, self._process
        await process.check()
        is_lease = "/leases" in request.path
        past = None if is_lease else self._past()  # who is shown an old Lease never leads, and does no harm
        if request.method == "GET" and past is not None:
            is_cached = request.query.get("resourceVersion") == "0"
            found = None
            if is_cached or not past.is_cache:
                found = past_answer(operator.cluster.api, past.version, request.path, request.query, request.accept)
            if found is not None:
                return found
        strike: Strike | None = None
        if request.is_write:
            strike = await operator.write(process, _written(request), is_renewal=is_lease)
        response = await request.send(self.kube)
        if request.is_write:
            await operator.written(process, strike)
        await process.check()
        return response

    def watch(
        self, path: str, *, query: Mapping[str, str], silence: float = 70.0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._watch(path, query, silence)

    @asynccontextmanager
    async def _watch(self, path: str, query: Mapping[str, str], silence: float) -> AsyncGenerator[AsyncIterator[bytes]]:
        await self._process.check()
        past = self._past()
        first: list[bytes] = []
        if past is not None and not past.is_cache and "sendInitialEvents" in query:
            first = past_events(self._operator.cluster.api, past.version, path, query)
            kept = {name: one for name, one in query.items() if name not in ("sendInitialEvents", _MATCH)}
            query = {**kept, "resourceVersion": str(past.version)}
        async with self.kube.watch(path, query=query, silence=silence) as lines:
            heard = self._heard(path.rpartition("/")[2], first, lines)
            try:
                yield heard
            finally:
                await heard.aclose()

    async def _heard(self, plural: str, first: Sequence[bytes], lines: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """The lines that reach the process; `first` comes before all others."""
        for line in first:
            yield line
        operator, process = self._operator, self._process
        is_deaf = False
        following = asyncio.ensure_future(anext(lines))
        try:
            while True:
                wait = process.relist_at - operator.clock.monotonic() if is_deaf else None
                await asyncio.wait((following,), timeout=None if wait is None else max(wait, 0.0))
                if not following.done():
                    yield _EXPIRED
                    return
                try:
                    line = following.result()
                except StopAsyncIteration:
                    return
                following = asyncio.ensure_future(anext(lines))
                await process.check()
                await self._caught_up(line)
                event: JsonObject = msgspec.json.decode(line)
                if event["type"] != "BOOKMARK":
                    metadata = object_at(event, "object", "metadata")
                    what = f"{plural} {str_at(metadata, 'namespace')}/{str_at(metadata, 'name')}"
                    strike = None
                    if not is_deaf and process.role == "watcher":
                        strike = operator.ask("event", operator.name_of("event", f"{event['type']} {what}"))
                    if strike is not None:
                        operator.deafen(process, strike, what)
                        is_deaf = True
                        continue
                    if is_deaf and process.deaf_to == what:
                        continue
                elif is_deaf:
                    continue
                yield line
        finally:
            following.cancel()
            await asyncio.wait((following,))

    async def _caught_up(self, line: bytes) -> None:
        """Wait while the API server does not know yet what `line` tells."""
        past = self._past()
        if past is not None and version_of(line) > past.version:
            await asyncio.sleep(past.until - self._operator.clock.monotonic())

    def _past(self) -> Past | None:
        past = self._process.past
        return past if past is not None and self._operator.clock.monotonic() < past.until else None


_MATCH = "resourceVersionMatch"
_EXPIRED = encode(
    {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}
)


def _written(request: Request) -> str:
    """A write in words: method, path, and the name of what a POST makes, unless that is another one each time."""
    if request.method != "POST" or request.path.endswith("/events"):
        return f"{request.method} {request.path}"
    document: JsonObject = {} if request.body is None else msgspec.json.decode(request.body)
    return f"{request.method} {request.path}/{str_at(document, 'metadata', 'name')}"


class LogDoor(EventLog):
    """A process's way to the log."""

    def __init__(self, operator: StruckOperator, process: Process, event_log: EventLog) -> None:
        self._operator, self._process, self._log = operator, process, event_log

    async def append(self, message: NewMessage) -> Appended:
        return await self._appended([message])

    async def append_batch(self, messages: Sequence[NewMessage]) -> Appended:
        return await self._appended(messages)

    async def last(self, subject: str) -> Message | None:
        await self._process.check()
        return await self._log.last(subject)

    async def last_per_subject(self, *filters: str, at_least: int = 0) -> View:
        await self._process.check()
        return await self._log.last_per_subject(*filters, at_least=at_least)

    async def each_last(self, filter_subject: str, *, at_least: int = 0) -> AsyncGenerator[Message]:
        for message in (await self.last_per_subject(filter_subject, at_least=at_least)).messages:
            yield message

    def follow(
        self, filter_subject: str, *, from_sequence: int, seen: Message | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        return self._log.follow(filter_subject, from_sequence=from_sequence, seen=seen)

    def read(self, filter_subject: str, *, from_sequence: int = 1, up_to: int) -> AsyncIterator[Message]:
        return self._log.read(filter_subject, from_sequence=from_sequence, up_to=up_to)

    async def info(self) -> LogInfo:
        await self._process.check()
        return await self._log.info()

    async def _appended(self, messages: Sequence[NewMessage]) -> Appended:
        operator, process = self._operator, self._process
        subjects = " + ".join(message.subject for message in messages)
        strike = await operator.write(process, f"append {subjects}")
        done = await (self._log.append(messages[0]) if len(messages) == 1 else self._log.append_batch(messages))
        await operator.written(process, strike)
        if any(message.subject.endswith(".decision") for message in messages):
            operator.decided.append(operator.cluster.api.store.version)
            failing_over = operator.ask("decision", operator.name_of("decision", f"{process.role} decides"))
            if failing_over is not None:
                operator.begin_past(failing_over)
                await process.check()
        return done
