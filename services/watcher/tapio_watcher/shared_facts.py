"""Facts that concern every key: written once per partition, only when they change."""

from __future__ import annotations

from typing import TypeAlias

from tenacity import AsyncRetrying, retry_if_exception, wait_exponential_jitter

from tapio_shared.codec import decode_record, digest, encode, to_document
from tapio_shared.errors import LogMissing, RetryableError, RevisionConflict, Undecodable
from tapio_shared.facts import ConfigurationObserved, DiscoveryObserved, FleetObserved, SweepMarked, Synced
from tapio_shared.keys import shared_subject
from tapio_shared.ports import EventLog, NewMessage

SharedFact: TypeAlias = FleetObserved | ConfigurationObserved | DiscoveryObserved | Synced | SweepMarked
_TIMES = frozenset({"observed_at", "synced_at"})


class SharedFacts:
    """The shared facts of one target, in every partition."""

    def __init__(self, event_log: EventLog, target: str, partitions: int) -> None:
        self._log, self._target, self._partitions = event_log, target, partitions
        self._known: dict[str, tuple[int, str]] = {}

    async def hydrate(self) -> None:
        """Learn what the log holds."""
        for what in ("fleet", "config", "discovery", "synced", "sweep"):
            for partition in range(self._partitions):
                await self._learn(shared_subject(partition, self._target, what))

    async def publish(self, what: str, fact: SharedFact) -> bool:
        """Append `fact` as `what` to every partition that does not hold it; answers whether any did not.

        Conflicts are read again; nothing is given up before every partition holds it.
        """
        wanted = _digest(fact)
        data = encode(fact)
        changed = False
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(_may_pass), wait=wait_exponential_jitter(initial=0.05, max=5.0), reraise=True
        ):
            with attempt:
                subjects = [shared_subject(number, self._target, what) for number in range(self._partitions)]
                stale = [one for one in subjects if self._known.get(one, (0, ""))[1] != wanted]
                if not stale:
                    return changed
                changed = True
                await self._append(stale, data, wanted)
        return changed

    async def below(self, sequence: int) -> None:
        """Append anew every shared fact whose last message lies below `sequence`."""
        for subject in sorted(self._known):
            known = self._known[subject][0]
            if 0 < known < sequence and not subject.endswith(".sweep"):
                last = await self._log.last(subject)
                if last is not None:
                    await self._append([subject], last.data, self._known[subject][1])

    async def _append(self, subjects: list[str], data: bytes, wanted: str) -> None:
        messages = [
            NewMessage(subject=subject, data=data, expected_last=self._known.get(subject, (0, ""))[0])
            for subject in subjects
        ]
        try:
            last = (await self._log.append_batch(messages)).sequence
        except RevisionConflict:
            for subject in subjects:
                await self._learn(subject)
            raise
        for index, subject in enumerate(subjects):
            self._known[subject] = (last - len(subjects) + 1 + index, wanted)

    async def _learn(self, subject: str) -> None:
        last = await self._log.last(subject)
        if last is None:
            self._known.pop(subject, None)
            return
        try:
            fact = decode_record(last.data)
        except Undecodable:
            self._known[subject] = (last.sequence, "")
            return
        self._known[subject] = (last.sequence, _digest(fact))


def _digest(fact: object) -> str:
    """Digest of what a fact says, whenever it was said."""
    document = to_document(fact)
    if isinstance(document, dict):
        document = {name: value for name, value in document.items() if name not in _TIMES}
    return digest(document)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, RetryableError) and not isinstance(error, LogMissing)
