"""State of one ordering key: the last record of each of its subjects. Disposable; the log is the truth.

`evolve` is exactly `state[subject] = record`, and idempotent per revision: an older message never replaces a newer
one, so a tail may overlap what was hydrated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Protocol, TypeVar

import msgspec

from tapio_reconciler.core.remembering import Remembered
from tapio_shared.facts import LogRecord, ObjectGone, ObjectObserved, Record
from tapio_shared.json import JsonObject
from tapio_shared.keys import Address, ObjectRef, OrderingKey, parse_subject

R = TypeVar("R", bound=LogRecord)
_bytes_of = msgspec.msgpack.Encoder().encode


class Entry(msgspec.Struct, frozen=True):
    """One record and where it stands in the log."""

    sequence: int
    record: Record
    checksum: int = 0
    """CRC-32 of the message's subject and bytes; 0 for what was never a message."""


class Seen(msgspec.Struct, frozen=True, eq=False):
    """One object as the log last told of it. `document` is None when it is gone. Equal by what was told, whatever is
    remembered of it."""

    ref: ObjectRef
    sequence: int
    document: JsonObject | None
    uid: str
    resource_version: str
    held: dict[str, bool] = msgspec.field(default_factory=dict[str, bool])
    """Digest of something wanted, that the document says it was written for and that is not being deleted -> whether
    `document` holds it. Memory of a comparison, worked out at most once."""
    held_whole: dict[str, bool] = msgspec.field(default_factory=dict[str, bool])
    """The same by rules that compare whole what is owned as a whole."""
    settled: bytes = b""
    """A digest of all of the document but its status, once it was asked for. Memory as well."""
    name: str = ""
    """The text of `ref`."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "name", str(self.ref))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seen) and self._told() == other._told()

    def __hash__(self) -> int:
        return hash((self.ref, self.sequence))

    def _told(self) -> tuple[object, ...]:
        return self.ref, self.sequence, self.document, self.uid, self.resource_version


class Sight(Protocol):
    """What may be asked of what is observed by who judges a single component: by name, and by kind."""

    def get(self, ref: ObjectRef, /) -> Seen | None: ...

    def of_kind(self, kind: str) -> tuple[Seen, ...]: ...


class Observed(dict[ObjectRef, Seen]):
    """Every object that the log tells of, in the order of their names. Never changed once it is made."""

    __slots__ = ("_kinds",)

    def __init__(self, objects: Mapping[ObjectRef, Seen] = MappingProxyType({})) -> None:
        super().__init__(objects)
        self._kinds: dict[str, tuple[Seen, ...]] = {}

    def of_kind(self, kind: str) -> tuple[Seen, ...]:
        """Those of one kind, of whatever group: the very same tuple as long as none of them was told of anew."""
        found = self._kinds.get(kind)
        if found is None:
            found = self._kinds[kind] = tuple(one for ref, one in self.items() if ref.kind == kind)
        return found

    def with_told_anew(self, told: Sequence[Seen]) -> Observed:
        """These, but for objects among them that were told of anew."""
        after = Observed(self)
        after._kinds = dict(self._kinds)
        for one in told:
            after[one.ref] = one
        for kind in {one.ref.kind for one in told} & after._kinds.keys():
            after._kinds[kind] = tuple(after[one.ref] for one in after._kinds[kind])
        return after


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
    remembered: Remembered = field(default_factory=Remembered, compare=False, repr=False)
    """What was worked out from this state. Memory, not state."""
    rendering: object = field(default=None, compare=False, repr=False)
    """What was last rendered from this state. Memory too."""
    _observed: Observed = field(default_factory=Observed, compare=False, repr=False)
    _observed_of: dict[str, Entry] = field(default_factory=dict[str, Entry], compare=False, repr=False)
    """The records that `_observed` was made of."""
    _addresses: dict[str, Address] = field(default_factory=dict[str, Address], compare=False, repr=False)
    """Subjects that were taken apart, for as long as the state is kept: a process knows a million of them."""
    _places: dict[str, str] = field(default_factory=dict[str, str], compare=False, repr=False)
    """The subjects of the last decision and outcome, once they were looked for: each has one."""

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

    def seen(self) -> Observed:
        """Every object the log tells of; the same `Seen` as long as its fact is last, the same answer as long as all
        of them are."""
        former = self._observed_of
        news = [subject for subject, entry in self.own.items() if former.get(subject) is not entry]
        if news or len(former) != len(self.own):
            told = [one for subject in news if (one := self._told(subject)) is not None]
            if len(former) == len(self.own) and all(self._is_known(subject) for subject in news):
                self._observed = self._observed.with_told_anew(told)
            else:
                self._observed = self._in_order({one.ref: one for one in told})
            self._observed_of = dict(self.own)
        return self._observed

    def _told(self, subject: str) -> Seen | None:
        """What the log last told of the object with this subject; None for what is no object, or can't be read."""
        ref, entry = self.address(subject).ref, self.own[subject]
        if ref is None:
            return None
        match entry.record:
            case ObjectObserved() as fact:
                former, held, whole, settled = self._observed.get(ref), dict[str, bool](), dict[str, bool](), b""
                if former is not None and (former.held or former.held_whole):
                    settled = _digest_beside_status(fact.object)
                    if settled and settled == (former.settled or _digest_beside_status(former.document)):
                        held, whole = former.held, former.held_whole
                return Seen(ref, entry.sequence, fact.object, fact.uid, fact.resource_version, held, whole, settled)
            case ObjectGone() as fact:
                return Seen(ref, entry.sequence, None, fact.uid, fact.resource_version)
            case _:
                return None

    def _is_known(self, subject: str) -> bool:
        """Whether a record that is new has the place of one before it among what is observed, or is of no object."""
        ref = self.address(subject).ref
        is_told = isinstance(self.own[subject].record, ObjectObserved | ObjectGone)
        return subject in self._observed_of and (ref is None or (is_told and ref in self._observed))

    def _in_order(self, told: Mapping[ObjectRef, Seen]) -> Observed:
        found: dict[ObjectRef, Seen] = {}
        for subject in sorted(self.own):
            ref = self.address(subject).ref
            if ref is not None and isinstance(self.own[subject].record, ObjectObserved | ObjectGone):
                found[ref] = told.get(ref) or self._observed[ref]
        return Observed(found)

    def find(self, what: str, kind: type[R]) -> tuple[int, R] | None:
        """The key's last decision or outcome with its sequence."""
        entry = self.own.get(self._places.get(what, ""))
        if entry is not None and isinstance(entry.record, kind):
            return entry.sequence, entry.record
        for subject, other in self.own.items():
            if isinstance(other.record, kind) and self.address(subject).what == what:
                self._places[what] = subject
                return other.sequence, other.record
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


def _digest_beside_status(document: JsonObject | None) -> bytes:
    """Of all of an object but its status, to the byte: no wanted object says anything of a status. Empty where it is
    nested deeper than anything that the operator writes."""
    beside = {name: value for name, value in (document or {}).items() if name != "status"}
    try:
        return sha256(_bytes_of(beside)).digest()
    except RecursionError:
        return b""
