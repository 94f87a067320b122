"""What stands under the ordered consumers: a server of push consumers whose messages are lost, doubled, late, mixed up.

`tapio_shared.adapters.nats_ordered` runs on this as it runs on NATS: it makes a consumer, counts what it is delivered,
hears heartbeats, and makes a new one when something is missing.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar, cast

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from tapio_shared.adapters.nats_errors import NO_MESSAGE, ApiFault, JetStreamError
from tapio_shared.errors import LogRefused, LogUnavailable
from tapio_shared.keys import subject_matches
from tapio_shared.ports import Message
from tests.campaign.history import CampaignLog
from tests.campaign.parts import served

if TYPE_CHECKING:
    from tests.campaign.links import Link, Weather

T = TypeVar("T")
HEARTBEAT = 2.0


@dataclass(slots=True)
class Mischief:
    """What happens to deliveries at the moment. Shares are probabilities of one message; delays are seconds."""

    dropped: float = 0.0
    doubled: float = 0.0
    swapped: float = 0.0
    delay: float = 0.0
    beats_lost: float = 0.0

    def clear(self) -> None:
        """Everything arrives once, in order and at once."""
        self.dropped = self.doubled = self.swapped = self.beats_lost = self.delay = 0.0


@dataclass(slots=True)
class _Subscription:
    received: Callable[[Msg], Awaitable[None]]
    is_open: bool = True

    async def unsubscribe(self) -> None:
        self.is_open = False


@dataclass(slots=True)
class _Client:
    numbers: Counter[str]

    def new_inbox(self) -> str:
        self.numbers["inbox"] += 1
        return f"_INBOX.{self.numbers['inbox']}"


@dataclass(slots=True)
class DeliveringServer:
    """The consumers of one log."""

    log: CampaignLog
    random: random.Random
    fired: Counter[str]
    mischief: Mischief = field(default_factory=Mischief)
    numbers: Counter[str] = field(default_factory=Counter[str])
    hooks: dict[int, Callable[[], None]] = field(default_factory=dict[int, Callable[[], None]])
    """What is called when the connection of a part was made anew."""

    def connect(self, link: Link, weather: Weather) -> Connection:
        return Connection(self, link, weather)

    def connect_again(self) -> None:
        """The server is back, and every client notices at once, as its connection had ended."""
        for hook in list(self.hooks.values()):
            hook()


class Connection:
    """What the ordered consumers use of a `NatsConnection`."""

    def __init__(self, server: DeliveringServer, link: Link, weather: Weather) -> None:
        self._server, self._link, self._weather = server, link, weather
        self.client = _Client(server.numbers)
        self._subscriptions: dict[str, _Subscription] = {}
        self._pumps: dict[str, asyncio.Task[None]] = {}

    def on_reconnect(self, hook: Callable[[], None]) -> Callable[[], None]:
        self._server.numbers["hook"] += 1
        number, hooks = self._server.numbers["hook"], self._server.hooks
        hooks[number] = hook

        def forget() -> None:
            hooks.pop(number, None)

        return forget

    def on_refusal(self, hook: Callable[[str, LogRefused], None]) -> Callable[[], None]:
        return lambda: None

    async def subscribe(self, subject: str, received: Callable[[Msg], Awaitable[None]]) -> _Subscription:
        self._subscriptions[subject] = found = _Subscription(received)
        return found

    async def send(self, subject: str, body: bytes) -> None:
        """The end of a consumer; there is no flow control here."""
        if subject.startswith("$JS.API.CONSUMER.DELETE."):
            pump = self._pumps.pop(subject.rpartition(".")[2], None)
            if pump is not None:
                pump.cancel()

    async def api(self, subject: str, request: object, answer: type[T]) -> T:
        """Make a consumer, or tell of the stream."""
        await asyncio.sleep(0)
        if self._link.is_cut or self._weather.is_down:
            await asyncio.sleep(1.0)
            raise LogUnavailable("NATS does not answer.")
        info = await self._server.log.info()  # LogMissing when there is none
        if subject.startswith("STREAM.INFO."):
            state = {"first_seq": info.first_sequence, "last_seq": info.last_sequence}
            return msgspec.convert({"created": info.created_at, "state": state}, answer)
        if subject.startswith("STREAM.MSG.GET."):
            sequence = cast("Mapping[str, int]", request)["seq"]
            found = next(self._server.log.messages_from(sequence), None)
            if found is None or found.sequence != sequence:
                raise JetStreamError(ApiFault(code=404, err_code=NO_MESSAGE, description="no message found"))
            time = datetime.fromtimestamp(found.written_at / 1000, UTC).isoformat(timespec="milliseconds")
            stored = {"subject": found.subject, "seq": sequence, "time": time.replace("+00:00", "Z")}
            return msgspec.convert({"message": stored}, answer)
        document = cast("Mapping[str, object]", request)
        config = cast("Mapping[str, object]", document["config"])
        name, inbox = str(config["name"]), str(config["deliver_subject"])
        pump = _Pump(
            self._server,
            self._link,
            self._weather,
            self._subscriptions[inbox],
            pattern=str(config["filter_subject"]),
            following=int(str(config["opt_start_seq"])),
            life=self._server.log.life,
        )
        self._pumps[name] = served(pump.run())
        return msgspec.convert({"name": name}, answer)


@dataclass(slots=True)
class _Pump:
    """One push consumer."""

    server: DeliveringServer
    link: Link
    weather: Weather
    subscription: _Subscription
    pattern: str
    following: int
    life: int
    number: int = 0
    _held: Msg | None = None

    async def run(self) -> None:
        """Deliver until the consumer is deleted, or its stream is another one."""
        log = self.server.log
        while self.subscription.is_open:
            if self.weather.is_down or self.life != log.life:
                return  # An ephemeral consumer does not outlive its server; only silence tells.
            delivered = False
            for message in log.messages_from(self.following):
                self.following = message.sequence + 1
                if subject_matches(self.pattern, message.subject):
                    self.number += 1
                    delivered = True
                    await self._deliver(self._message(message))
                    break
            if delivered:
                continue
            await self._release()
            if not await log.changed_within(self.following, HEARTBEAT):
                await self._beat()

    async def _deliver(self, message: Msg) -> None:
        mischief, rng, fired = self.server.mischief, self.server.random, self.server.fired
        if mischief.delay > 0:
            fired["deliveries delayed"] += 1
            await asyncio.sleep(rng.uniform(0, mischief.delay))
        if self.link.is_cut or (mischief.dropped > 0 and rng.random() < mischief.dropped):
            fired["deliveries dropped"] += 1
            return
        if self._held is None and mischief.swapped > 0 and rng.random() < mischief.swapped:
            fired["deliveries reordered"] += 1
            self._held = message
            return
        await self._hand_over(message)
        await self._release()
        if mischief.doubled > 0 and rng.random() < mischief.doubled:
            fired["deliveries duplicated"] += 1
            await self._hand_over(message)

    async def _release(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            await self._hand_over(held)

    async def _beat(self) -> None:
        if self.link.is_cut or (
            self.server.mischief.beats_lost > 0 and self.server.random.random() < self.server.mischief.beats_lost
        ):
            self.server.fired["heartbeats lost"] += 1
            return
        headers = {"Nats-Last-Consumer": str(self.number), "Nats-Last-Stream": str(self.following - 1)}
        await self._hand_over(Msg(_client=_NO_CLIENT, subject="", headers=headers))

    async def _hand_over(self, message: Msg) -> None:
        if self.subscription.is_open:
            await self.subscription.received(message)

    def _message(self, message: Message) -> Msg:
        reply = f"$JS.ACK.TAPIO_LOG.c.1.{message.sequence}.{self.number}.{message.written_at * 1_000_000}.0"
        return Msg(
            _client=_NO_CLIENT, subject=message.subject, reply=reply, data=message.data, headers=dict(message.headers)
        )


_NO_CLIENT = cast("Client", None)
