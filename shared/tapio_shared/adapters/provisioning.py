"""The streams of the operator: made once and kept as they must be.

Whoever provisions needs the right to make streams; a service without it may still call `provision`, which only looks
when everything is in place.
"""

from __future__ import annotations

import msgspec
import structlog

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_reader import PARTITIONS_METADATA
from tapio_shared.adapters.nats_server import check_version
from tapio_shared.errors import InvalidSettings, LogMissing, PartitionCountMismatch
from tapio_shared.json import JsonObject, JsonValue
from tapio_shared.keys import ADMITTED_STREAM, LOG_STREAM, MAX_PARTITIONS

log = structlog.get_logger(__name__)

MEMBERS_BUCKET = "TAPIO_MEMBERS"
MEMBER_TTL = 5.0
_DAY = 86_400 * 10**9
_DUPLICATE_WINDOW = 2 * 60 * 10**9


class _Config(msgspec.Struct, frozen=True):
    metadata: dict[str, str] = {}


class _Info(msgspec.Struct, frozen=True):
    config: _Config


class _WholeInfo(msgspec.Struct, frozen=True):
    config: JsonObject


async def provision(
    connection: NatsConnection,
    *,
    partitions: int,
    replicas: int = 1,
    max_bytes: int = 2 << 30,
    max_age_days: float = 30.0,
    admitted_max_bytes: int = 256 << 20,
) -> None:
    """Make or update TAPIO_LOG, TAPIO_ADMITTED and the membership bucket.

    The number of partitions is fixed when the log is made: `PartitionCountMismatch` when it differs.
    """
    version = connection.client.connected_server_version
    check_version(f"{version.major}.{version.minor}")
    if not 1 <= partitions <= MAX_PARTITIONS:
        raise InvalidSettings(f"The number of partitions is {partitions}; it must be from 1 to {MAX_PARTITIONS}.")
    known = await _existing_partitions(connection)
    if known not in {0, partitions}:
        raise PartitionCountMismatch(
            f"Stream {LOG_STREAM} was made for {known} partitions and this process is set to {partitions}. "
            f"Set TAPIO_PARTITIONS to {known}, or make a new stream (its history is lost, desired state is not)."
        )
    await ensure_stream(connection, log_config(partitions, replicas, max_bytes, int(max_age_days * _DAY)))
    await ensure_stream(connection, admitted_config(replicas, admitted_max_bytes))
    await ensure_stream(connection, members_config(replicas))


def log_config(partitions: int, replicas: int, max_bytes: int, max_age: int) -> JsonObject:
    """Configuration of TAPIO_LOG; ages in nanoseconds.

    `discard: old`, because a full log must cost history and never stop the operator: what it drops is absent, and
    absence is never evidence. That goes for epochs too, and no stream can keep some subjects longer than others: a
    partition's owner writes its epoch anew long before the oldest quarter of the stream reaches it, and an owner whose
    epoch is gone all the same is refused (10071) like any former owner, and takes over again.
    """
    return {
        "name": LOG_STREAM,
        "description": "Facts, decisions and outcomes of the Tapio Operator, in one order.",
        "subjects": ["tapio.log.>", "tapio.epoch.>", "tapio.cursor.>"],
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "compression": "s2",
        "num_replicas": replicas,
        "max_age": max_age,
        "max_bytes": max_bytes,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "duplicate_window": _DUPLICATE_WINDOW,
        "allow_direct": True,
        "allow_atomic": True,
        "deny_delete": True,
        "deny_purge": True,
        "allow_rollup_hdrs": False,
        "metadata": {PARTITIONS_METADATA: str(partitions)},
    }


def admitted_config(replicas: int, max_bytes: int) -> JsonObject:
    """Configuration of TAPIO_ADMITTED: its rate is anybody's, so its limits are its own."""
    return {
        "name": ADMITTED_STREAM,
        "description": "What the webhook admitted and refused, and who asked.",
        "subjects": ["tapio.admitted.>"],
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "compression": "s2",
        "num_replicas": replicas,
        "max_age": 30 * _DAY,
        "max_bytes": max_bytes,
        "allow_direct": True,
        "deny_delete": True,
        "deny_purge": True,
        "allow_rollup_hdrs": False,
    }


def members_config(replicas: int) -> JsonObject:
    """Configuration of the key-value bucket of living workers: an entry lives as long as it is renewed."""
    return {
        "name": f"KV_{MEMBERS_BUCKET}",
        "description": "Living reconciler workers.",
        "subjects": [f"$KV.{MEMBERS_BUCKET}.>"],
        "retention": "limits",
        "discard": "new",
        "storage": "file",
        "num_replicas": replicas,
        "max_msgs_per_subject": 1,
        "max_age": int(MEMBER_TTL * 1e9),
        "duplicate_window": int(MEMBER_TTL * 1e9),
        "allow_direct": True,
        "allow_rollup_hdrs": False,
        "deny_delete": True,
        "deny_purge": True,
    }


async def _existing_partitions(connection: NatsConnection) -> int:
    try:
        info = await connection.api(f"STREAM.INFO.{LOG_STREAM}", None, _Info)
    except LogMissing:
        return 0
    return int(info.config.metadata.get(PARTITIONS_METADATA, "0"))


async def ensure_stream(connection: NatsConnection, config: JsonObject) -> tuple[str, ...]:
    """Make the stream, or change it if it is not as it must be; answers what was set (all of it when it was made).

    One that is right costs a look and no permission. What `config` does not name keeps its value.
    """
    name = config["name"]
    try:
        present = (await connection.api(f"STREAM.INFO.{name}", None, _WholeInfo)).config
    except LogMissing:
        await connection.api(f"STREAM.CREATE.{name}", config, _Info)
        log.info("stream made", stream=name)
        return tuple(sorted(config))
    different = different_settings(present, config)
    if different:
        await connection.api(f"STREAM.UPDATE.{name}", {**present, **config}, _Info)
        log.info("stream changed", stream=name, settings=different)
    return different


def different_settings(present: JsonObject, wanted: JsonObject) -> tuple[str, ...]:
    """Names of the settings of `wanted` that `present`, as a server tells it, does not meet; sorted."""
    return tuple(sorted(key for key, value in wanted.items() if not _is_met(present.get(key), value)))


def _is_met(present: JsonValue, wanted: JsonValue) -> bool:
    """Whether a setting is as wanted: the server leaves out what is false and adds metadata of its own."""
    if isinstance(wanted, dict):
        return isinstance(present, dict) and all(present.get(key) == value for key, value in wanted.items())
    return present == wanted or (wanted is False and present is None)
