"""Replay: fold recorded facts again, plan again at every decision, and compare. No effects, no clock, no log.

A decision names what it rests on: the revision of its key's state and the sequences of the shared facts. It is planned
again from exactly that, whatever else had been appended by the time it was recorded.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from tapio_reconciler.core.planning import plan
from tapio_reconciler.core.plans import Plan
from tapio_reconciler.core.reading import entry_of, is_unreadable
from tapio_reconciler.core.rests_on import checksum_of, newest_of
from tapio_reconciler.core.rules import NEWEST, OLDEST, RULES
from tapio_reconciler.core.state import Entry, State, evolve
from tapio_shared.facts import DecisionRecorded, MessageParked, OutcomeRecorded, SweepMarked, Synced
from tapio_shared.keys import OrderingKey, address_of
from tapio_shared.ports import Message


class Verdict(StrEnum):
    """What replaying one decision came to."""

    IDENTICAL = "identical"
    DIVERGED = "diverged"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One recorded decision and what this code makes of the same facts."""

    key: OrderingKey
    sequence: int
    verdict: Verdict
    recorded: DecisionRecorded
    planned: Plan | None = None
    """None where it was skipped."""
    reason: str = ""
    """Why it was skipped, as a sentence."""


@dataclass(slots=True)
class _Key:
    state: State
    pending: deque[tuple[Message, Entry | None]] = field(default_factory=deque[tuple[Message, "Entry | None"]])
    """Told, and not yet part of what a decision rests on. Read then, unless it was: most are replaced before anything
    does."""
    read: State | None = None
    """The same without what had been dropped by then, once there was such; kept for what is remembered with it."""
    is_whole: bool = False
    """Whether the history holds what the operator remembered of the key when it began."""

    def fold(self, revision: int) -> None:
        """Fold what was told up to `revision`: of each subject the last, since `evolve` keeps no other."""
        newest: dict[str, tuple[Message, Entry | None]] = {}
        while self.pending and self.pending[0][0].sequence <= revision:
            message, entry = self.pending.popleft()
            newest[message.subject] = message, entry
        for subject, (message, entry) in newest.items():
            evolve(self.state, subject, entry or entry_of(message))

    def as_read(self, begins: int) -> State:
        """The state as it was read from a log that began at `begins`: what stood before had been dropped.

        An archive still holds it; but the end of an object that the log told of no more was never told.
        """
        state = self.state
        if begins <= 1 or all(entry.sequence >= begins for entry in state.own.values()):
            return state
        read = self.read = self.read or State(state.key)
        read.own = {subject: entry for subject, entry in state.own.items() if entry.sequence >= begins}
        read.shared, read.revision, read.log_begins = state.shared, state.revision, state.log_begins
        return read


class Replayer:
    """Replays what it is fed, in the order of the log. Keys of several partitions and targets may be mixed."""

    def __init__(self, *, begins: int = 1) -> None:
        """`begins`: the first sequence that the log held; from 1 on nothing was dropped.

        A log that begins later is whole from where the watcher first vouches for all that it holds (ADR 0006).
        """
        self._begins = begins
        self._whole_from: dict[tuple[int, str], int] = {}
        self._keys: dict[OrderingKey, _Key] = {}
        self._shared: dict[tuple[int, str], dict[str, dict[int, Entry]]] = {}

    def feed(self, message: Message) -> Replayed | None:
        """Take in the next message; answers what came of it when it is a decision."""
        try:
            address = address_of(message.subject)
        except ValueError:
            return None  # An epoch, a cursor, or nothing of ours: no state holds it.
        if address.key is None:
            entry = entry_of(message)
            if not is_unreadable(message, entry) or (isinstance(entry.record, MessageParked) and entry.record.newer):
                facts = self._shared.setdefault((address.partition, address.target), {})
                facts.setdefault(address.what, {})[entry.sequence] = entry
            if isinstance(entry.record, Synced | SweepMarked) and entry.record.complete_from >= self._begins:
                self._whole_from.setdefault((address.partition, address.target), entry.sequence)
            return None
        found = self._keys.get(address.key)
        if found is None:
            found = self._keys[address.key] = _Key(State(address.key), is_whole=self._begins <= 1)
        replayed: Replayed | None = None
        own: Entry | None = None
        if address.what == "decision":
            own = entry_of(message)
            if isinstance(own.record, DecisionRecorded):
                replayed = self._again(found, message.sequence, address.partition, own.record)
        elif address.what == "outcome" and not found.is_whole:
            own = entry_of(message)
            found.is_whole = isinstance(own.record, OutcomeRecorded)
        found.pending.append((message, own))
        return replayed

    def _again(self, key: _Key, sequence: int, partition: int, recorded: DecisionRecorded) -> Replayed:
        state = key.state

        def skipped(reason: str) -> Replayed:
            return Replayed(key=state.key, sequence=sequence, verdict=Verdict.SKIPPED, recorded=recorded, reason=reason)

        if recorded.revision < state.revision:
            return skipped("It was recorded before, and only written again by a sweep.")
        if recorded.inputs.logic not in RULES:
            return skipped(
                f"It was made under rules {recorded.inputs.logic}, and this version knows {OLDEST} to {NEWEST}: "
                "replay it with the version that made it, or a newer one."
            )
        key.fold(recorded.revision)
        whole_from = 1 if self._begins <= 1 else self._whole_from.get((partition, state.key.target))
        if whole_from is None or recorded.revision < whole_from or not key.is_whole:
            return skipped("The history does not hold everything that it rests on: that was dropped from the log.")
        if state.revision != recorded.revision:
            return skipped(f"The history does not hold revision {recorded.revision}, on which it rests.")
        facts = self._shared.get((partition, state.key.target), {})
        shared: dict[str, Entry] = {}
        for name, at in recorded.inputs.shared_revisions.items():
            entry = facts.get(name, {}).get(at)
            if entry is None:
                return skipped(f"The history does not hold the shared fact {name} at {at}, on which it rests.")
            shared[name] = entry
        state.shared = shared
        read = key.as_read(recorded.inputs.log_begins)
        if recorded.rests_on and recorded.rests_on != checksum_of(read):
            return skipped(
                f"The log went back and has grown again: what stands at {newest_of(read)} is not what it rests on."
            )
        planned = plan(read, recorded.inputs)
        same = planned.decision.digest == recorded.digest
        return Replayed(
            key=state.key,
            sequence=sequence,
            verdict=Verdict.IDENTICAL if same else Verdict.DIVERGED,
            recorded=recorded,
            planned=planned,
        )
