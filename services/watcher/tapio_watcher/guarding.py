"""Guards the log itself: that it is the one that was hydrated, that it is whole, and that nothing live ages out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import structlog

from tapio_shared.errors import LogMissing, LogRewound, TapioError
from tapio_shared.facts import Record, SweepMarked, Synced
from tapio_shared.ports import Clock, EventLog, LogInfo
from tapio_watcher.entries import Known
from tapio_watcher.generation import Remembered, went_backwards
from tapio_watcher.metrics import Metrics
from tapio_watcher.publishing import FactWriter
from tapio_watcher.shared_facts import SharedFacts
from tapio_watcher.sweeping import CROWDED, OVERFULL, at_once, filling, lost_below, sweep_below

log = structlog.get_logger(__name__)

SWEEP_WITHIN = 10.0
"""Seconds that a sweep may take before everything is observed anew."""


class LogGuard:
    """Looks at one log. `look` raises `LogRewound` or `LogMissing` when everything must be observed anew."""

    def __init__(
        self,
        event_log: EventLog,
        info: LogInfo,
        writer: FactWriter,
        shared: SharedFacts,
        clock: Clock,
        metrics: Metrics,
        *,
        trusted: bool = True,
        within: float = SWEEP_WITHIN,
    ) -> None:
        """`trusted`: the log is the one that was last seen, so what others vouched for in it counts."""
        self._log, self._writer, self._shared, self._clock = event_log, writer, shared, clock
        self._metrics, self._trusted, self._within = metrics, trusted, within
        self._looked = Remembered(info.created_at, info.last_sequence)
        self._begins = max(info.first_sequence, 1)  # 0 before anything was ever appended
        self._lost = ""
        """Why the log is not what it was, once a look has found that."""
        self._complete_from = 0
        """What has been vouched for: nothing live stands before it. 0 until `vouch` is called."""

    def vouch(self) -> int:
        """The sequence from which on the log holds everything live, now that all of it has been told.

        What an earlier leader vouched for still counts where it is trusted and the log begins no later, so that a
        restart says nothing new.
        """
        told = [self._shared.last("synced"), self._shared.last("sweep")] if self._trusted else []
        former = max((one.complete_from for one in told if isinstance(one, Synced | SweepMarked)), default=0)
        if former < self._begins:
            oldest = min((one.sequence for one in self._live()), default=self.remembered.last_sequence)
            former = max(oldest, 1)
        self._complete_from = former
        return self._complete_from

    @property
    def remembered(self) -> Remembered:
        """The log as far as it was seen, what was appended since the last look included."""
        return Remembered(
            self._looked.created_at,
            max(self._looked.last_sequence, self._writer.newest),
            self._lost or self._writer.standing.lost or self._shared.standing.lost,
        )

    async def look(self) -> None:
        """Compare the log with what was seen of it, and sweep when that is due."""
        seen = self.remembered  # before asking: what is appended while the answer travels is not in it
        info = await self._log.info()
        reason = went_backwards(seen, info)
        if reason:
            self._lost = reason
            raise LogRewound(reason)
        await self._writer.standing.look(self._log)
        await self._shared.standing.look(self._log)
        self._looked = Remembered(info.created_at, info.last_sequence)
        known = self._writer.known
        if lost_below(info, self._bound()) or self._is_due(info, self._bound()):
            known.look_for_oldest()
        if lost_below(info, self._bound()):
            raise LogRewound(await self._dropped(info))
        known.forget_gone(info.first_sequence)
        if self._is_due(info, self._bound()):
            below = self._is_due(info, self._live())
            if below:
                self._notice_filling(info)
                await self._sweep(info, below)

    async def _dropped(self, info: LogInfo) -> str:
        """Why everything must be observed anew, now that live facts were dropped.

        What comes next in the stream is swept first. It would be pushed out by what is told again, which would be
        noticed, and told again, and so on: a log with room enough would never come to rest.
        """
        lost = lost_below(info, self._live())
        self._metrics.dropped.inc(lost)
        share = self._notice_filling(info)
        below = self._is_due(info, self._live())
        if below and share < OVERFULL:
            with suppress(TimeoutError):  # What waits for the API server holds a sweep up.
                async with asyncio.timeout(self._within):
                    await self._sweep(info, below, is_whole=False)
        advice = "Raise TAPIO_LOG_MAX_BYTES when this comes again."
        if share >= CROWDED:
            advice = f"What must stay takes about {share:.0%} of its {info.max_bytes} bytes. {_advice(info, share)}"
        return (
            f"The stream begins at {info.first_sequence} and has dropped {lost} facts that were still the last of "
            f"their objects; they are observed again. {advice}"
        )

    def _notice_filling(self, info: LogInfo) -> float:
        """What share of the log this target's live facts take, about, which is said where it is much.

        The last decisions and outcomes come on top, and what other targets tell.
        """
        share = filling(info, sum(1 for _ in self._live()), self._writer.known.mean_bytes)
        self._metrics.filling.set(share)
        if share >= CROWDED:
            log.warning(
                "the log has little room beside what must stay in it",
                live=f"{share:.0%}",
                max_bytes=info.max_bytes,
                next_step=_advice(info, share),
            )
        return share

    @staticmethod
    def is_lost(error: TapioError) -> bool:
        """Whether an error says that the log is not the one that was hydrated."""
        return isinstance(error, LogMissing | LogRewound)

    def _is_due(self, info: LogInfo, facts: Iterable[Known]) -> int:
        return sweep_below(info, facts, self._clock.now(), complete_from=self._complete_from)

    def _bound(self) -> Iterator[Known]:
        """What is no younger than any live fact: there is a fact for every object, and a look every other second."""
        if len(self._writer.known):
            yield self._writer.known.oldest()
        yield from self._shared_live()

    def _shared_live(self) -> Iterator[Known]:
        return (known for subject, known in self._shared.known.items() if not subject.endswith(".sweep"))

    def _live(self) -> Iterator[Known]:
        yield from self._writer.known.live()
        yield from self._shared_live()

    async def _sweep(self, info: LogInfo, below: int, *, is_whole: bool = True) -> None:
        """Append anew whatever is live below `below`, bracketed by marks in every partition.

        On the first mark the owners of the partitions append their last decisions and outcomes anew. A log that is not
        whole is vouched for no further by it.
        """
        await self._mark("started", below)
        objects = self._writer.known.live_below(below)
        facts = sorted(objects + self._shared.below(below))
        vouches = self._complete_from > 0 and is_whole
        step = at_once(info, self._complete_from) if vouches else len(facts) + 1
        for start in range(0, len(facts), step):
            vouches = await self._move([subject for _, subject in facts[start : start + step]], below) and vouches
            if vouches and start + step < len(facts):
                self._complete_from = max(self._complete_from, facts[start + step][0])
                await self._mark("under way", below)
        if vouches:
            self._complete_from = max(self._complete_from, below)
        await self._mark("ended", below)
        log.info("swept", below=below, objects=len(objects))

    async def _move(self, subjects: Sequence[str], below: int) -> bool:
        """Append the last facts of `subjects` anew, the oldest first: what is appended pushes out what is oldest.

        Answers whether none of them was pushed out before it was appended.
        """
        for subject in subjects:
            if subject in self._shared.known:
                await self._shared.again(subject)
            else:
                self._writer.again(subject)
                await self._writer.room()
        await self._writer.flush()
        known = [self._shared.known.get(subject) or self._writer.known.get(subject) for subject in subjects]
        return all(one is None or one.sequence >= below for one in known)

    async def _mark(self, phase: str, below: int) -> None:
        def after(last: Record | None) -> SweepMarked:
            """What the mark before vouches for, another watcher's perhaps, is not taken back where it is trusted."""
            former = last.complete_from if self._trusted and isinstance(last, SweepMarked) else 0
            vouched = max(self._complete_from, former)
            return SweepMarked(phase=phase, below=below, marked_at=self._clock.now(), complete_from=vouched)

        await self._shared.publish_after("sweep", after)


def _advice(info: LogInfo, share: float) -> str:
    return f"Raise TAPIO_LOG_MAX_BYTES to {int(info.max_bytes * share / CROWDED)} or more."
