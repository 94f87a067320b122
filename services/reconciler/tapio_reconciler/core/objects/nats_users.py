"""Who may do what on a TapioCluster's NATS: three accounts, one user for each component, and nothing for anybody else.

Collectors have an account of their own and reach the stream through a service import. Users of one account that may
subscribe to `_INBOX.>`, as every upstream program must, could read each other's answers; what collectors could read
there would be the observations that the loader fetches. Tried on nats-server 2.15.1: docs/adr/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from tapio_shared.api.collectors import CollectorType
from tapio_shared.json import JsonObject, JsonValue

STREAM, CONSUMER = "OBSERVATIONS", "neo4j-loader"
SUBJECTS = "observations"
TAPIO, COLLECTORS, SYSTEM = "TAPIO", "COLLECTORS", "SYS"
CORRELATION, GATEWAY, STREAMS, SYSTEM_USER = "correlation", "gateway", "streams", "system"

OBSERVERS: Mapping[CollectorType, Sequence[str]] = {
    "ebpf": ("container-runtime", "kernel", "memory", "network", "process-signals", "scheduler", "storage-io"),
    "systemd": ("systemd", "health"),
    "cni": ("network", "container-runtime"),
    "kubernetes": ("lifecycle", "health"),
    "etcd": ("health",),
}
"""Of upstream's registered observers, those that make sense in a collector of each type."""

_LOOK = ("$JS.API.INFO", f"$JS.API.STREAM.INFO.{STREAM}")
"""Publishers ask whether the stream exists before they publish."""


class User(msgspec.Struct, frozen=True):
    """One user of an account; publishing and subscribing are denied beyond these subjects."""

    name: str
    account: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def inbox_prefix(user: str) -> str:
    """Below which a program that lets its prefix be set receives answers."""
    return f"_INBOX_{user}"


def own_inbox(user: str) -> str:
    """What such a program is permitted to subscribe to."""
    return f"{inbox_prefix(user)}.>"


def users(more_observers: Mapping[str, Iterable[str]]) -> tuple[User, ...]:
    """Every user, whether its component is enabled or not, so that enabling one restarts no server.

    `more_observers` are those that the configuration of a collector type enables beyond the usual ones.
    """
    loader = (
        f"$JS.API.CONSUMER.INFO.{STREAM}.{CONSUMER}",
        f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}",
        f"$JS.ACK.{STREAM}.{CONSUMER}.>",
    )
    keeper = (
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        *(f"$JS.API.STREAM.{verb}.{STREAM}" for verb in ("INFO", "CREATE", "UPDATE")),
        f"$JS.API.CONSUMER.NAMES.{STREAM}",
        f"$JS.API.CONSUMER.INFO.{STREAM}.*",
        f"$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.*",
    )
    collectors = tuple(
        User(kind, COLLECTORS, (*_LOOK, *_subjects({*usual, *more_observers.get(kind, ())})), ("_INBOX.>",))
        for kind, usual in OBSERVERS.items()
    )
    return (
        User(CORRELATION, TAPIO, (*_LOOK, *loader), ("_INBOX.>",)),
        User(GATEWAY, TAPIO, _LOOK, (own_inbox(GATEWAY),)),
        User(STREAMS, TAPIO, keeper, (own_inbox(STREAMS),)),
        *collectors,
    )


def accounts(found: Sequence[User]) -> JsonObject:
    """The accounts in NATS' configuration language."""
    services = (f"{SUBJECTS}.>", *_LOOK)
    exports: list[JsonValue] = [{"service": subject, "accounts": [COLLECTORS]} for subject in services]
    imports: list[JsonValue] = [{"service": {"account": TAPIO, "subject": subject}} for subject in services]
    return {
        TAPIO: {"jetstream": "enabled", "users": _users(found, TAPIO), "exports": exports},
        COLLECTORS: {"users": _users(found, COLLECTORS), "imports": imports},
        SYSTEM: {"users": [{"user": SYSTEM_USER, "password": f"${variable(SYSTEM_USER)}"}]},
    }


def passwords(found: Sequence[User]) -> tuple[str, ...]:
    """Keys of the Secret with the passwords, one for each user; sorted."""
    return tuple(sorted({*(one.name for one in found), SYSTEM_USER}))


def variable(user: str) -> str:
    """The variable of a server's environment that holds a user's password."""
    return f"TAPIO_NATS_{user.upper()}"


def _subjects(observers: Iterable[str]) -> list[str]:
    return [f"{SUBJECTS}.{name}" for name in sorted(observers)]


def _users(found: Sequence[User], account: str) -> list[JsonValue]:
    return [
        {
            "user": one.name,
            "password": f"${variable(one.name)}",
            "permissions": {"publish": {"allow": [*one.publish]}, "subscribe": {"allow": [*one.subscribe]}},
        }
        for one in found
        if one.account == account
    ]
