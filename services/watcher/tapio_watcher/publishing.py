"""Appending object facts: each subject in order, equal facts once, the newest first, and nothing lost.

What waits for its append is replaced by what is newer (a storm on one object is one fact), objects and keys are rate
limited (a storm can't push the others out of the window), and every append says which fact it follows: when somebody
else wrote first, the object is read again and *that* is published. Never two in flight for one object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import replace

import structlog
from opentelemetry import trace
from tenacity import AsyncRetrying, retry_if_exception, wait_random_exponential

from tapio_shared.codec import digest
from tapio_shared.errors import MessageTooLarge, RetryableError, RevisionConflict
from tapio_shared.keys import ObjectRef, OrderingKey, every_object_of, object_subject, parse_subject
from tapio_shared.ports import Clock, EventLog, Message, NewMessage
from tapio_shared.telemetry import inject_context
from tapio_watcher.encoding import EncodedFact, gone_fact
from tapio_watcher.entries import Known
from tapio_watcher.known import KnownFacts
from tapio_watcher.metrics import Metrics
from tapio_watcher.past import Told
from tapio_watcher.rates import KEY_RATE, OBJECT_RATE, Buckets
from tapio_watcher.standing import Standing, may_pass
from tapio_watcher.tickets import Tickets
from tapio_watcher.waiting import Again, Entry, Waiting, merged

log = structlog.get_logger(__name__)
tracer = trace.get_tracer(__name__)

IN_FLIGHT = 256
MOST_WAITING = 256
"""Objects whose facts may wait, some 8 KB each; beyond it the watches are not read any further."""

Refetch = Callable[[], Awaitable[None]]
_IS_READ: ContextVar[bool] = ContextVar("is_read", default=False)
"""Whether what is told here was read from the API server because of a doubt, so that it ends the doubt."""


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
        self.known = KnownFacts(target)
        self.standing = Standing()
        self._waiting: dict[str, list[Entry]] = {}
        """Subjects that are being worked on, with what is to be appended next."""
        self._doubtful: set[str] = set()
        """Subjects of which the log may hold more than is known: an append that nobody answered gave way."""
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._objects: Buckets[str] = Buckets(OBJECT_RATE)
        self._keys: Buckets[OrderingKey | None] = Buckets(KEY_RATE)
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._tickets = Tickets()
        self.newest = 0
        """The highest sequence that was appended here."""
        self.trouble = ""
        """Why the last append failed, while it still does."""
        self.is_broken = False
        """An append ended for good; whoever leads must begin anew."""

    # --- learning ----------------------------------------------------------------------------------------------

    async def hydrate(self, at_least: int = 0, told: Told | None = None) -> None:
        """Learn what the log holds, one fact after the other: memory then holds digests and no facts.

        Up to the sequence `at_least` nothing is missing: from a replica that is behind, nobody would learn of objects
        whose end must be told, and it never would be. `told` learns the version of every object.
        """
        self.known.told = told or Told()
        newest: Message | None = None
        async for message in self._log.each_last(every_object_of(self._target), at_least=at_least):
            self._learn(message)
            newest = message if newest is None or message.sequence > newest.sequence else newest
        if newest is not None:  # It stands for all of them.
            self.standing.believe(newest.subject, newest.sequence, newest.data)

    def _learn(self, message: Message) -> None:
        reason = self.known.learn(message)
        if reason:
            self._metrics.parked.inc()
            log.error("message parked", subject=message.subject, sequence=message.sequence, reason=reason)

    async def _learn_again(self, subject: str) -> None:
        last = await self.standing.last(self._log, subject, self.known.sequence_of(subject))
        if last is None:
            self.known.dropped(subject)
        else:
            self._learn(last)
        self._doubtful.discard(subject)

    def told(self, key: OrderingKey, ref: ObjectRef) -> Known | None:
        """The last fact that the log holds of an object for `key`."""
        return self.known.get(object_subject(key, ref, self._partitions))

    def tells(self, key: OrderingKey, ref: ObjectRef, fact: EncodedFact) -> bool:
        """Whether the log says just this of an object to `key`, and nothing else is on its way."""
        subject = object_subject(key, ref, self._partitions)
        return subject not in self._waiting and self._says_nothing(subject, fact, is_awaited=True)

    # --- telling -----------------------------------------------------------------------------------------------

    def observed(
        self,
        key: OrderingKey,
        ref: ObjectRef,
        fact: EncodedFact,
        *,
        refetch: Refetch | None = None,
        only_place: bool = True,
    ) -> None:
        """Publish how an object is, unless the log says the same.

        With `only_place`, an object that moved to another key leaves a tombstone where it was told of before.
        """
        subject = object_subject(key, ref, self._partitions)
        is_quiet = subject not in self._waiting and subject not in self._doubtful
        if is_quiet and self.known.is_settled(subject, fact.digest, only_place=only_place):
            self._metrics.suppressed.inc()
            return
        if only_place:
            for former in self.known.places(ref):
                if former != subject:
                    self.known.remove_place(former)
                    end = gone_fact(uid=fact.uid, resource_version="", now=self._clock.now())
                    self._put(former, end, refetch)
        self.known.add_place(subject)
        self._put(subject, fact, refetch)

    def gone(
        self,
        ref: ObjectRef,
        *,
        uid: str = "",
        resource_version: str = "",
        key: OrderingKey | None = None,
        refetch: Refetch | None = None,
    ) -> None:
        """Publish that an object is gone, on every subject that told of it.

        With `key`, its subject is told even when it never told of the object: that something awaited does not exist
        is a fact too.
        """
        now = self._clock.now()
        fact = gone_fact(uid=uid, resource_version=resource_version, now=now)
        awaited = "" if key is None else object_subject(key, ref, self._partitions)
        if awaited:
            self.known.expect(awaited)
        for subject in self.known.places(ref) if key is None else (awaited,):
            self.known.remove_place(subject)
            self._put(subject, fact, refetch, is_awaited=subject == awaited)

    def again(self, subject: str) -> None:
        """Append the last fact of `subject` anew, byte for byte, unless something newer is on its way."""
        if subject not in self._waiting:
            self._begin(subject, Again(self._tickets.new()))

    async def room(self) -> None:
        """Wait while too much waits to be appended."""
        await self._has_room.wait()

    async def flush(self) -> None:
        """Wait until everything handed in so far is durable, or replaced by something newer that is."""
        await self._tickets.flush()

    def _put(self, subject: str, fact: EncodedFact, refetch: Refetch | None, *, is_awaited: bool = False) -> None:
        queue = self._waiting.get(subject)
        known = self.known.get(subject)
        if queue is None and self._says_nothing(subject, fact, is_awaited=is_awaited):
            self._metrics.suppressed.inc()
            return
        is_swept = queue is not None and len(queue) == 1 and isinstance(queue[0], Again)
        if is_swept and known is not None and known.digest == fact.digest:
            return
        span = tracer.start_span("observe", attributes={"tapio.subject": subject, "tapio.uid": fact.uid})
        with trace.use_span(span):
            headers = inject_context({})
        entry = Waiting(
            fact,
            self._tickets.new(),
            self._clock.monotonic(),
            headers,
            span,
            refetch,
            is_awaited,
            is_read=_IS_READ.get(),
        )
        if queue is None:
            self._begin(subject, entry)
            return
        self._metrics.coalesced.inc()
        self._waiting[subject], dropped = merged(queue, entry)
        for one in dropped:
            self._tickets.done(one.ticket)

    def _says_nothing(self, subject: str, fact: EncodedFact, *, is_awaited: bool) -> bool:
        """Whether the log already says so; the end of what was never told of is no news, unless it is awaited."""
        if subject in self._doubtful:
            return False
        known = self.known.get(subject)
        if known is None:
            return fact.is_gone and not is_awaited
        return known.digest == fact.digest

    def _begin(self, subject: str, entry: Entry) -> None:
        work = self._work(subject)
        try:
            self._group.create_task(work, name=f"publish-{subject}")
        except RuntimeError as err:
            # The group is ending by another append's error, which nobody else has noticed yet.
            work.close()
            self.is_broken = True
            raise RetryableError(
                f"Facts of {self._target} are no longer appended, so {subject} is not told; all is observed anew."
            ) from err
        self._waiting[subject] = [entry]
        self._measure()

    def _measure(self) -> None:
        waiting = len(self._waiting)
        self._metrics.pending.set(waiting)
        if waiting >= MOST_WAITING:
            self._has_room.clear()
        else:
            self._has_room.set()

    # --- appending ---------------------------------------------------------------------------------------------

    async def _work(self, subject: str) -> None:
        """Append what waits for `subject`, and what replaced it meanwhile, one after the other."""
        key = parse_subject(subject).key
        try:
            while self._waiting[subject]:
                now = self._clock.monotonic()
                seconds = max(self._objects.reserve(subject, now), self._keys.reserve(key, now))
                if seconds > 0:
                    self._metrics.delayed.inc()
                    await asyncio.sleep(seconds)
                async with self._slots:
                    entry = self._waiting[subject].pop(0)
                    try:
                        await self._append(subject, entry)
                    except MessageTooLarge as err:
                        # No retry helps and nobody else is to wait: it is told again when the object changes.
                        self._metrics.failures.labels(type(err).__name__).inc()
                        log.error("fact not published", subject=subject, error=str(err))  # noqa: TRY400 - a sentence
                entry.end()
                self._tickets.done(entry.ticket)
        except BaseException:
            self.is_broken = True
            raise
        finally:
            del self._waiting[subject]
            self._measure()

    async def _append(self, subject: str, entry: Entry) -> None:
        """Append one fact; tries for as long as the log does not answer."""
        try:
            await self._try(subject, entry)
        except RetryableError as err:
            if not may_pass(err):
                raise
        else:
            return  # nearly always: what follows costs as much as the append itself
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(may_pass), wait=wait_random_exponential(multiplier=0.05, max=5.0), reraise=True
        ):
            if self._gives_way(subject, entry):
                return
            with attempt:
                await self._try(subject, entry)

    async def _try(self, subject: str, entry: Entry) -> None:
        """One attempt; why it failed is kept for whoever asks."""
        try:
            await self._attempt(subject, entry)
        except RetryableError as err:
            if not isinstance(err, RevisionConflict):
                self.trouble = str(err)
                self._metrics.failures.labels(type(err).__name__).inc()
            raise
        self.trouble = ""

    def _gives_way(self, subject: str, entry: Entry) -> bool:
        """Whether something newer waits that says all that `entry` would; it then stands for its ticket too."""
        queue = self._waiting[subject]
        if not queue or entry.is_gone:
            return False
        queue[0].ticket, entry.ticket = entry.ticket, queue[0].ticket
        if entry.is_stale:
            queue[0].is_stale = True  # It may be older than what the log tells by now, as `entry` is.
        if not entry.is_read_again:
            self._doubtful.add(subject)  # Perhaps it is the acknowledgement that was lost, and the log holds `entry`.
        return True

    async def _attempt(self, subject: str, entry: Entry) -> None:
        if isinstance(entry, Again):
            await self._attempt_again(subject)
            return
        if entry.refetch is not None and (entry.is_stale or self._is_anothers(subject, entry)):
            # An end that waited took its subject off the places. It is given up for what is read now, an end perhaps.
            self.known.place_again(subject)
            token = _IS_READ.set(True)
            try:
                await entry.refetch()
            finally:
                _IS_READ.reset(token)
            self._tickets.read_again()
            return
        if self._says_nothing(subject, entry.fact, is_awaited=entry.is_awaited):
            self._metrics.suppressed.inc()
            return
        former = self.known.get(subject)
        if former is not None and former.is_present and former.uid not in {"", entry.fact.uid} and not entry.is_gone:
            # Deleted and made anew while nobody looked: the former object's end is a fact of its own.
            end = gone_fact(uid=former.uid, resource_version="", now=self._clock.now())
            await self._append_fact(subject, entry, end)
        await self._append_fact(subject, entry, entry.fact)

    def _is_anothers(self, subject: str, entry: Waiting) -> bool:
        """Whether `entry`, which was not read just now, is about another object of that name than the log tells of.

        That one may have come first, or after it: a watch can be behind what a comparison has read, or somebody else.
        """
        known, uid = self.known.get(subject), entry.fact.uid
        if known is None or not known.is_present or entry.is_read:
            return False
        return "" not in {known.uid, uid} and known.uid != uid

    async def _append_fact(self, subject: str, entry: Waiting, fact: EncodedFact) -> None:
        expected = self.known.sequence_of(subject)
        message = NewMessage(
            subject=subject,
            data=fact.data,
            headers=entry.headers,
            expected_last=expected,
            # Ids are per stream, so the subject is in it; the sequence is, since the same version may rightly be told
            # twice: after an object was thought gone, or under another digest key.
            message_id=digest([subject, fact.uid, fact.resource_version, fact.digest.hex(), expected]),
        )
        try:
            appended = await self._log.append(message)
            if appended.duplicate:
                last = await self._log.last(subject)
                if last is None or last.sequence < appended.sequence:
                    # The stream remembers the id for longer than it kept the fact.
                    appended = await self._log.append(replace(message, message_id=None))
        except RevisionConflict:
            await self._learn_again(subject)
            known = self.known.get(subject)
            # Every end has the same digest; that of a former object is not the end of the one that is told after it.
            is_the_same = fact is entry.fact or (known is not None and known.uid == fact.uid)
            if known is not None and known.digest == fact.digest and is_the_same:
                return  # our own append, whose acknowledgement was lost, or another watcher that saw the same
            self._metrics.conflicts.inc()
            for one in (entry, *self._waiting[subject]):  # All of them were seen before what was learned just now.
                one.is_stale = True
            raise
        now = self._clock.now()
        self.newest = max(self.newest, appended.sequence)
        self.known.appended(subject, appended.sequence, fact, now)
        self._doubtful.discard(subject)
        self.standing.believe(subject, appended.sequence, message.data)
        self._metrics.published.labels("ObjectGone" if fact.is_gone else "ObjectObserved").inc()
        self._metrics.append_seconds.observe(self._clock.monotonic() - entry.told_at)

    async def _attempt_again(self, subject: str) -> None:
        last, known = await self._log.last(subject), self.known.get(subject)
        if last is None or known is None or last.sequence != known.sequence:
            if last is not None and known is not None and last.sequence > known.sequence:
                self._learn(last)  # Another watcher's sweep was there. Who does not know that sweeps it for ever.
            return
        message = NewMessage(subject=subject, data=last.data, headers=last.headers, expected_last=last.sequence)
        try:
            appended = await self._log.append(message)
        except RevisionConflict:
            await self._learn_again(subject)
            return
        self.newest = max(self.newest, appended.sequence)
        self.known.moved(subject, appended.sequence, self._clock.now())
        self.standing.believe(subject, appended.sequence, last.data)
        self._metrics.swept.inc()
