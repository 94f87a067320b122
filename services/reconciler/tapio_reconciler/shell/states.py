"""What a partition's owner remembers of its keys: little of every key, the whole state of those at work.

A converged key costs its revision, a digest and two sequences. The states of keys at work are kept up to a limit and
follow the log; a cold key's state is read again when it is needed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog

from tapio_reconciler.core.dirtying import dirties
from tapio_reconciler.core.state import Entry, State, evolve
from tapio_shared.api.names import cluster_ref
from tapio_shared.codec import decode_record
from tapio_shared.errors import Undecodable
from tapio_shared.facts import DecisionRecorded, ObjectObserved, OutcomeRecorded
from tapio_shared.keys import Address, OrderingKey, key_prefix, parse_subject
from tapio_shared.ports import EventLog, Message, View

log = structlog.get_logger(__name__)
HOT_KEYS = 16
"""States kept per partition: some 40 facts of 2 KB each."""
PARKED_KEPT = 100
"""Unreadable messages kept for being shown; more are counted."""


@dataclass(slots=True)
class Known:
    """What is remembered of every key of the partition."""

    uid: str = ""
    """UID of the TapioCluster, as last observed."""
    revision: int = 0
    """Highest sequence seen for the key: its state must be read at least up to here."""
    desired_digest: str = ""
    decision: int = 0
    outcome: int = 0


@dataclass(slots=True)
class Parked:
    """A message that this version can't read."""

    subject: str
    sequence: int
    reason: str


@dataclass(slots=True)
class States:
    """The keys of one partition."""

    event_log: EventLog
    partitions: int
    known: dict[OrderingKey, Known] = field(default_factory=dict[OrderingKey, Known])
    shared: dict[str, dict[str, Entry]] = field(default_factory=dict[str, dict[str, Entry]])
    """Target -> name of the shared fact -> its last record."""
    parked: OrderedDict[int, Parked] = field(default_factory=OrderedDict[int, Parked])
    """The newest messages that could not be read, by sequence."""
    parked_total: int = 0
    _hot: OrderedDict[OrderingKey, State] = field(default_factory=OrderedDict[OrderingKey, State])

    def fold(self, message: Message) -> tuple[Address | None, bool]:
        """Fold one message; answers whose it is and whether that key (or every key of its target) is to be planned."""
        entry = self._decoded(message)
        if entry is None:
            return None, False
        address = self._addressed(message)
        if address is None:
            return None, False
        if address.key is None:
            facts = self.shared.setdefault(address.target, {})
            known_fact = facts.get(address.what)
            if known_fact is not None and known_fact.sequence >= entry.sequence:
                return address, False
            facts[address.what] = entry
            return address, dirties(entry.record, None if known_fact is None else known_fact.record)
        known = self.known.setdefault(address.key, Known())
        known.revision = max(known.revision, message.sequence)
        match entry.record:
            case DecisionRecorded() as decision:
                if message.sequence > known.decision:
                    known.decision, known.desired_digest = message.sequence, decision.desired_digest
            case ObjectObserved() as fact if address.ref == cluster_ref(address.key.namespace, address.key.name):
                known.uid = fact.uid
            case OutcomeRecorded():
                known.outcome = max(known.outcome, message.sequence)
            case _:
                pass
        state = self._hot.get(address.key)
        before = None
        if state is not None:
            was = state.own.get(message.subject)
            if was is not None and was.sequence >= message.sequence:
                return address, False
            before = None if was is None else was.record
            evolve(state, message.subject, entry)
        return address, dirties(entry.record, before)

    async def state(self, key: OrderingKey) -> State:
        """The state of `key`, complete up to everything that was followed so far."""
        state = self._hot.get(key)
        if state is None:
            known = self.known.setdefault(key, Known())
            view = await self._view(key)
            while view.revision < known.revision:  # Followed meanwhile, and folded into no state: the key was cold.
                view = await self._view(key)
            state = State(key)
            for message in view.messages:
                entry = self._decoded(message)
                if entry is not None and self._addressed(message) is not None:
                    evolve(state, message.subject, entry)
            self._keep(key, state)
        self._hot.move_to_end(key)
        state.shared = dict(self.shared.get(key.target, {}))
        return state

    def hydrate(self, messages: Iterable[Message]) -> None:
        """Fold a partition's last messages, as read when it was taken over."""
        for message in messages:
            self.fold(message)

    def forget(self, key: OrderingKey) -> None:
        """Drop the state of a key that has nothing left to do; it is read again when something happens."""
        self._hot.pop(key, None)

    def uid_of(self, key: OrderingKey) -> str:
        """UID of the key's TapioCluster, empty when it was never observed."""
        known = self.known.get(key)
        return "" if known is None else known.uid

    def keys_of(self, target: str) -> list[OrderingKey]:
        return sorted(key for key in self.known if key.target == target)

    def _keep(self, key: OrderingKey, state: State) -> None:
        self._hot[key] = state
        while len(self._hot) > HOT_KEYS:
            self._hot.popitem(last=False)

    async def _view(self, key: OrderingKey) -> View:
        return await self.event_log.last_per_subject(
            f"{key_prefix(key, self.partitions)}.>", at_least=self.known[key].revision
        )

    def _addressed(self, message: Message) -> Address | None:
        try:
            return parse_subject(message.subject)
        except ValueError as err:
            self._park(message, str(err))
            return None

    def _decoded(self, message: Message) -> Entry | None:
        try:
            return Entry(message.sequence, decode_record(message.data))
        except Undecodable as err:
            self._park(message, str(err))
            return None

    def _park(self, message: Message, reason: str) -> None:
        if message.sequence in self.parked:
            return
        log.error("message parked", subject=message.subject, sequence=message.sequence, reason=reason)
        self.parked[message.sequence] = Parked(message.subject, message.sequence, reason)
        self.parked_total += 1
        while len(self.parked) > PARKED_KEPT:
            self.parked.popitem(last=False)
