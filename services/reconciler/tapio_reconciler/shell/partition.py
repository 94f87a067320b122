"""One owned partition: take it over, follow it, and give what is dirty its rounds.

Keys are worked on concurrently, each one strictly in order. Failure of one key never holds up another; losing the
partition (`Fenced`) ends all of them at once.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import structlog

from tapio_reconciler.core.outcomes import retry_wait
from tapio_reconciler.shell.capacity import Capacity
from tapio_reconciler.shell.following import Progress
from tapio_reconciler.shell.identity import Identity
from tapio_reconciler.shell.idle import Idle
from tapio_reconciler.shell.metrics import Metrics
from tapio_reconciler.shell.recording import Recorder, advance_epoch
from tapio_reconciler.shell.rounds import TAKEOVER, Cause, Rounds
from tapio_reconciler.shell.states import States, give_in_after
from tapio_reconciler.shell.targets import Targets
from tapio_reconciler.shell.timers import Timers
from tapio_reconciler.shell.trust import WITHHELD_FOR
from tapio_shared.codec import encode
from tapio_shared.errors import (
    Fenced,
    LogRewound,
    MessageTooLarge,
    NewerFormat,
    PartitionCountMismatch,
    RetryableError,
    TapioError,
)
from tapio_shared.facts import SweepMarked, Timer, TimerDue
from tapio_shared.keys import OrderingKey, partition_prefix, timer_subject
from tapio_shared.ports import Clock, EventLog, Message

log = structlog.get_logger(__name__)

COALESCE = 0.05
"""Seconds between two plans of one key: the first fact is acted on at once, its echoes are taken together."""
ROUNDS = 8
"""Rounds of one key before others have their turn: twice what a roll-out takes until it waits for pods."""
PARK_EVERY = 1.0
"""Seconds between two rounds of recording what could not be read: a storm of it is one record per key and round."""
CHECK_EVERY = 10.0
"""Seconds between two looks at whether the epoch is still ours: who records nothing would not notice that it is not."""
REASSERT_EVERY = 600.0
"""Seconds between two re-assertions of an owned epoch, so that it never lies in the oldest part of the stream."""
TELL_EVERY = 60.0
"""Seconds between two looks at whether more keys are idle than the epoch tells of: who is killed tells no more."""
_LOOKS, _LOOKS_AT_IDLE = int(REASSERT_EVERY / CHECK_EVERY), int(TELL_EVERY / CHECK_EVERY)


class Partition:
    """Owner of one partition. `run` returns by cancellation or raises `Fenced` / `LogUnavailable`."""

    def __init__(
        self,
        number: int,
        event_log: EventLog,
        targets: Targets,
        identity: Identity,
        clock: Clock,
        metrics: Metrics,
        capacity: Capacity,
    ) -> None:
        self._number, self._log, self._targets = number, event_log, targets
        self._identity, self._clock, self._metrics = identity, clock, metrics
        self._capacity = capacity
        self._states = States(event_log, identity.partitions, number, hot=capacity.hot, trust=capacity.trust)
        self._timers = Timers(clock, self._timer_due)
        self._dirty: dict[OrderingKey, Cause] = {}
        self._running: dict[OrderingKey, asyncio.Task[None]] = {}
        self._at_work: dict[OrderingKey, asyncio.Task[None]] = {}
        """Those that have a slot; the others have not begun."""
        self._unplanned: set[OrderingKey] = set()
        """Keys of the operator's own cluster, known at take-over, that are to be planned and have not been yet."""
        self._failures: dict[OrderingKey, int] = {}
        """How often in a row a key's round ended in an error that no outcome tells of."""
        self._recorder: Recorder | None = None
        self._group: asyncio.TaskGroup | None = None
        self._draining = False
        self._unreadable = asyncio.Event()
        self._followed = Progress()
        self._idle = Idle(self._states, self._timers, clock, identity.made_by)
        self._rounds = Rounds(
            self._states,
            targets,
            self._timers,
            self._followed,
            self._idle,
            self._owned,
            identity=identity,
            clock=clock,
            metrics=metrics,
        )
        self._sweeping: asyncio.Task[None] | None = None
        self.ready = asyncio.Event()
        """Set once every key has been planned for the first time, or need not be."""

    @property
    def keys(self) -> int:
        return len(self._states.known)

    @property
    def parked(self) -> int:
        """Messages that could not be read since the partition was taken over."""
        return self._states.parked_total

    async def run(self) -> None:
        """Own the partition until cancelled, fenced or cut off from the log."""
        known = (await self._log.info()).partitions
        if known != self._identity.partitions:
            raise PartitionCountMismatch(
                f"The log was made for {known} partitions and this worker is set to {self._identity.partitions}. "
                f"Set TAPIO_PARTITIONS to {known}."
            )
        seen = self._capacity.trust.newest
        taken = await advance_epoch(
            self._log,
            self._number,
            worker=self._identity.worker,
            partitions=self._identity.partitions,
            clock=self._clock,
        )
        token = taken.token
        recorder = Recorder(
            self._log,
            self._number,
            token,
            worker=self._identity.worker,
            partitions=self._identity.partitions,
            clock=self._clock,
            idle=self._idle.tell,
        )
        self._recorder = recorder
        if self._capacity.trust.taken_over(token, seen):
            log.warning("the log went back", partition=self._number, epoch=token)
        newest = await self._hydrate(token)
        revision = max(token, 0 if newest is None else newest.sequence)
        self._followed.advance(revision)
        if self._states.newer:
            raise NewerFormat(self._states.newer)
        self._notice_parked()
        for target in self._states.shared:
            self._capacity.heed(target, self._states.shared)
        self._idle.take_over(taken.idle, await self._states.log_begins())
        waiting = sorted(key for key in self._states.known if key not in self._idle)
        log.info(
            "partition taken over",
            partition=self._number,
            epoch=token,
            keys=self.keys,
            idle=self.keys - len(waiting),
            revision=revision,
        )
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(recorder.run(), name=f"recorder-{self._number}")
                group.create_task(self._timers.run(), name=f"timers-{self._number}")
                group.create_task(self._reassert(), name=f"reassert-{self._number}")
                group.create_task(self._record_parked(), name=f"parked-{self._number}")
                group.create_task(
                    give_in_after(WITHHELD_FOR, self._states, self._receive), name=f"withheld-{self._number}"
                )
                self._unplanned = {key for key in waiting if self._targets.is_home(key.target)}
                for key in waiting:
                    self._mark(key, Cause(TAKEOVER, {}))
                self._announce_ready()
                for target in sorted(self._states.shared):
                    self._follow_sweep(target, "started", "under way")  # One that began before this owner did.
                # Not from where the reading ended: a log that loses its end meanwhile puts others there. What is lost
                # with our epoch or with the newest message is noticed; what comes after both is told.
                await self._follow(revision + 1, newest)
        except* LogRewound:
            self._capacity.trust.went_back()
            raise
        finally:
            self._group = None
            recorder.end()
            self._states.release()

    async def _hydrate(self, token: int) -> Message | None:
        """Read the partition, at least as of `token`; answers the newest message. Of the others nothing stays but what
        is known."""
        newest: Message | None = None

        def take(message: Message) -> None:
            nonlocal newest
            # The highest ever: if the log lost it before reading had begun anew, following it notices that.
            newest = message if newest is None or message.sequence > newest.sequence else newest
            self._states.hydrate((message,))

        await self._capacity.takeovers.read(
            self._log, self._number, of=self._identity.partitions, at_least=token, take=take
        )
        return newest

    async def drain(self) -> None:
        """Start nothing new, wait until what is under way is recorded, and tell the next owner of the keys that are
        idle. For a graceful hand-over."""
        self._draining = True
        while self._at_work:
            await asyncio.wait(list(self._at_work.values()))
        if self._group is not None:
            with suppress(Fenced, RetryableError):
                await self._owned().reassert()

    async def _follow(self, from_sequence: int, seen: Message | None) -> None:
        pattern = f"{partition_prefix(self._number)}.>"
        async with self._log.follow(pattern, from_sequence=from_sequence, seen=seen) as messages:
            async for message in messages:
                self._receive(message)
                missed = self._followed.missed(message)
                if missed and missed >= await self._states.log_begins():  # else the log has dropped it since
                    raise LogRewound(
                        f"The log went backwards: it has lost what was read at {missed}. Begin from nothing."
                    )
                self._followed.advance(message.sequence)

    def _receive(self, message: Message) -> None:
        address, changes = self._states.fold(message)
        self._capacity.trust.told(message.sequence)
        self._notice_parked()
        if address is None:
            return
        cause = Cause(message.subject, message.headers, self._clock.monotonic())
        if changes and address.key is None and address.what == "config":
            self._capacity.heed(address.target, self._states.shared)
        if address.what == "sweep":
            self._follow_sweep(address.target, "started")
            for key in sorted(self._rounds.incomplete):  # What is vouched for has changed.
                self._mark(key, cause)
        if not changes:
            return
        for key in [address.key] if address.key is not None else self._states.keys_of(address.target):
            self._mark(key, cause)

    def _follow_sweep(self, target: str, *phases: str) -> None:
        """Take part in a sweep whose last mark tells of one of `phases`."""
        entry = self._states.shared.get(target, {}).get("sweep")
        mark = None if entry is None else entry.record
        if self._group is not None and isinstance(mark, SweepMarked) and mark.phase in phases:
            self._sweeping = self._group.create_task(self._republish(mark.below), name=f"sweep-{self._number}")

    def _mark(self, key: OrderingKey, cause: Cause) -> None:
        self._idle.discard(key)
        self._dirty[key] = cause
        if key not in self._running and self._group is not None and not self._draining:
            task = self._group.create_task(self._work(key), name=f"key-{key}")
            self._running[key] = task

    async def _work(self, key: OrderingKey) -> None:
        """Plan `key` until nothing new has been told of it."""
        try:
            while key in self._dirty and not self._draining:
                slot = self._capacity.slot(
                    key.target, begun=self._states.is_hot(key), after=self._states.known[key].revision
                )
                async with self._begun(key, slot):
                    with self._states.at_work(key):
                        await self._take_turn(key)
        finally:
            self._running.pop(key, None)
        if key in self._dirty:
            self._mark(key, self._dirty[key])

    @asynccontextmanager
    async def _begun(self, key: OrderingKey, slot: AbstractAsyncContextManager[None]) -> AsyncGenerator[None]:
        """Within this `key` has `slot`, and a hand-over waits for what it does there."""
        async with slot:
            self._at_work[key] = self._running[key]
            try:
                yield
            finally:
                del self._at_work[key]

    async def _take_turn(self, key: OrderingKey) -> None:
        """Some rounds of `key`, as long as there is something new: the slot is kept meanwhile, and so is its state."""
        for _ in range(ROUNDS):
            if self._draining:
                return
            cause = self._dirty.pop(key)
            if await self._try(key, cause):
                self._dirty.setdefault(key, cause)
            self._unplanned.discard(key)
            self._announce_ready()
            if key not in self._dirty:
                return
            await asyncio.sleep(COALESCE)

    async def _try(self, key: OrderingKey, cause: Cause) -> bool:
        """One round; an error, even one of our own making, puts off this key alone and leaves the others to go on."""
        try:
            state = await self._states.state(key)
            self._notice_parked()
            again = await self._rounds.round(key, cause, state)
        except (Fenced, LogRewound):
            raise
        except TapioError as err:
            log.warning("reconcile failed", key=str(key), error=str(err))
        except Exception:
            log.exception("reconcile broke; the key is tried again later", key=str(key))
        else:
            self._failures.pop(key, None)
            return again
        self._metrics.plans.labels("failed").inc()
        attempt = self._failures[key] = self._failures.get(key, 0) + 1
        due_at = self._clock.now() + retry_wait(str(key), attempt, retryable=True)
        self._timers.replace(key, [Timer(name="retry", due_at=due_at)])
        return False

    def _owned(self) -> Recorder:
        if self._recorder is None:
            raise Fenced(self._number, 0)
        return self._recorder

    async def _timer_due(self, key: OrderingKey, timer: Timer) -> None:
        """Turn a due timer into a fact; following it makes the key dirty."""
        self._idle.discard(key)  # Now: the timer is armed no more, and nothing tells yet that it was due.
        known = self._states.known.get(key)
        fact = TimerDue(
            name=timer.name,
            due_at=timer.due_at,
            fired_at=self._clock.now(),
            decision=0 if known is None else known.decision,
            cluster_uid=self._states.uid_of(key),
        )
        await self._owned().record(timer_subject(key, timer.name, self._identity.partitions), encode(fact))

    def _announce_ready(self) -> None:
        """Set `ready` when every key known at take-over has been planned, or has failed to be for its own reasons."""
        if not self._unplanned:
            self.ready.set()

    def _notice_parked(self) -> None:
        if self._states.unrecorded:
            self._unreadable.set()

    async def _record_parked(self) -> None:
        """Append, for every message that can't be read, a record that says so, and count it: once, whoever owns it."""
        while True:
            await self._unreadable.wait()
            self._unreadable.clear()
            waiting = sorted(self._states.unrecorded.items())
            self._states.unrecorded.clear()
            for subject, record in waiting:
                await self._owned().record(subject, encode(record))
                self._metrics.parked.inc(1 + record.others)
            await asyncio.sleep(PARK_EVERY)

    async def _reassert(self) -> None:
        for look in itertools.count(1):
            await asyncio.sleep(CHECK_EVERY)
            if look % _LOOKS == 0 or (look % _LOOKS_AT_IDLE == 0 and self._idle.is_worth_telling()):
                await self._owned().reassert()
                continue
            with suppress(RetryableError):
                await self._owned().check()

    async def _republish(self, below: int) -> None:
        """Write the last decisions and outcomes that lie in the part of the stream being swept anew, byte for byte."""
        await self._owned().reassert()
        for key in sorted(self._states.known):
            if not self._states.lying_below(key, below):
                continue
            while key in self._running:
                await asyncio.wait([self._running[key]])
            if self._group is not None and not self._draining:
                # In the key's own turn: a record of this moment must not be followed by an older one.
                self._running[key] = self._group.create_task(self._republish_key(key, below), name=f"sweep-{key}")

    async def _republish_key(self, key: OrderingKey, below: int) -> None:
        try:
            async with self._begun(key, self._capacity.slot(key.target)):
                if self._draining:
                    return
                for subject in self._states.lying_below(key, below):
                    last = await self._states.last(subject)
                    if last is not None and last.sequence < below:
                        await self._append_again(last)
        finally:
            self._running.pop(key, None)
        if key in self._dirty:
            self._mark(key, self._dirty[key])

    async def _append_again(self, last: Message) -> None:
        try:
            await self._owned().record(last.subject, last.data, last.headers)
        except MessageTooLarge as err:  # It was recorded when the server took more: it ages out, and is decided anew.
            log.warning("record not written anew", partition=self._number, error=str(err))
