"""`tapioctl replay`: every recorded decision is planned again by this code, in parallel, and compared.

Decisions of one partition rest on that partition's records alone, so partitions are what is shared out.
"""

from __future__ import annotations

import difflib
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import msgspec
import yaml

from tapio_cli.history.archive import Archive
from tapio_cli.history.codes import DIVERGED, IDENTICAL, UNUSABLE
from tapio_reconciler.core.replaying import Replayed, Replayer, Verdict
from tapio_shared.codec import to_document
from tapio_shared.collecting import spare_the_collector
from tapio_shared.facts import DecisionRecorded
from tapio_shared.json import JsonObject
from tapio_shared.keys import OrderingKey, address_of

_TOLD_OF, _TOLD_EVERY = 1_000, 0.2
"""Messages and seconds between two words on how far a replay is."""
_passed: Synchronized[int] | None = None
"""In a process of the pool: messages that all of them have passed."""
_SHOWN = 20
"""Divergences that are kept with their differences, per partition; the others are counted."""
_NOT_COMPARED = frozenset({"type", "cause", "pod_templates", "digest", "desired_digest"})


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """The first decision of a key that came out differently."""

    key: str
    sequence: int
    revision: int
    decided_at: int
    operator_version: str
    differences: list[str]
    """A unified diff of the decision as recorded and as planned now, as YAML."""


class Summary(msgspec.Struct, kw_only=True):
    """What a replay came to."""

    planned_by: str = ""
    """Version of the operator that planned again."""
    checked: int = 0
    identical: int = 0
    diverged: int = 0
    skipped: dict[str, int] = {}
    """Reason -> how many decisions could not be checked because of it."""
    keys: int = 0
    divergences: list[Divergence] = []

    def add(self, other: Summary) -> None:
        """Take in what another part came to."""
        self.checked += other.checked
        self.identical += other.identical
        self.diverged += other.diverged
        self.keys += other.keys
        self.skipped = dict(Counter(self.skipped) + Counter(other.skipped))
        self.divergences = sorted([*self.divergences, *other.divergences], key=lambda one: one.sequence)

    @property
    def code(self) -> int:
        """The exit code."""
        if self.diverged:
            return DIVERGED
        return IDENTICAL if self.checked else UNUSABLE


def replay(
    path: Path, keys: Sequence[OrderingKey] = (), *, jobs: int = 0, progress: Callable[[float], None] | None = None
) -> Summary:
    """Replay the archive in `path`, of `keys` alone when there are any. `ArchiveError` when it can't be trusted.

    `jobs` processes share the partitions; 0 means one per core. `progress` is told how much is done, from 0 to 1.
    """
    stream = Archive.open(path).header.stream
    shares = min(jobs or os.cpu_count() or 1, max(stream.partitions, 1))
    total = shares * max(stream.last_sequence - stream.first_sequence + 1, 1)
    if shares == 1 and progress is None:
        return replay_share(path, 0, 1, keys)
    result, passed = Summary(), multiprocessing.Value("q", 0)
    with ProcessPoolExecutor(shares, initializer=_begin, initargs=(passed,)) as pool:
        running = {pool.submit(_replay_in_pool, path, share, shares, keys) for share in range(shares)}
        while running:
            ended, running = wait(running, timeout=_TOLD_EVERY, return_when=FIRST_COMPLETED)
            for one in ended:
                result.add(one.result())
            if progress is not None:
                progress(min(passed.value / total, 1.0) if running else 1.0)
    return result


def _begin(passed: Synchronized[int]) -> None:
    """What a process of the pool does first; a counter that processes share can be handed over in no other way."""
    global _passed
    _passed = passed
    spare_the_collector()


def _replay_in_pool(path: Path, share: int, shares: int, keys: Sequence[OrderingKey]) -> Summary:
    def tell(messages: int) -> None:
        if _passed is not None:
            with _passed.get_lock():
                _passed.value += messages

    return replay_share(path, share, shares, keys, tell=tell)


def replay_share(
    path: Path,
    share: int,
    shares: int,
    keys: Sequence[OrderingKey] = (),
    *,
    tell: Callable[[int], None] = lambda _: None,
) -> Summary:
    """Replay the partitions whose number, divided by `shares`, leaves `share`; `tell` how many messages were passed."""
    archive = Archive.open(path)
    replayer, result = Replayer(begins=archive.header.stream.first_sequence), Summary()
    seen: set[OrderingKey] = set()
    diverged: set[OrderingKey] = set()
    for number, message in enumerate(archive.messages(), start=1):
        if number % _TOLD_OF == 0:
            tell(_TOLD_OF)
        try:
            address = address_of(message.subject)
        except ValueError:
            continue
        if address.partition % shares != share or (keys and address.key is not None and address.key not in keys):
            continue
        replayed = replayer.feed(message)
        if replayed is None:
            continue
        seen.add(replayed.key)
        match replayed.verdict:
            case Verdict.IDENTICAL:
                result.checked += 1
                result.identical += 1
            case Verdict.SKIPPED:
                result.skipped[replayed.reason] = result.skipped.get(replayed.reason, 0) + 1
            case Verdict.DIVERGED:
                result.checked += 1
                result.diverged += 1
                if replayed.key not in diverged and len(result.divergences) < _SHOWN:
                    result.divergences.append(divergence_of(replayed))
                diverged.add(replayed.key)
    result.keys = len(seen)
    return result


def divergence_of(replayed: Replayed) -> Divergence:
    """A divergence with the fields that differ."""
    recorded = replayed.recorded
    planned = recorded if replayed.planned is None else replayed.planned.decision
    return Divergence(
        key=str(replayed.key),
        sequence=replayed.sequence,
        revision=recorded.revision,
        decided_at=recorded.inputs.now,
        operator_version=recorded.inputs.operator_version,
        differences=list(_differences(recorded, planned)),
    )


def _differences(recorded: DecisionRecorded, planned: DecisionRecorded) -> Iterator[str]:
    before, after = (yaml.dump(_compared(one), Dumper=yaml.CSafeDumper).splitlines() for one in (recorded, planned))
    return difflib.unified_diff(before, after, "recorded", "planned now", lineterm="", n=2)


def _compared(decision: DecisionRecorded) -> JsonObject:
    document = to_document(decision)
    assert isinstance(document, dict), "a record is an object"
    return {name: value for name, value in document.items() if name not in _NOT_COMPARED}
