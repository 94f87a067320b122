"""Where the log is that a command is about: a NATS that is named, or that of the run in this folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tapio_cli.history.options import Where
from tapio_shared.errors import InvalidSettings
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


def live(named: Where) -> Live:
    """What the options name: a NATS, or else the one of the run in the folder. InvalidSettings if there is none."""
    if named.url:
        return Live(url=named.url, credentials=named.credentials, ca=named.ca)
    running = named.directory / CLIENT_FILE
    if running.is_file():
        known = cast("JsonObject", json.loads(running.read_text()))
        return Live(url=str_at(known, "url"), credentials=str_at(known, "credentials"))
    raise InvalidSettings(
        "No history is named and none is running here. Name an archive (--from FILE) or the operator's NATS "
        "(--nats-url, --nats-credentials), or start a run in this folder (make run)."
    )


def live_to_change(named: Where) -> Live:
    """The same for making its streams anew: that of the run in the folder takes another user."""
    found = live(named)
    if named.url:
        return found
    return Live(url=found.url, credentials=str(Path(found.credentials).with_name(f"{KEEPER}.json")), ca=found.ca)
