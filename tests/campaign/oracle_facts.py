"""What the log tells must have been so, and nothing waits for another try in the end: facts are held against the
simulator's own log of writes.

Like the oracle it shares no code with the operator. It says nothing of schedules in which lists and reads were answered
from the past: who is shown the past tells it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from tapio_shared.ports import Message
from tapio_simulator.writes import Write
from tests.campaign.world import CONTROLLERS, RECONCILER, WATCHER, World

Document = dict[str, Any]
_PARTS = frozenset({RECONCILER.name, WATCHER.name, CONTROLLERS.name})
_ENDS = frozenset({"delete", "deletecollection"})
_LATE = 5.0
"""Seconds by which a try may come late."""


class Owed:
    """Another try that the last decision about a TapioCluster asks for: the operator has not come to rest.

    Until it is due, and no longer: once what failed turns out to have been done, a plan with nothing to do asks for no
    try and is not recorded. How long that is follows from the decision alone, since clocks jump.
    """

    def __init__(self) -> None:
        self._until: dict[tuple[str, int], float] = {}
        """By subject and sequence of a decision: when what it asks for has been due, by the loop's time."""

    def tries(self, world: World) -> list[str]:
        """What is still waited for, as sentences."""
        there = {
            (target, one["metadata"]["namespace"], one["metadata"]["name"])
            for target in world.clusters
            for one in cast("list[Document]", world.documents(target))
            if one["kind"] == "TapioCluster"
        }
        now, found = world.clock.monotonic(), list[str]()
        for subject, message in world.log.last_messages().items():
            tokens = subject.split(".")
            if tokens[-1] != "decision" or tuple(tokens[3:6]) not in there:
                continue
            decision: Document = json.loads(message.data)
            for one in decision.get("timers", []):
                if one["name"] == "retry":
                    wait = (one["due_at"] - decision["inputs"]["now"]) / 1000
                    if now < self._until.setdefault((subject, message.sequence), now + wait + _LATE):
                        found.append(f"{subject} asks for another try at {one['due_at']}")
        return found


def untrue(world: World) -> list[str]:
    """Facts that tell of an older version of an object after a newer one, or of an end that never was."""
    if world.fired["API: stale lists and reads"]:
        return []
    found: list[str] = []
    for life in world.log.lives:
        told = _Told(world)
        for message in life:
            found += told.next(message)
    return found


@dataclass(frozen=True, slots=True)
class _Last:
    """The last fact of one subject."""

    uid: str
    version: int
    is_ending: bool
    """It told that the object waits for its finalizers."""


class _Told:
    """One life of the log, read from its beginning."""

    def __init__(self, world: World) -> None:
        self._last: dict[str, _Last] = {}
        self._kinds: set[str] = set()
        self._writes: dict[tuple[str, str, str, str], list[Write]] = {}
        for target, cluster in world.clusters.items():
            kinds = {served.resource.group_resource: served.resource.kind for served in cluster.api.registry}
            self._kinds |= set(kinds.values())
            for write in cluster.writes:
                if write.effective:
                    name = (target, kinds.get(write.resource, ""), write.namespace, write.name)
                    self._writes.setdefault(name, []).append(write)

    def next(self, message: Message) -> Iterator[str]:
        """What is wrong with the next message."""
        tokens = [_unescaped(token) for token in message.subject.split(".")]
        # What is put together from several objects has a kind of its own; a Secret that nobody refers to any more ends.
        if len(tokens) != 11 or tokens[6] != "object" or tokens[8] not in self._kinds or tokens[8] == "Secret":
            return
        fact = cast("Document", json.loads(message.data))
        before, where = self._last.pop(message.subject, None), f"fact {message.sequence} of {message.subject}"
        if fact["type"] == "ObjectObserved":
            version = int(fact["resource_version"])
            metadata: Document = fact["object"].get("metadata") or {}
            self._last[message.subject] = _Last(fact["uid"], version, "deletionTimestamp" in metadata)
            if before is not None and before.uid == fact["uid"] and version < before.version:
                yield f"{where} tells of version {version}, and the one before it of {before.version}"
        elif before is not None and not self._may_have_ended(tokens, before, message.written_at):
            yield f"{where} tells of an end, and nothing had ended version {before.version}"

    def _may_have_ended(self, tokens: list[str], before: _Last, written_at: int) -> bool:
        """Whether an object may have ended, or have left its TapioCluster, between its last fact and this one."""
        for write in self._writes.get((tokens[3], tokens[8], tokens[9], tokens[10]), ()):
            if tokens[8] != "TapioCluster" and write.user not in _PARTS and write.at <= written_at:
                return True  # Somebody edited labels: it may have moved to another TapioCluster, and back.
            if before.version < write.version and write.at <= written_at and (write.verb in _ENDS or before.is_ending):
                return True
        return False


def _unescaped(token: str) -> str:
    return "" if token == "_" else re.sub("=([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), token)
