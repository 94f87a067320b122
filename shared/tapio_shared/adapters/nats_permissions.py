"""Who may say what on the operator's NATS: one user per service, made into a server's configuration.

Streams are made by an identity of its own; no service may purge or delete one, delete a message or roll one up. One
more, which no service has and a person is given to import a history or to erase a name, may make both anew. What
subjects can't tell apart, permissions can't either: docs/measurements/jetstream.md says what they do not stop.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from tapio_shared.adapters.nats_connection import inbox_prefix_of
from tapio_shared.adapters.provisioning import MEMBERS_BUCKET
from tapio_shared.errors import InvalidSettings
from tapio_shared.json import JsonObject, JsonValue
from tapio_shared.keys import ADMITTED_STREAM, LOG_STREAM

_MEMBERS_STREAM = f"KV_{MEMBERS_BUCKET}"
_OF_A_KEY = "tapio.log.*.*.*.*"
"""Partition, target, namespace and name; `_shared` facts have fewer tokens after it and never match what follows."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What one service may publish; it may subscribe to its own inboxes alone."""

    service: str
    publish: tuple[str, ...]

    def permissions(self) -> JsonObject:
        """As the `permissions` of a user in nats-server's configuration."""
        return {
            "publish": {"allow": [*self.publish]},
            "subscribe": {"allow": [f"{inbox_prefix_of(self.service)}.>"]},
        }


def _look(stream: str) -> tuple[str, ...]:
    """Last messages and the state of `stream`."""
    return (f"$JS.API.STREAM.INFO.{stream}", f"$JS.API.STREAM.MSG.GET.{stream}", f"$JS.API.DIRECT.GET.{stream}")


def _follow(stream: str, *filters: str) -> tuple[str, ...]:
    """Ephemeral consumers of `stream`, each with one filter, which the server checks against the request's subject."""
    creates = tuple(f"$JS.API.CONSUMER.CREATE.{stream}.*.{one}" for one in filters)
    return (*creates, f"$JS.API.CONSUMER.DELETE.{stream}.*", f"$JS.FC.{stream}.>")


GRANTS = (
    Grant(
        "tapio-watcher",
        (
            f"{_OF_A_KEY}.object.>",
            "tapio.log.*._shared.>",
            "tapio.cursor.>",
            *_look(LOG_STREAM),
            *_follow(LOG_STREAM, "tapio.log.>", "tapio.cursor.>"),
            # To see that all is provisioned:
            f"$JS.API.STREAM.INFO.{ADMITTED_STREAM}",
            f"$JS.API.STREAM.INFO.{_MEMBERS_STREAM}",
        ),
    ),
    Grant(
        "tapio-reconciler",
        (
            f"{_OF_A_KEY}.decision",
            f"{_OF_A_KEY}.outcome",
            f"{_OF_A_KEY}.timer.*",
            f"{_OF_A_KEY}.parked",
            "tapio.log.*._shared.*.parked",
            "tapio.epoch.*",
            *_look(LOG_STREAM),
            *_follow(LOG_STREAM, "tapio.log.>"),
            f"$KV.{MEMBERS_BUCKET}.*",
            *_look(_MEMBERS_STREAM),
        ),
    ),
    Grant("tapio-webhook", ("tapio.admitted.>", *_look(ADMITTED_STREAM))),
    Grant(
        "tapioctl",
        (
            *_look(LOG_STREAM),
            *_look(ADMITTED_STREAM),
            *_look(_MEMBERS_STREAM),
            *_follow(LOG_STREAM, "tapio.>"),
            *_follow(ADMITTED_STREAM, "tapio.admitted.>"),
        ),
    ),
    Grant(
        "tapio-keeper",
        tuple(
            subject
            for stream in (LOG_STREAM, ADMITTED_STREAM)
            for subject in (
                *(f"$JS.API.STREAM.{verb}.{stream}" for verb in ("INFO", "DELETE", "RESTORE")),
                f"$JS.SNAPSHOT.RESTORE.{stream}.*",
            )
        ),
    ),
    Grant(
        "tapio-provisioner",
        tuple(
            f"$JS.API.STREAM.{verb}.{stream}"
            for stream in (LOG_STREAM, ADMITTED_STREAM, _MEMBERS_STREAM)
            for verb in ("INFO", "CREATE", "UPDATE")
        ),
    ),
)
"""Every identity, by the name that its connection carries."""


def accounts_config(passwords: Mapping[str, str]) -> str:
    """The `accounts` block of nats-server's configuration with a user per service of `passwords`.

    Passwords may be bcrypt hashes (`nats server passwd`). `InvalidSettings` for a service that is none of ours.
    """
    known = {grant.service: grant for grant in GRANTS}
    unknown = sorted(passwords.keys() - known.keys())
    if unknown:
        raise InvalidSettings(
            f"There are no permissions for {', '.join(unknown)}; the services are {', '.join(known)}."
        )
    users: list[JsonValue] = [
        {"user": service, "password": password, "permissions": known[service].permissions()}
        for service, password in sorted(passwords.items())
    ]
    accounts: JsonObject = {"TAPIO": {"jetstream": "enabled", "users": users}, "SYS": {"users": []}}
    return f"accounts: {json.dumps(accounts, indent=2)}\nsystem_account: SYS\n"
