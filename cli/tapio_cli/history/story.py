"""The records of one TapioCluster, in order, with what they rest on; and its state as of any of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

from tapio_cli.history.source import Recorded
from tapio_reconciler.core.reading import entry_of, is_unreadable
from tapio_reconciler.core.state import Entry, State, evolve
from tapio_shared.api.names import API_GROUP, CLUSTER_KIND
from tapio_shared.errors import LogRefused, LogRewound, TerminalError
from tapio_shared.facts import SweepMarked, Synced
from tapio_shared.keys import OrderingKey, address_of, escape_token, key_prefix, partition_of, shared_prefix
from tapio_shared.ports import Message

_LOOKED_BACK = (0.02, 0.1, 0.3, 1.0)
"""Shares of a log that are read backwards, one after the other, for what a subject said before."""
_OFFERED = 8
"""TapioClusters that are named when the one that was asked for is unknown."""


class NotInWindow(TerminalError):
    """The history does not cover what was asked for; the sentence says what it covers."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything recorded of `key`, and the shared facts of its target, both in the order of the log."""

    key: OrderingKey
    # Not in `repr`: `asyncio.run` makes one of what it returns (signal.signal, of the former handler's arguments).
    own: tuple[Record, ...] = field(repr=False)
    shared: tuple[Record, ...] = field(repr=False)
    begins: int
    """First sequence that the log held."""
    ends: int
    """Last sequence that the log held."""
    partitions: int

    @property
    def window(self) -> tuple[Record, Record] | None:
        """First and last record between which the history is complete; None where it is nowhere.

        A log that dropped something is whole again from where the watcher vouches for all that it holds (ADR 0006).
        """
        together = sorted((*self.own, *self.shared), key=lambda one: one.sequence)
        if not together or not self.own:
            return None
        if self.begins <= 1:
            return together[0], together[-1]
        for one in self.shared:
            record = one.entry.record
            if isinstance(record, Synced | SweepMarked) and record.complete_from >= self.begins:
                return one, together[-1]
        return None

    @property
    def last_at(self) -> int:
        """When the last record was written, in milliseconds."""
        return max((one.at for one in (*self.own, *self.shared)), default=0)

    def state(self, until: int) -> State:
        """The state of the key as of sequence `until`. NotInWindow where the history does not hold all of it."""
        found = State(self.key)
        for one in self.own:
            if one.sequence <= until:
                evolve(found, one.message.subject, one.entry)
        for one in self.shared:
            if one.sequence <= until:
                evolve(found, one.message.subject, one.entry)
        return found


async def read_story(recorded: Recorded, key: OrderingKey, *, may_be_new: bool = False) -> Story:
    """Everything that is recorded of `key` up to now. NotInWindow when that is nothing, unless it `may_be_new`."""
    info = await recorded.info()
    partitions = max(info.partitions, 1)
    own = await _read(recorded, f"{key_prefix(key, partitions)}.>", info.last_sequence)
    if not own and not may_be_new:
        raise NotInWindow(await _unknown(recorded, key))
    shared = await _read(recorded, f"{shared_prefix(partition_of(key, partitions), key.target)}.>", info.last_sequence)
    return Story(
        key=key,
        own=own,
        shared=shared,
        begins=max(info.first_sequence, 1),
        ends=info.last_sequence,
        partitions=partitions,
    )


async def read_standing(
    recorded: Recorded, key: OrderingKey, is_told: Callable[[Message], bool], newest: int = 0
) -> Story:
    """How `key` stood when what `is_told` had been told, which is everything up to some instant; and little else.

    Nothing beyond the sequence `newest` is told; 0: that is not known.

    A whole story lies in every block of a log, so that the server unpacks all of them for it. What stood last needs the
    last message of each subject, and of what has changed since, the one before: looked for backwards, ever further.
    The state as of that instant and the window are those of the whole story; what led there is not to be asked of it.
    """
    info = await recorded.info()
    partitions, begins, ends = max(info.partitions, 1), max(info.first_sequence, 1), info.last_sequence
    pattern = f"{key_prefix(key, partitions)}.>"
    last = (await recorded.last_per_subject(pattern)).messages
    if not last:
        raise NotInWindow(await _unknown(recorded, key))
    own = {one.sequence: one for one in last}
    missing = {one.subject for one in last if not is_told(one)}
    upper = min(newest or ends, ends)
    for share in _LOOKED_BACK:
        if not missing or upper < begins:
            break
        lower = max(begins, upper - int((ends - begins) * share))
        found: dict[str, Message] = {}
        async for message in recorded.read(pattern, from_sequence=lower, up_to=upper):
            if message.subject in missing and is_told(message):
                found[message.subject] = message
        own |= {one.sequence: one for one in found.values()}
        missing -= found.keys()
        upper = lower - 1
    first = await _first(recorded.read(pattern, from_sequence=begins, up_to=ends))
    if first is not None:
        own[first.sequence] = first
    shared = await _read(recorded, f"{shared_prefix(partition_of(key, partitions), key.target)}.>", ends)
    records = (Record(own[sequence], entry_of(own[sequence])) for sequence in sorted(own))
    return Story(key=key, own=tuple(records), shared=shared, begins=begins, ends=ends, partitions=partitions)


async def _first(messages: AsyncIterator[Message]) -> Message | None:
    """The first of `messages`; what comes after it is not asked for."""
    found = await anext(messages, None)
    if isinstance(messages, AsyncGenerator):
        await messages.aclose()
    return found


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
    own = f"{key_prefix(story.key, story.partitions)}.>"
    shared = f"{shared_prefix(partition_of(story.key, story.partitions), story.key.target)}.>"
    return replace(
        story,
        own=story.own + await _read(recorded, own, info.last_sequence, story.ends),
        shared=story.shared + await _read(recorded, shared, info.last_sequence, story.ends),
        ends=info.last_sequence,
    )


async def recorded_keys(recorded: Recorded, target: str, namespace: str = "") -> list[OrderingKey]:
    """Every TapioCluster of `target`, in one namespace or in all, that is recorded: told of, or decided about.

    Read from the last messages of those subjects alone: a log may hold a million of others.
    """
    where = f"tapio.log.*.{escape_token(target)}.{escape_token(namespace) if namespace else '*'}.*"
    told = f"{where}.object.{escape_token(API_GROUP)}.{CLUSTER_KIND}.*.*"
    found: set[OrderingKey] = set()
    for message in (await recorded.last_per_subject(told, f"{where}.decision")).messages:
        try:
            key = address_of(message.subject).key
        except ValueError:
            continue
        if key is not None and key.target == target:
            found.add(key)
    return sorted(found)


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


async def _unknown(recorded: Recorded, key: OrderingKey) -> str:
    """That nothing is recorded of `key`, and of which ones there is, as far as the reader may ask for all of them."""
    nothing = f"Nothing is recorded of TapioCluster {key.namespace}/{key.name} of {key.target}."
    try:
        known = await recorded_keys(recorded, key.target)
    except LogRefused:
        return f"{nothing} Name one that exists, or existed while this history was recorded."
    names = [f"{one.namespace}/{one.name}" for one in known]
    close = get_close_matches(f"{key.namespace}/{key.name}", names, n=_OFFERED, cutoff=0.0)
    if not close:
        return f"{nothing} None at all is recorded of it: see `tapioctl doctor`, and --target."
    left = f" and {len(names) - len(close)} more" if len(names) > len(close) else ""
    return f"{nothing} There are: {', '.join(close)}{left}."


async def _read(recorded: Recorded, pattern: str, up_to: int, after: int = 0) -> tuple[Record, ...]:
    found: list[Record] = []
    async for message in recorded.read(pattern, from_sequence=after + 1, up_to=up_to):
        entry = entry_of(message)
        shared = address_of(message.subject).key is None
        if not (shared and is_unreadable(message, entry)):
            found.append(Record(message, entry))
    return tuple(found)
