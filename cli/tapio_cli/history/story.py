"""The records of one TapioCluster, in order, with what they rest on; and its state as of any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tapio_cli.history.known import NotInWindow, unknown
from tapio_cli.history.source import Recorded
from tapio_reconciler.core.reading import entry_of, is_unreadable
from tapio_reconciler.core.state import Entry, State, evolve
from tapio_shared.errors import LogRewound
from tapio_shared.facts import SweepMarked, Synced
from tapio_shared.keys import OrderingKey, address_of, escape_token, key_prefix, partition_of, shared_prefix
from tapio_shared.ports import Message


@dataclass(frozen=True, slots=True)
class Record:
    """One message and what it says."""

    message: Message
    entry: Entry

    @property
    def sequence(self) -> int:
        return self.entry.sequence

    @property
    def at(self) -> int:
        """When the log took it, in milliseconds."""
        return self.message.written_at

    @property
    def is_own(self) -> bool:
        """Whether it is of a TapioCluster; else it is a shared fact."""
        return address_of(self.message.subject).key is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What was read of a story: everything from `read_from` up to `read_to`; of what stands before, the last record of
    some of its own subjects, and single shared facts."""

    read_from: int
    read_to: int
    begins: int
    """Where the first of its own records stands."""
    last_at: int
    """When the last record of the whole story was written, in milliseconds; of what was, when a later one was."""
    subjects: frozenset[str] | None
    """All of its own subjects; None: nobody has asked for them yet, nor for what stood last of them at `read_to`."""
    looked_through: int = 0
    """Sequences that were looked through for it, besides what stood last."""
    firsts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Before which no record of some of them stands; 0: there is none."""
    looked_at: frozenset[int] = frozenset()
    """Places before `read_from` at which a shared fact was looked for."""

    @property
    def is_whole(self) -> bool:
        """Whether all of its own records were read, up to `read_to`."""
        return self.read_from <= self.begins

    def begins_with(self, subject: str, oldest: int, is_own: bool = True) -> bool:
        """Whether nothing of `subject` stands before the oldest record of it that is known, or nothing at all if that
        is `oldest` 0."""
        first = self.firsts.get(subject, 0)
        return (self.is_whole and is_own) or first >= self.read_from or 0 < first == oldest


class OlderNeeded(Exception):
    """An answer rests on what was not read: `looking_back` reads it and asks again.

    On all that was `standing` when a part ends, or on what stood last of `subjects`, or on shared facts at `places`; on
    everything from `back_to` on (1: on all there is), or if that is None on something older that nobody knows the place
    of.
    """

    def __init__(
        self,
        *,
        standing: bool = False,
        subjects: Iterable[str] = (),
        places: Iterable[int] = (),
        back_to: int | None = None,
    ) -> None:
        super().__init__()
        self.standing, self.back_to = standing, back_to
        self.subjects, self.places = frozenset(subjects), frozenset(places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything recorded of `key`, and the shared facts of its target, both in the order of the log.

    Of a long log it may be read in `part`. What can't be told from that is not told wrongly: OlderNeeded is raised.
    """

    key: OrderingKey
    # Not in `repr`: `asyncio.run` makes one of what it returns (signal.signal, of the former handler's arguments).
    own: tuple[Record, ...] = field(repr=False)
    shared: tuple[Record, ...] = field(repr=False)
    begins: int
    """First sequence that the log held."""
    ends: int
    """Last sequence that the log held."""
    partitions: int
    part: Part | None = field(default=None, repr=False)
    """None: all of it was read."""

    @property
    def window(self) -> tuple[Record, Record] | None:
        """First and last record between which the history is complete; None where it is nowhere.

        A log that dropped something is whole again from where the watcher vouches for all that it holds (ADR 0006).
        """
        if self.part is not None:
            raise OlderNeeded(back_to=1)
        together = sorted((*self.own, *self.shared), key=lambda one: one.sequence)
        first = next(filter(self._opens, together), None) if self.own else None
        return None if first is None else (first, together[-1])

    @property
    def last_at(self) -> int:
        """When the last record was written, in milliseconds."""
        told = max((one.at for one in (*self.own, *self.shared)), default=0)
        return told if self.part is None else max(told, self.part.last_at)

    def is_complete(self, begun: Callable[[Record], bool]) -> bool:
        """Whether the window has begun by a record of which `begun` holds, as it does of all before that."""
        found = bool(self.own) and any(begun(one) and self._opens(one) for one in (*self.own, *self.shared))
        if not found and self.part is not None:
            raise OlderNeeded
        return found

    def newest(self, told: Callable[[Record], bool]) -> Record | None:
        """The last record of which `told` holds, as it does of all before that."""
        together = (one for one in (*self.own, *self.shared) if told(one))
        found = max(together, key=lambda one: one.sequence, default=None)
        if self.part is not None and (found is None or found.sequence < self.part.read_from):
            raise OlderNeeded
        return found

    def at(self, sequence: int) -> Record | None:
        """The record that stands at `sequence`; None when it is none of these."""
        found = next((one for one in (*self.own, *self.shared) if one.sequence == sequence), None)
        part = self.part
        if found is None and part is not None and 0 < sequence < part.read_from and sequence not in part.looked_at:
            raise OlderNeeded(places=[sequence])
        return found

    def backwards(self, subject: str, until: int) -> Iterator[Record]:
        """The records of one of its own subjects up to `until`, the newest first."""
        oldest = 0
        for one in reversed(self.own):
            if one.sequence <= until and one.message.subject == subject:
                oldest = one.sequence
                yield one
        if self.part is not None and not self.part.begins_with(subject, oldest):
            raise OlderNeeded(subjects=[subject])

    def between(
        self, since: int, until: int, wanted: Callable[[Record], bool], *, with_shared: bool = False
    ) -> list[tuple[Record, Record | None]]:
        """Those of its own records after `since` up to `until` that are `wanted`, in order, each with the one of its
        subject before it; shared facts among them if asked for."""
        part = self.part
        is_read = part is None or part.read_from <= since + 1 or (part.is_whole and not with_shared)
        if not is_read:
            raise OlderNeeded(back_to=since + 1)
        last: dict[str, Record] = {}
        unknown: set[str] = set()
        found: list[tuple[Record, Record | None]] = []
        for one in self._together(with_shared=with_shared):
            subject = one.message.subject
            before = last.get(subject)
            last[subject] = one
            if since < one.sequence <= until and wanted(one):
                found.append((one, before))
                if before is None and part is not None and not part.begins_with(subject, one.sequence, one.is_own):
                    unknown.add(subject)
        if unknown:
            raise OlderNeeded(subjects=unknown)
        return found

    def state(self, until: int) -> State:
        """The state of the key as of sequence `until`. Where only a part was read, without the shared facts, unless
        that is the end of the log."""
        found = State(self.key)
        for one in self.own:
            if one.sequence <= until:
                evolve(found, one.message.subject, one.entry)
        part = self.part
        if part is not None:
            if part.subjects is None:
                raise OlderNeeded(standing=True)
            missing = part.subjects - found.own.keys()
            unknown = [one for one in missing if not part.begins_with(one, 0) and part.firsts.get(one, 0) <= until]
            if unknown:
                raise OlderNeeded(subjects=unknown)
        for one in self.shared:
            if one.sequence <= until and (part is None or until >= self.ends):
                evolve(found, one.message.subject, one.entry)
        return found

    def _together(self, *, with_shared: bool) -> Sequence[Record]:
        """Its own records, and all shared facts that are known of a stretch, in order; of older ones only some are."""
        if not with_shared:
            return self.own
        read_from = 0 if self.part is None else self.part.read_from
        shared = (one for one in self.shared if one.sequence >= read_from)
        return sorted((*self.own, *shared), key=lambda one: one.sequence)

    def _opens(self, one: Record) -> bool:
        """Whether nothing is missing from `one` on."""
        record = one.entry.record
        is_vouched_for = isinstance(record, Synced | SweepMarked) and record.complete_from >= self.begins
        return self.begins <= 1 or is_vouched_for


async def read_story(recorded: Recorded, key: OrderingKey) -> Story:
    """Everything that is recorded of `key` up to now. NotInWindow when that is nothing."""
    info = await recorded.info()
    partitions = max(info.partitions, 1)
    patterns = patterns_of(key, partitions)
    own = await read_records(recorded, patterns[0], info.last_sequence)
    if not own:
        raise NotInWindow(await unknown(recorded, key))
    shared = await read_records(
        recorded, f"{shared_prefix(partition_of(key, partitions), key.target)}.>", info.last_sequence
    )
    return Story(
        key=key,
        own=own,
        shared=shared,
        begins=max(info.first_sequence, 1),
        ends=info.last_sequence,
        partitions=partitions,
    )


def patterns_of(key: OrderingKey, partitions: int) -> tuple[str, str]:
    """What matches the own records of `key`, and what the shared facts of its target in its partition."""
    own = f"{key_prefix(key, partitions)}.>"
    return own, f"{shared_prefix(partition_of(key, partitions), key.target)}.>"


async def read_on(recorded: Recorded, story: Story) -> Story:
    """`story` with what was recorded since; what the log has dropped meanwhile is kept, so its window only grows.

    LogRewound when the log ends before the story does: it is another one, or was restored.
    """
    info = await recorded.info()
    if info.last_sequence < story.ends:
        raise LogRewound(
            f"The log ends at {info.last_sequence} and the history that was read at {story.ends}: it is another log "
            "now. Read the history again."
        )
    if info.last_sequence == story.ends:
        return story
    own, shared = patterns_of(story.key, story.partitions)
    return replace(
        story,
        own=story.own + await read_records(recorded, own, info.last_sequence, story.ends),
        shared=story.shared + await read_records(recorded, shared, info.last_sequence, story.ends),
        ends=info.last_sequence,
    )


async def read_present(recorded: Recorded, target: str, namespace: str = "") -> list[Story]:
    """How every TapioCluster stands, as its last records tell, without what led there: a story of its last chapter.

    What follows from the order of records (when something began, who changed what) is not to be asked of it.
    """
    info = await recorded.info()
    where = f"tapio.log.*.{escape_token(target)}.{escape_token(namespace) if namespace else '*'}.>"
    own: dict[OrderingKey, list[Record]] = {}
    for message in (await recorded.last_per_subject(where)).messages:
        key = address_of(message.subject).key
        if key is not None:
            own.setdefault(key, []).append(Record(message, entry_of(message)))
    return [
        Story(
            key=key,
            own=tuple(own[key]),
            shared=(),
            begins=max(info.first_sequence, 1),
            ends=info.last_sequence,
            partitions=max(info.partitions, 1),
        )
        for key in sorted(own)
    ]


async def read_state(recorded: Recorded, key: OrderingKey) -> tuple[State, int]:
    """The state of `key` now, from its newest records alone, and how many partitions the log has.

    Of a TapioCluster that nobody has told of it holds the shared facts.
    """
    partitions = max((await recorded.info()).partitions, 1)
    state = State(key)
    for one in records_of((await recorded.last_per_subject(*patterns_of(key, partitions))).messages):
        evolve(state, one.message.subject, one.entry)
    return state, partitions


async def read_records(recorded: Recorded, pattern: str, up_to: int, after: int = 0) -> tuple[Record, ...]:
    """What matches after one sequence up to another."""
    return records_of([message async for message in recorded.read(pattern, from_sequence=after + 1, up_to=up_to)])


def records_of(messages: Iterable[Message]) -> tuple[Record, ...]:
    """What messages say; shared ones that can't be read say nothing."""
    found = (Record(message, entry_of(message)) for message in messages)
    return tuple(one for one in found if one.is_own or not is_unreadable(one.message, one.entry))
