"""The API server's audit log: what was asked of it, by whom, and with which result.

It is the only witness that counts every write: a test that says "a converged operator writes nothing" asks here.
Source: Kubernetes, "Auditing"; one JSON object per line.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import yaml

from tapio_shared.json import JsonObject

METADATA: tuple[JsonObject, ...] = ({"level": "Metadata"},)
"""Policy rules: who, what, when and the result of every request, no bodies."""

MARKER_PATH = "/version"
_MARKER_RULE: JsonObject = {"level": "Metadata", "nonResourceURLs": [MARKER_PATH]}
_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


class AuditUser(msgspec.Struct, frozen=True, rename="camel"):
    """Who asked."""

    username: str = ""
    groups: tuple[str, ...] = ()


class AuditObject(msgspec.Struct, frozen=True, rename="camel"):
    """What was asked for. On a create by `generateName` the name is empty."""

    resource: str = ""
    namespace: str = ""
    name: str = ""
    api_group: str = ""
    api_version: str = ""
    subresource: str = ""


class AuditStatus(msgspec.Struct, frozen=True, rename="camel"):
    """How it ended: the HTTP status."""

    code: int = 0


class AuditEvent(msgspec.Struct, frozen=True, rename="camel"):
    """One finished request."""

    verb: str
    request_uri: str = msgspec.field(name="requestURI", default="")
    stage: str = ""
    user_agent: str = ""
    user: AuditUser = AuditUser()
    object_ref: AuditObject = AuditObject()
    response_status: AuditStatus = AuditStatus()
    request_received_timestamp: str = ""
    request_object: JsonObject | None = None
    response_object: JsonObject | None = None

    @property
    def is_write(self) -> bool:
        """Whether the request asked for a change, granted or not; a dry run is none."""
        return self.verb in _WRITES and "dryRun=" not in self.request_uri

    @property
    def succeeded(self) -> bool:
        return 200 <= self.response_status.code < 300


def write_policy(path: Path, rules: Sequence[JsonObject]) -> None:
    """The policy file for `rules`, first match first, with the rule that `AuditLog` needs before them."""
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [_MARKER_RULE, *rules],
    }
    path.write_text(yaml.safe_dump(policy, sort_keys=False))


_TAIL = 1 << 16
"""Bytes read from the end to find that of the last whole line; more when that line is longer."""


class AuditLog:
    """Reads the file that kube-apiserver appends to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def size(self) -> int:
        """Bytes of whole lines so far; a position to read from. A busy server is nearly always writing one more."""
        if not self.path.exists():
            return 0
        with self.path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            start = end
            while start > 0:
                start = max(0, start - _TAIL)
                file.seek(start)
                newline = file.read(end - start).rfind(b"\n")
                if newline >= 0:
                    return start + newline + 1
        return 0

    def holds(self, marker: str, since: int) -> bool:
        """Whether a whole line with `marker` came after position `since`."""
        return any(marker.encode() in line for line in self._lines(since))

    def read(self, since: int = 0) -> list[AuditEvent]:
        """The finished requests after position `since`, markers left out."""
        events = [msgspec.json.decode(line, type=AuditEvent) for line in self._lines(since)]
        return [event for event in events if not event.request_uri.startswith(f"{MARKER_PATH}?marker=")]

    def _lines(self, since: int) -> list[bytes]:
        """Whole lines alone: the last one may be half written."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(since)
            return file.read().split(b"\n")[:-1]
