"""State of one ordering key: the last record of each of its subjects. Disposable; the log is the truth.

`evolve` is exactly `state[subject] = record`, and idempotent per revision: an older message never replaces a newer
one, so a tail may overlap what was hydrated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from tapio_shared.facts import LogRecord, ObjectGone, ObjectObserved, Record
from tapio_shared.json import JsonObject
from tapio_shared.keys import Address, ObjectRef, OrderingKey, parse_subject

R = TypeVar("R", bound=LogRecord)


class Entry(msgspec.Struct, frozen=True):
    """One record and where it stands in the log."""

    sequence: int
    record: Record
    checksum: int = 0
    """CRC-32 of the message's subject and bytes; 0 for what was never a message."""


@dataclass(slots=True)
class State:
    """Last record per subject: the key's own subjects, and its partition's shared ones."""

    key: OrderingKey
    own: dict[str, Entry] = field(default_factory=dict[str, Entry])
    shared: dict[str, Entry] = field(default_factory=dict[str, Entry])
    """Shared facts of the key's target by name: fleet, config, discovery, synced."""
    revision: int = 0
    """Highest sequence of the key's own records."""
    log_begins: int = 0
    """First sequence that the log held after this was read from it."""
    answer: tuple[object, object] | None = field(default=None, compare=False, repr=False)
    """The last thing that was worked out from this state, and what it was worked out from. Memory, not state."""
    rendering: object = field(default=None, compare=False, repr=False)
    """What was last rendered from this state. Memory too."""
    _seen: dict[str, Seen] = field(default_factory=dict[str, "Seen"], compare=False, repr=False)
    _addresses: dict[str, Address] = field(default_factory=dict[str, Address], compare=False, repr=False)
    """Subjects that were taken apart, for as long as the state is kept: a process knows a million of them."""

    def address(self, subject: str) -> Address:
        """The parts of `subject`. Raises ValueError when it is none of the log's."""
        found = self._addresses.get(subject)
        if found is None:
            found = self._addresses[subject] = parse_subject(subject)
        return found

    def objects(self) -> Iterator[tuple[ObjectRef, Entry]]:
        """Every object fact, observed or gone, in the order of their names."""
        for subject in sorted(self.own):
            ref = self.address(subject).ref
            if ref is not None:
                yield ref, self.own[subject]

    def seen(self) -> Mapping[ObjectRef, Seen]:
        """Every object the log tells of, in the order of their names; the same `Seen` as long as its fact is last."""
        found: dict[ObjectRef, Seen] = {}
        for subject in sorted(self.own):
            ref, entry = self.address(subject).ref, self.own[subject]
            if ref is None:
                continue
            one = self._seen.get(subject)
            if one is None or one.sequence != entry.sequence:
                match entry.record:
                    case ObjectObserved() as fact:
                        one = Seen(ref, entry.sequence, fact.object, fact.uid, fact.resource_version)
                    case ObjectGone() as fact:
                        one = Seen(ref, entry.sequence, None, fact.uid, fact.resource_version)
                    case _:
                        continue
                self._seen[subject] = one
            found[ref] = one
        return found

    def find(self, what: str, kind: type[R]) -> tuple[int, R] | None:
        """The key's last decision or outcome with its sequence."""
        for subject, entry in self.own.items():
            if self.address(subject).what == what and isinstance(entry.record, kind):
                return entry.sequence, entry.record
        return None

    def shared_fact(self, what: str, kind: type[R]) -> tuple[int, R] | None:
        """The last shared fact named `what` with its sequence."""
        entry = self.shared.get(what)
        if entry is None or not isinstance(entry.record, kind):
            return None
        return entry.sequence, entry.record


def evolve(state: State, subject: str, entry: Entry) -> State:
    """Fold one record into `state`, in place; older or equal revisions of a subject change nothing."""
    address = state.address(subject)
    if address.key is None:
        _replace(state.shared, address.what, entry)
    elif address.key == state.key:
        _replace(state.own, subject, entry)
        state.revision = max(state.revision, entry.sequence)
    return state


def _replace(entries: dict[str, Entry], name: str, entry: Entry) -> None:
    known = entries.get(name)
    if known is None or known.sequence < entry.sequence:
        entries[name] = entry


@dataclass(frozen=True, slots=True)
class Seen:
    """One object as the log last told of it. `document` is None when it is gone."""

    ref: ObjectRef
    sequence: int
    document: JsonObject | None
    uid: str
    resource_version: str
    held: dict[str, bool] = field(default_factory=dict[str, bool], compare=False, repr=False)
    """Digest of something wanted, that the document says it was written for and that is not being deleted -> whether
    `document` holds it. Memory of a comparison, worked out at most once."""
