"""What the stream keeper is told: a file from a ConfigMap, and credentials from a Secret by environment or file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from tapio_shared.errors import InvalidSettings
from tapio_shared.json import JsonObject

USERNAME, PASSWORD = "NATS_USERNAME", "NATS_PASSWORD"


class Configuration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. `credentials` and `ca` are paths of files; empty means none."""

    servers: list[str]
    stream: JsonObject
    consumers: list[JsonObject]
    mayHaveFewerReplicas: bool = False  # noqa: N815 - as in the file
    credentials: str = ""
    ca: str = ""


def read_configuration(path: Path) -> Configuration:
    """The configuration in the file at `path`; `InvalidSettings` when it is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Configuration)
    except (OSError, msgspec.DecodeError) as err:
        raise InvalidSettings(f"The configuration {path} can't be used: {err}.") from err


def login_of(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """User and password, when the environment holds both; `InvalidSettings` for one without the other."""
    user, password = environment.get(USERNAME, ""), environment.get(PASSWORD, "")
    if bool(user) != bool(password):
        given, missing = (USERNAME, PASSWORD) if user else (PASSWORD, USERNAME)
        raise InvalidSettings(f"{given} is set and {missing} is not. Set both, or neither.")
    return (user, password) if user else None
