"""Where the log is that a command is about: a NATS that is named, or that of the run in this folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from tapio_cli.history.forwarding import Forward
from tapio_cli.history.options import Where
from tapio_shared.errors import InvalidSettings
from tapio_shared.installation import NAMESPACE, NATS_SERVICE
from tapio_shared.json import JsonObject, str_at

CLIENT_FILE = Path("nats") / "client.json"
"""Within the folder of `tapioctl run`: where its NATS is, and with which file one may read."""


KEEPER = "tapio-keeper"
"""The user of NATS that may make the streams of a history anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """A NATS that holds the log."""

    url: str
    credentials: str = ""
    ca: str = ""
    forward: Forward | None = None
    """How its port comes to this machine; `url` is then of the Service, for people."""
    run: str = ""
    """The folder of the run on this machine that it is of; empty for any other."""

    @property
    def hint(self) -> str:
        """What to do when it can't be reached."""
        if self.run:
            return f"The run in {self.run} seems to have ended: start it again (make run), or name another history."
        return (
            "See that it runs and that its port is forwarded to here, or have it forwarded (--through CONTEXT); an "
            "archive needs no NATS (--from FILE)."
        )


def live(named: Where) -> Live:
    """What the options name: a NATS, or else the one of the run in the folder. InvalidSettings if there is none."""
    if named.through:
        return _through(named)
    if named.url:
        return Live(url=named.url, credentials=named.credentials, ca=named.ca)
    running = named.directory / CLIENT_FILE
    if running.is_file():
        known = _read(running)
        return Live(url=str_at(known, "url"), credentials=str_at(known, "credentials"), run=str(named.directory))
    raise InvalidSettings(
        "No history is named and none is running here. Name an archive (--from FILE) or the operator's NATS "
        "(--nats-url, --nats-credentials), have its port forwarded (--through CONTEXT), or start a run in this folder "
        "(make run)."
    )


def _read(file: Path) -> JsonObject:
    """What a run has written down of its NATS."""
    try:
        known: object = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        known = None
    if not isinstance(known, dict) or "url" not in known:
        raise InvalidSettings(
            f"{file} does not say where the NATS of the run in this folder is: start it again (make run), or name "
            "another history (--from, --nats-url, --through)."
        )
    return cast("JsonObject", known)


def _through(named: Where) -> Live:
    namespace, _, name = named.service.partition("/")
    if not namespace or not name or "/" in name:
        raise InvalidSettings(
            f"{named.service!r} names no Service; write namespace/name, such as {NAMESPACE}/{NATS_SERVICE}."
        )
    if named.url:
        raise InvalidSettings("Both --through and --nats-url are given, and each says where NATS is. Give one of them.")
    forward = Forward(context=named.through, namespace=namespace, service=name)
    url = f"{'tls' if named.ca else 'nats'}://{forward.server_name}"
    return Live(url=url, credentials=named.credentials, ca=named.ca, forward=forward)


def live_to_change(named: Where) -> Live:
    """The same for making its streams anew: that of the run in the folder takes another user."""
    found = live(named)
    if named.url or named.through:
        return found
    return replace(found, credentials=str(Path(found.credentials).with_name(f"{KEEPER}.json")))
