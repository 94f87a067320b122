"""What a partition's owner remembers of its keys: little of every key, the whole state of those at work.

A converged key costs its revision, a digest and two sequences. The states of keys at work are kept up to a limit and
follow the log; a cold key's state is read again when it is needed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import msgspec
import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from tapio_reconciler.core.dirtying import dirties
from tapio_reconciler.core.reading import entry_of, is_unreadable, parked
from tapio_reconciler.core.state import Entry, State, evolve
from tapio_reconciler.shell.beginning import Beginning
from tapio_reconciler.shell.capacity import HotStates
from tapio_reconciler.shell.trust import Trust
from tapio_shared.api.names import cluster_ref
from tapio_shared.errors import RetryableError
from tapio_shared.facts import DecisionRecorded, MessageParked, ObjectObserved, OutcomeRecorded, Synced
from tapio_shared.keys import (
    Address,
    OrderingKey,
    decision_subject,
    key_prefix,
    outcome_subject,
    parked_subject,
    parse_subject,
    shared_subject,
)
from tapio_shared.ports import EventLog, Message, View

log = structlog.get_logger(__name__)
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
class States:
    """The keys of one partition."""

    event_log: EventLog
    partitions: int
    number: int = 0
    """Of the partition."""
    known: dict[OrderingKey, Known] = field(default_factory=dict[OrderingKey, Known])
    shared: dict[str, dict[str, Entry]] = field(default_factory=dict[str, dict[str, Entry]])
    """Target -> name of the shared fact -> its last record."""
    parked: OrderedDict[int, MessageParked] = field(default_factory=OrderedDict[int, MessageParked])
    """The newest messages that could not be read, by sequence."""
    parked_total: int = 0
    unrecorded: dict[str, MessageParked] = field(default_factory=dict[str, MessageParked])
    """Where a record is to be appended -> of which message: the newest one, which counts those before it."""
    trust: Trust = field(default_factory=Trust)
    withheld: dict[str, Message] = field(default_factory=dict[str, Message])
    """The last word on that the log is complete, by subject, where it is not gone by."""
    withholds: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is such a word."""
    newer: str = ""
    """Why a worker of this version must not own the partition: a decision or an outcome that only a newer one reads."""
    _recorded: dict[str, int] = field(default_factory=dict[str, int])
    """The same subjects -> up to which message such records have been appended."""
    hot: HotStates = field(default_factory=HotStates)
    _owner: int = field(init=False)
    _beginning: Beginning = field(init=False)

    def __post_init__(self) -> None:
        self._beginning = Beginning(self.event_log)
        self._owner = self.hot.owner()

    def fold(self, message: Message) -> tuple[Address | None, bool]:
        """Fold one message; answers whose it is and whether that key (or every key of its target) is to be planned.

        Of a key's unreadable message the state holds that it is so, whoever reads it and whenever.
        """
        address = self._addressed(message)
        if address is None:
            return None, False
        entry, is_readable = self._decoded(message, address)
        if is_readable and address.what == "parked" and isinstance(entry.record, MessageParked):
            self._note_recorded(message.subject, entry.record.sequence)
        if address.key is None:
            if not is_readable and not _newer_version(entry):
                return address, False  # the last one that could be read counts
            if isinstance(entry.record, Synced) and not self.trust.takes(entry.record.generation):
                self.withheld[message.subject] = message
                self.withholds.set()
                return address, False
            self.withheld.pop(message.subject, None)
            facts = self.shared.setdefault(address.target, {})
            known_fact = facts.get(address.what)
            if known_fact is not None and known_fact.sequence >= entry.sequence:
                return address, False
            facts[address.what] = entry
            before = None if known_fact is None else known_fact.record
            if isinstance(entry.record, Synced):
                self._forget_what_was_dropped(before, entry.record)
            return address, not is_readable or dirties(entry.record, before)
        if address.what in {"decision", "outcome"} and not is_readable and (reason := _newer_version(entry)):
            self.newer = f"The last {address.what} of {address.key} was recorded by a newer version. {reason}"
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
        state = self.hot.get(self._owner, address.key)
        before = None
        if state is not None:
            was = state.own.get(message.subject)
            if was is not None and was.sequence >= message.sequence:
                return address, False
            before = None if was is None else was.record
            evolve(state, message.subject, entry)
        return address, not is_readable or dirties(entry.record, before)

    async def state(self, key: OrderingKey) -> State:
        """The state of `key`, complete up to everything that was followed so far."""
        state = self.hot.get(self._owner, key)
        if state is None:
            known = self.known.setdefault(key, Known())
            view, begins = await self._view(key)
            while view.revision < known.revision:  # Followed meanwhile, and folded into no state: the key was cold.
                view, begins = await self._view(key)
            state = State(key, log_begins=begins)
            for message in view.messages:
                address = self._addressed(message)
                # What was dropped while it was read is left out: the decision says from where on it rests on the log.
                if address is not None and message.sequence >= begins:
                    evolve(state, message.subject, self._decoded(message, address)[0])
        self.hot.keep(self._owner, key, state)
        state.shared = dict(self.shared.get(key.target, {}))
        return state

    def hydrate(self, messages: Iterable[Message]) -> None:
        """Fold a partition's last messages, as read when it was taken over.

        What objects look like is not decoded: nothing of it is remembered, and whoever plans their key reads it.
        """
        for message in messages:
            address = self._addressed(message)
            if address is None:
                continue
            key, ref = address.key, address.ref
            if key is None or ref is None or ref == cluster_ref(key.namespace, key.name):
                self.fold(message)
            else:
                known = self.known.setdefault(key, Known())
                known.revision = max(known.revision, message.sequence)

    def _forget_what_was_dropped(self, before: object, now: Synced) -> None:
        """Have states read anew when the log is vouched for from another place on, or for the first time.

        What had been dropped before that was observed anew; but what had ended by then is told by nobody any more. The
        word of `before` may have been dropped as well: a worker that took over then knows of none.
        """
        if not isinstance(before, Synced) or now.complete_from != before.complete_from:
            self.hot.release(self._owner)

    def release(self) -> None:
        """Drop every state: the partition is no longer followed."""
        self.hot.release(self._owner)

    async def log_begins(self) -> int:
        """Where the log begins, asked after this call began."""
        return await self._beginning.sequence()

    def let_go(self, key: OrderingKey) -> None:
        """Drop the state of `key`; it is read again when it is needed."""
        self.hot.drop(self._owner, key)

    def is_hot(self, key: OrderingKey) -> bool:
        """Whether the state of `key` is at hand."""
        return self.hot.get(self._owner, key) is not None

    def at_work(self, key: OrderingKey) -> AbstractContextManager[None]:
        """Within this the state of `key` goes after all those that are not at work."""
        return self.hot.at_work(self._owner, key)

    def uid_of(self, key: OrderingKey) -> str:
        """UID of the key's TapioCluster, empty when it was never observed."""
        known = self.known.get(key)
        return "" if known is None else known.uid

    def keys_of(self, target: str) -> list[OrderingKey]:
        return sorted(key for key in self.known if key.target == target)

    def lying_below(self, key: OrderingKey, below: int) -> list[str]:
        """Subjects of the key's last decision and outcome, where these stand before sequence `below`."""
        known = self.known[key]
        standing = (
            (known.decision, decision_subject(key, self.partitions)),
            (known.outcome, outcome_subject(key, self.partitions)),
        )
        return [subject for sequence, subject in standing if 0 < sequence < below]

    async def _view(self, key: OrderingKey) -> tuple[View, int]:
        """What the log holds of `key`, and where the log begins after that was read."""
        pattern = f"{key_prefix(key, self.partitions)}.>"
        view = await self.event_log.last_per_subject(pattern, at_least=self.known[key].revision)
        return view, await self.log_begins()

    def _addressed(self, message: Message) -> Address | None:
        try:
            return parse_subject(message.subject)
        except ValueError as err:
            self._park(message, str(err), shared_subject(self.number, "", "parked"))
            return None

    def _decoded(self, message: Message, address: Address) -> tuple[Entry, bool]:
        """The message as an entry, and whether it could be read; else the entry says that it could not."""
        entry = entry_of(message)
        if not is_unreadable(message, entry) or not isinstance(entry.record, MessageParked):
            return entry, True
        where = (
            shared_subject(self.number, address.target, "parked")
            if address.key is None
            else parked_subject(address.key, self.partitions)
        )
        record = self._park(message, entry.record.reason, where, newer=entry.record.newer)
        return Entry(message.sequence, record, entry.checksum), False

    async def last(self, subject: str) -> Message | None:
        """The last message of `subject`, however long that takes while the log is away."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(RetryableError), wait=wait_random_exponential(multiplier=0.1, max=5)
        ):
            with attempt:
                return await self.event_log.last(subject)
        raise AssertionError("AsyncRetrying ends by return or by error.")

    def _park(self, message: Message, reason: str, where: str, *, newer: bool = False) -> MessageParked:
        """Count, log and remember a message that can't be read, once; `where` its record is to be appended."""
        known = self.parked.get(message.sequence)
        if known is not None:
            return known
        log.error("message parked", subject=message.subject, sequence=message.sequence, reason=reason)
        found = parked(message, reason, newer=newer)
        self.parked[message.sequence] = found
        self.parked_total += 1
        if message.sequence > self._recorded.get(where, 0):
            before = self.unrecorded.get(where)
            others = 0 if before is None else before.others + 1
            self.unrecorded[where] = msgspec.structs.replace(found, others=others)
        while len(self.parked) > PARKED_KEPT:
            self.parked.popitem(last=False)
        return found

    def _note_recorded(self, where: str, sequence: int) -> None:
        self._recorded[where] = max(sequence, self._recorded.get(where, 0))
        waiting = self.unrecorded.get(where)
        if waiting is not None and waiting.sequence <= sequence:
            del self.unrecorded[where]


def _newer_version(entry: Entry) -> str:
    """Why only a newer version reads `entry`; empty where that is not so."""
    return entry.record.reason if isinstance(entry.record, MessageParked) and entry.record.newer else ""


async def give_in_after(seconds: float, states: States, receive: Callable[[Message], object]) -> None:
    """Whenever a word on that the log is complete is withheld, and no newer one comes in time, go by it after all.

    It may come long after the partition was taken over: from a watcher that knows of no other log, or forgot it.
    """
    while True:
        await states.withholds.wait()
        waiting = set(states.withheld)
        await asyncio.sleep(seconds)
        if waiting & states.withheld.keys():
            log.warning("nobody has observed everything anew", partition=states.number, waited=seconds)
            states.trust.give_in()
            for message in list(states.withheld.values()):
                receive(message)
        if not states.withheld:
            states.withholds.clear()
