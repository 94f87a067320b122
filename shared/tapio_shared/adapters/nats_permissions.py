"""Who may say what on the operator's NATS: one user per service, made into a server's configuration.

Streams are made by an identity of its own; no service may purge or delete one, delete a message or roll one up. One
more, which no service has and a person is given to import a history or to erase a name, may make both anew. What
subjects can't tell apart, permissions can't either: docs/measurements/jetstream.md says what they do not stop.

A person who may read the history of one namespace alone gets a user of his own (`reader_of`, docs/reading-rights.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from tapio_shared.adapters.nats_connection import inbox_prefix_of
from tapio_shared.adapters.provisioning import MEMBERS_BUCKET
from tapio_shared.errors import InvalidSettings
from tapio_shared.json import JsonObject, JsonValue
from tapio_shared.keys import ADMITTED_STREAM, LOG_STREAM, escape_token

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

    def entry(self, password: str) -> JsonObject:
        """As one of the `users` of an account in nats-server's configuration."""
        return {"user": self.service, "password": password, "permissions": self.permissions()}


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


def reader_of(target: str, namespace: str, *, with_users: bool) -> Grant:
    """Who may read the history of the TapioClusters in one namespace, and nothing of what is recorded of others.

    He follows the subjects of that namespace, and the shared facts of the target, which every plan rests on (fleet,
    configuration, discovery). Whatever answers to a filter in a request's body is not his, for no permission sees into
    a body: no direct get, no single message. `with_users`: also what the webhook answered there, names included.
    """
    scope = f"{escape_token(target)}.{escape_token(namespace)}.>"
    log = _follow(LOG_STREAM, f"tapio.log.*.{scope}", f"tapio.log.*._shared.{escape_token(target)}.>")
    granted = [f"$JS.API.STREAM.INFO.{LOG_STREAM}", *log]
    if with_users:
        granted += [f"$JS.API.STREAM.INFO.{ADMITTED_STREAM}", *_follow(ADMITTED_STREAM, f"tapio.admitted.{scope}")]
    # What is heard in an inbox is his whose it is, so no two readers may have one name, whatever their parts are.
    unique = hashlib.sha256(scope.encode()).hexdigest()[:8]
    return Grant(f"tapio-reader-{target}-{namespace}-{unique}", tuple(granted))


def accounts_config(passwords: Mapping[str, str], readers: Mapping[Grant, str] | None = None) -> str:
    """The `accounts` block of nats-server's configuration with a user per service of `passwords`, and the `readers`.

    Passwords may be bcrypt hashes (`nats server passwd`). `InvalidSettings` for a service that is none of ours.
    """
    known = {grant.service: grant for grant in GRANTS}
    unknown = sorted(passwords.keys() - known.keys())
    if unknown:
        raise InvalidSettings(
            f"There are no permissions for {', '.join(unknown)}; the services are {', '.join(known)}."
        )
    users: list[JsonValue] = [known[service].entry(password) for service, password in sorted(passwords.items())]
    users += [reader.entry(password) for reader, password in (readers or {}).items()]
    accounts: JsonObject = {"TAPIO": {"jetstream": "enabled", "users": users}, "SYS": {"users": []}}
    return f"accounts: {json.dumps(accounts, indent=2)}\nsystem_account: SYS\n"
