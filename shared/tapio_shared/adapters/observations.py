"""A stream of observations and its consumers, made and kept as a TapioCluster wants them.

Nothing is ever deleted here, neither a stream, a consumer nor a message: what JetStream refuses to change in place is
said, and a person decides what becomes of the data.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import msgspec
import structlog

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.provisioning import different_settings, ensure_stream
from tapio_shared.errors import LogRefused, LogUnavailable
from tapio_shared.json import JsonObject, str_at

log = structlog.get_logger(__name__)
T = TypeVar("T")


class Observations(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is wanted, in JetStream's own words: a StreamConfig and ConsumerConfigs."""

    stream: JsonObject
    consumers: list[JsonObject]
    may_have_fewer_replicas: bool = False
    """Of a NATS that somebody else runs: as many replicas as it allows, and those of an existing stream are kept."""


class _StreamNames(msgspec.Struct, frozen=True):
    streams: list[str] | None = None


class _Names(msgspec.Struct, frozen=True):
    consumers: list[str] | None = None


class _Configured(msgspec.Struct, frozen=True):
    config: JsonObject


async def keep_observations(connection: NatsConnection, wanted: Observations) -> tuple[str, ...]:
    """Make or change the stream and its consumers; answers what was changed, as `stream NAME: settings`.

    Raises `LogRefused` when JetStream will never do it, `LogUnavailable` or `LogFull` when it may later.
    """
    name = str_at(wanted.stream, "name")
    changed: list[str] = []
    settings = await _keep_stream(connection, wanted)
    if settings:
        changed.append(f"stream {name}: {', '.join(settings)}")
    known = set((await connection.api(f"CONSUMER.NAMES.{name}", None, _Names)).consumers or ())
    for consumer in wanted.consumers:
        durable = str_at(consumer, "durable_name")
        different = await _keep_consumer(connection, name, consumer, exists=durable in known)
        if different:
            changed.append(f"consumer {durable}: {', '.join(different)}")
    return tuple(changed)


async def _keep_stream(connection: NatsConnection, wanted: Observations) -> tuple[str, ...]:
    name = str_at(wanted.stream, "name")
    if not wanted.may_have_fewer_replicas:
        return await _told(ensure_stream(connection, wanted.stream), f"Stream {name}")
    config = {key: value for key, value in wanted.stream.items() if key != "num_replicas"}
    if await _exists(connection, name):
        return await _told(ensure_stream(connection, config), f"Stream {name}")
    try:
        return await ensure_stream(connection, wanted.stream)
    except (LogRefused, LogUnavailable) as err:
        log.info("stream not made with as many replicas as wanted", stream=name, error=str(err))
    return await _told(ensure_stream(connection, {**config, "num_replicas": 1}), f"Stream {name}")


async def _exists(connection: NatsConnection, stream: str) -> bool:
    names = await connection.api("STREAM.NAMES", {"subject": ""}, _StreamNames)
    return stream in (names.streams or ())


async def _keep_consumer(
    connection: NatsConnection, stream: str, wanted: JsonObject, *, exists: bool
) -> tuple[str, ...]:
    name = str_at(wanted, "durable_name")
    different = tuple(sorted(wanted))
    present: JsonObject = {}
    if exists:
        present = (await connection.api(f"CONSUMER.INFO.{stream}.{name}", None, _Configured)).config
        different = different_settings(present, wanted)
    if different:
        request: JsonObject = {
            "stream_name": stream,
            "config": {**present, **wanted},
            "action": "update" if exists else "create",
        }
        asked = connection.api(f"CONSUMER.DURABLE.CREATE.{stream}.{name}", request, _Configured)
        await _told(asked, f"Consumer {name} of stream {stream}")
        log.info("consumer changed" if exists else "consumer made", consumer=name, settings=different)
    return different


async def _told(work: Awaitable[T], what: str) -> T:
    """`work`, whose refusal says what was refused and what to do about it."""
    try:
        return await work
    except LogRefused as err:
        raise LogRefused(
            f"{what} can't be made as it is wanted: {err} Nothing was deleted. Change the spec, or move its data away "
            "and delete it; it is then made anew."
        ) from err
