"""Facts that concern every key: written once per partition, in one atomic batch, only when they change."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import structlog
from tenacity import AsyncRetrying, retry_if_exception, wait_random_exponential

from tapio_shared.codec import decode_record, digest, encode, to_document
from tapio_shared.errors import RevisionConflict, Undecodable
from tapio_shared.facts import (
    ConfigurationObserved,
    DiscoveryObserved,
    FleetObserved,
    Record,
    SweepMarked,
    Synced,
    TargetObserved,
)
from tapio_shared.keys import escape_token, shared_subject
from tapio_shared.ports import Clock, EventLog, Message, NewMessage
from tapio_watcher.entries import Known
from tapio_watcher.standing import Standing, may_pass

log = structlog.get_logger(__name__)
SharedFact: TypeAlias = (
    FleetObserved | ConfigurationObserved | DiscoveryObserved | Synced | SweepMarked | TargetObserved
)
_TIMES = frozenset({"observed_at", "synced_at"})


class SharedFacts:
    """The shared facts of one target, in every partition."""

    def __init__(self, event_log: EventLog, target: str, partitions: int, clock: Clock) -> None:
        self._log, self._target, self._partitions, self._clock = event_log, target, partitions, clock
        self.known: dict[str, Known] = {}
        self.standing = Standing()
        self._records: dict[str, Record] = {}

    async def hydrate(self, at_least: int = 0) -> None:
        """Learn what the log holds, with nothing missing up to the sequence `at_least`."""
        pattern = f"tapio.log.*._shared.{escape_token(self._target)}.*"
        view = await self._log.last_per_subject(pattern, at_least=at_least)
        for message in view.messages:
            self._learn(message)
        self.standing.believe_all(view.messages)

    def last(self, what: str) -> Record | None:
        """The last fact of this name as the first partition has it."""
        return self._records.get(what)

    async def publish(self, what: str, fact: SharedFact) -> None:
        """Append `fact` as `what` to every partition that does not hold it; all of them in the end, whatever fails."""
        await self.publish_after(what, lambda _: fact)

    async def publish_after(self, what: str, fact_after: Callable[[Record | None], SharedFact]) -> None:
        """The same for what depends on the last fact of that name: asked again when somebody else wrote meanwhile."""
        subjects = [shared_subject(number, self._target, what) for number in range(self._partitions)]
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(may_pass), wait=wait_random_exponential(multiplier=0.05, max=5.0), reraise=True
        ):
            with attempt:
                fact = fact_after(self._records.get(what))
                wanted, data = _digest(fact), encode(fact)
                stale = [one for one in subjects if one not in self.known or self.known[one].digest != wanted]
                if stale:
                    await self._append([(subject, data, wanted) for subject in stale])
                self._records[what] = fact

    def below(self, sequence: int) -> list[tuple[int, str]]:
        """Where last messages lie that stand before `sequence`, and their subjects, oldest first; marks of sweeps
        excepted."""
        found = [(known.sequence, subject) for subject, known in self.known.items() if known.sequence < sequence]
        return sorted(one for one in found if not one[1].endswith(".sweep"))

    async def again(self, subject: str) -> None:
        """Append the last fact of `subject` anew, unless the log has dropped it already; it counts as lost then."""
        last, known = await self._log.last(subject), self.known[subject]
        if last is None:
            await self._learn_again(subject)
            return
        for _ in range(2):
            with suppress(RevisionConflict):
                await self._append([(subject, last.data, known.digest)])
            if self.known[subject].sequence != 0:
                return  # it stands, or somebody else has told it anew
            # What was appended since it was read has pushed it out.

    async def _append(self, facts: list[tuple[str, bytes, bytes]]) -> None:
        messages = [
            NewMessage(
                subject=subject,
                data=data,
                expected_last=self.known[subject].sequence if subject in self.known else 0,
            )
            for subject, data, _ in facts
        ]
        try:
            last = (await self._log.append_batch(messages)).sequence
        except RevisionConflict:
            for subject, _, _ in facts:
                await self._learn_again(subject)
            raise
        now = self._clock.now()
        for sequence, (subject, data, wanted) in enumerate(facts, start=last - len(facts) + 1):
            self.known[subject] = Known(sequence, wanted, "", now)
            self.standing.believe(subject, sequence, data)

    async def _learn_again(self, subject: str) -> None:
        believed = self.known[subject].sequence if subject in self.known else 0
        last = await self.standing.last(self._log, subject, believed)
        if last is not None:
            self._learn(last)
        elif subject in self.known:
            # It was dropped. It stays known, at no sequence and like nothing that can be told, so that the log counts
            # as not whole until it is told again.
            self.known[subject] = Known(0, b"", "", self.known[subject].written_at)

    def _learn(self, message: Message) -> None:
        try:
            record = decode_record(message.data)
        except Undecodable as err:
            log.error("message parked", subject=message.subject, sequence=message.sequence, reason=str(err))  # noqa: TRY400 - no stack, the sentence says it
            self.known[message.subject] = Known(message.sequence, b"", "", message.written_at)
            return
        self.known[message.subject] = Known(message.sequence, _digest(record), "", message.written_at)
        if message.subject.startswith("tapio.log.0."):
            self._records[message.subject.rpartition(".")[2]] = record


def _digest(fact: object) -> bytes:
    """Digest of what a fact says, whenever it was said."""
    document = to_document(fact)
    if isinstance(document, dict):
        document = {name: value for name, value in document.items() if name not in _TIMES}
    return bytes.fromhex(digest(document))
