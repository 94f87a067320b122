"""Guards the log itself: that it is the one that was hydrated, that it is whole, and that nothing live ages out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import structlog

from tapio_shared.errors import LogMissing, LogRewound, TapioError
from tapio_shared.facts import SweepMarked, Synced
from tapio_shared.ports import Clock, EventLog, LogInfo
from tapio_watcher.generation import Remembered, went_backwards
from tapio_watcher.known import Known
from tapio_watcher.publishing import FactWriter
from tapio_watcher.shared_facts import SharedFacts
from tapio_watcher.sweeping import lost_below, sweep_below

log = structlog.get_logger(__name__)


class LogGuard:
    """Looks at one log. `look` raises `LogRewound` or `LogMissing` when everything must be observed anew."""

    def __init__(
        self, event_log: EventLog, info: LogInfo, writer: FactWriter, shared: SharedFacts, clock: Clock
    ) -> None:
        self._log, self._writer, self._shared, self._clock = event_log, writer, shared, clock
        self._looked = Remembered(info.created_at, info.last_sequence)
        self._begins = max(info.first_sequence, 1)  # 0 before anything was ever appended
        self._lost = ""
        """Why the log is not what it was, once a look has found that."""
        self._complete_from = 0
        """What has been vouched for: nothing live stands before it. 0 until `vouch` is called."""

    def vouch(self, *, trusted: bool) -> int:
        """The sequence from which on the log holds everything live, now that all of it has been told.

        What an earlier leader vouched for still counts where it is `trusted` and the log begins no later, so that a
        restart says nothing new.
        """
        told = [self._shared.last("synced"), self._shared.last("sweep")] if trusted else []
        former = max((one.complete_from for one in told if isinstance(one, Synced | SweepMarked)), default=0)
        oldest = min((one.sequence for one in self._live()), default=self.remembered.last_sequence)
        self._complete_from = former if former >= self._begins else max(oldest, 1)
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
            lost = lost_below(info, self._live())
            raise LogRewound(
                f"The stream begins at {info.first_sequence} and has dropped {lost} facts that were still the last of "
                "their objects; they are observed again. Raise TAPIO_LOG_MAX_BYTES when this comes again."
            )
        known.forget_gone(info.first_sequence)
        if self._is_due(info, self._bound()):
            below = self._is_due(info, self._live())
            if below:
                await self._sweep(below)

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

    async def _sweep(self, below: int) -> None:
        """Append anew whatever is live below `below`, bracketed by marks in every partition.

        On the first mark the owners of the partitions append their last decisions and outcomes anew.
        """
        await self._mark("started", below)
        subjects = self._writer.known.live_below(below)
        for subject in subjects:
            self._writer.again(subject)
            await self._writer.room()
        await self._shared.again(below)
        await self._writer.flush()
        if self._complete_from:
            self._complete_from = max(self._complete_from, below)
        await self._mark("ended", below)
        log.info("swept", below=below, objects=len(subjects))

    async def _mark(self, phase: str, below: int) -> None:
        now = self._clock.now()
        mark = SweepMarked(phase=phase, below=below, marked_at=now, complete_from=self._complete_from)
        await self._shared.publish("sweep", mark)
