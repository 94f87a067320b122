"""Appending object facts: each subject in order, equal facts once, the newest first.

What waits for its append is replaced by what is newer (a storm on one object is one fact), one key's facts are rate
limited (a storm on one cluster can't push the others out of the window), and every append says which fact it follows:
when somebody else wrote first, the object is read again and *that* is published.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

import structlog
from opentelemetry import trace
from tenacity import AsyncRetrying, retry_if_exception, wait_exponential_jitter

from tapio_shared.codec import decode_record, digest, encode
from tapio_shared.errors import LogMissing, RetryableError, RevisionConflict, Undecodable
from tapio_shared.facts import ObjectGone, ObjectObserved
from tapio_shared.keys import ObjectRef, OrderingKey, escape_token, object_subject, parse_subject, partition_prefix
from tapio_shared.ports import Clock, EventLog, Message, NewMessage
from tapio_shared.telemetry import inject_context
from tapio_watcher.metrics import Metrics

log = structlog.get_logger(__name__)
tracer = trace.get_tracer(__name__)

GONE = "gone"
_IN_FLIGHT = 256
MOST_PENDING = 5_000
"""Facts that may wait; beyond it the watches are not read any further."""
RATE = 25.0
BURST = 250.0
"""Facts per second and in a burst, per key: a roll-out needs some 100, and a storm is coalesced anyway."""

ObjectFact = ObjectObserved | ObjectGone
Refetch = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class _Known:
    """The last fact of a subject, as the log has it."""

    sequence: int
    digest: str


@dataclass(slots=True)
class _Pending:
    fact: ObjectFact
    digest: str
    refetch: Refetch | None
    told_at: float
    headers: Mapping[str, str]


class FactWriter:
    """Appends the object facts of one target. Tasks run in `group`, which ends with their errors."""

    def __init__(
        self,
        event_log: EventLog,
        target: str,
        partitions: int,
        clock: Clock,
        metrics: Metrics,
        group: asyncio.TaskGroup,
    ) -> None:
        self._log, self._target, self._partitions = event_log, target, partitions
        self._clock, self._metrics, self._group = clock, metrics, group
        self._known: dict[str, _Known] = {}
        self._subjects: dict[tuple[str, str], dict[ObjectRef, set[str]]] = {}
        self._pending: dict[str, _Pending] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_IN_FLIGHT)
        self._buckets: dict[OrderingKey, tuple[float, float]] = {}
        self._progress = asyncio.Condition()

    async def hydrate(self) -> None:
        """Learn what the log holds, one partition at a time, so that memory holds digests and not facts."""
        for partition in range(self._partitions):
            prefix = f"{partition_prefix(partition)}.{escape_token(self._target)}"
            for message in (await self._log.last_per_subject(f"{prefix}.*.*.object.>")).messages:
                self._learn(message)

    def refs(self, group: str, kind: str) -> list[ObjectRef]:
        """Every object of a kind that the log holds as existing, in the order of their names."""
        return sorted(self._subjects.get((group, kind), {}))

    def subjects_below(self, sequence: int) -> Iterator[tuple[str, int]]:
        """Subjects whose last fact lies below `sequence`, with that fact's sequence, oldest first."""
        found = [(subject, known.sequence) for subject, known in self._known.items() if known.sequence < sequence]
        return iter(sorted(found, key=lambda one: one[1]))

    async def observed(
        self, key: OrderingKey, ref: ObjectRef, fact: ObjectObserved, *, refetch: Refetch | None = None
    ) -> None:
        """Publish how an object is, unless the log says the same. Former subjects of it get a tombstone."""
        subject = object_subject(key, ref, self._partitions)
        places = self._subjects.setdefault((ref.group, ref.kind), {}).setdefault(ref, set())
        if ref.kind != "Secret":
            for former in sorted(places - {subject}):
                await self._put(former, ObjectGone(uid=fact.uid, gone_at=fact.observed_at), GONE, None)
            places.clear()
        places.add(subject)
        await self._put(subject, fact, digest([fact.uid, fact.object]), refetch)

    async def gone(self, ref: ObjectRef, *, uid: str = "", version: str = "", key: OrderingKey | None = None) -> None:
        """Publish that an object is gone, on every subject that told of it (and on `key`'s, when given)."""
        places = self._subjects.get((ref.group, ref.kind), {}).pop(ref, set())
        if key is not None:
            places = places | {object_subject(key, ref, self._partitions)}
        for subject in sorted(places):
            fact = ObjectGone(uid=uid, resource_version=version, gone_at=self._clock.now())
            await self._put(subject, fact, GONE, None)

    async def flush(self) -> None:
        """Wait until everything handed in so far is durable."""
        async with self._progress:
            await self._progress.wait_for(lambda: not self._tasks)

    async def republish(self, subject: str, sequence: int) -> None:
        """Append the last fact of `subject` anew, byte for byte, if it is still the one at `sequence`."""
        known = self._known.get(subject)
        if known is None or known.sequence != sequence or subject in self._tasks:
            return
        last = await self._log.last(subject)
        if last is None or last.sequence != sequence:
            return
        message = NewMessage(subject=subject, data=last.data, headers=last.headers, expected_last=sequence)
        try:
            known.sequence = (await self._log.append(message)).sequence
        except RevisionConflict:
            await self._learn_again(subject)

    async def _put(self, subject: str, fact: ObjectFact, wanted: str, refetch: Refetch | None) -> None:
        known = self._known.get(subject)
        if subject not in self._tasks and known is not None and known.digest == wanted:
            self._metrics.suppressed.inc()
            return
        headers = inject_context({})
        self._pending[subject] = _Pending(fact, wanted, refetch, self._clock.monotonic(), headers)
        self._metrics.pending.set(len(self._pending))
        if subject not in self._tasks:
            self._tasks[subject] = self._group.create_task(self._publish(subject), name=f"publish-{subject}")
        if len(self._tasks) > MOST_PENDING:
            async with self._progress:
                await self._progress.wait_for(lambda: len(self._tasks) <= MOST_PENDING)

    async def _publish(self, subject: str) -> None:
        """Append what waits for `subject`, and what replaced it meanwhile, one after the other."""
        try:
            while subject in self._pending:
                await self._await_turn(subject)
                async with self._slots:
                    await self._append(subject, self._pending.pop(subject))
        finally:
            self._tasks.pop(subject, None)
            self._metrics.pending.set(len(self._pending))
            async with self._progress:
                self._progress.notify_all()

    async def _append(self, subject: str, pending: _Pending) -> None:
        """Append one fact; tries for as long as the log does not answer, giving way to anything newer."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(_may_pass), wait=wait_exponential_jitter(initial=0.05, max=5.0), reraise=True
        ):
            with attempt:
                pending = self._pending.pop(subject, pending)
                known = self._known.get(subject)
                if known is not None and known.digest == pending.digest:
                    self._metrics.suppressed.inc()
                    return
                expected = 0 if known is None else known.sequence
                message = NewMessage(
                    subject=subject,
                    data=encode(pending.fact),
                    headers=pending.headers,
                    expected_last=expected,
                    message_id=digest([subject, pending.digest, expected]),
                )
                try:
                    sequence = (await self._log.append(message)).sequence
                except RevisionConflict:
                    self._metrics.conflicts.inc()
                    await self._learn_again(subject)
                    if pending.refetch is not None and subject not in self._pending:
                        await pending.refetch()
                        return
                    raise
                self._known[subject] = _Known(sequence, pending.digest)
                self._metrics.published.labels(type(pending.fact).__name__).inc()
                self._metrics.append_seconds.observe(self._clock.monotonic() - pending.told_at)

    async def _await_turn(self, subject: str) -> None:
        """Wait for a token of the key's bucket."""
        key = parse_subject(subject).key
        if key is None:
            return
        while True:
            now = self._clock.monotonic()
            tokens, since = self._buckets.get(key, (BURST, now))
            tokens = min(BURST, tokens + (now - since) * RATE)
            if tokens >= 1:
                self._buckets[key] = (tokens - 1, now)
                return
            self._buckets[key] = (tokens, now)
            await asyncio.sleep((1 - tokens) / RATE)

    async def _learn_again(self, subject: str) -> None:
        last = await self._log.last(subject)
        if last is None:
            self._known.pop(subject, None)
        else:
            self._learn(last)

    def _learn(self, message: Message) -> None:
        try:
            record = decode_record(message.data)
            address = parse_subject(message.subject)
        except (Undecodable, ValueError) as err:
            log.warning("message parked", subject=message.subject, sequence=message.sequence, reason=str(err))
            self._metrics.parked.inc()
            self._known[message.subject] = _Known(message.sequence, "")
            return
        if isinstance(record, ObjectObserved):
            known = digest([record.uid, record.object])
            if address.ref is not None:
                kind = (address.ref.group, address.ref.kind)
                self._subjects.setdefault(kind, {}).setdefault(address.ref, set()).add(message.subject)
        else:
            known = GONE
        self._known[message.subject] = _Known(message.sequence, known)


def _may_pass(error: BaseException) -> bool:
    """A missing stream is not waited for here: everything must be observed anew once it is back."""
    return isinstance(error, RetryableError) and not isinstance(error, LogMissing)
