"""How far each watch has come, on the log: for people, and so that a former leader can't set it back.

A restart lists anyway, since only a list finds what was deleted meanwhile; so a cursor is written rarely.
"""

from __future__ import annotations

import structlog

from tapio_shared.codec import decode_record, encode
from tapio_shared.errors import RevisionConflict, Undecodable
from tapio_shared.facts import CursorMoved
from tapio_shared.keys import cursor_subject, escape_token
from tapio_shared.ports import Clock, EventLog, Message, NewMessage

log = structlog.get_logger(__name__)
WRITE_EVERY = 3_600.0
"""Seconds between two writes of one cursor: some 30 kinds of 250 bytes take 170 KB a day."""


class Cursors:
    """The cursors of one target, by kind."""

    def __init__(self, event_log: EventLog, target: str, clock: Clock) -> None:
        self._log, self._target, self._clock = event_log, target, clock
        self._sequences: dict[str, int] = {}
        self._last: dict[str, CursorMoved] = {}
        self.cluster = ""
        """UID by which the Kubernetes cluster is told from others; what is written says so. Empty when not asked."""

    async def hydrate(self) -> None:
        """Learn what the log holds."""
        for message in (await self._log.last_per_subject(f"tapio.cursor.{escape_token(self._target)}.*")).messages:
            self._learn(message)

    def is_of_this_cluster(self, kind: str) -> bool:
        """Whether a cursor says that what the log tells of `kind` is of the Kubernetes cluster that is there now.
        Versions of another one, made anew under the same name, say nothing."""
        last = self._last.get(cursor_subject(self._target, kind))
        return last is not None and last.cluster in {"", self.cluster}

    def moved(self) -> dict[str, tuple[int, str]]:
        """By kind: where the last cursor stands in the log, and its version."""
        return {one.kind: (self._sequences[subject], one.resource_version) for subject, one in self._last.items()}

    async def move(self, kind: str, resource_version: str, generation: str, *, at_once: bool = False) -> bool:
        """Record where the watch of `kind` resumes, unless that was done lately and need not be done `at_once`;
        answers whether it was written."""
        subject, now = cursor_subject(self._target, kind), self._clock.now()
        last = self._last.get(subject)
        is_lately = last is not None and (
            last.resource_version == resource_version or now - last.moved_at < WRITE_EVERY * 1000
        )
        is_of_it = last is not None and last.generation == generation and last.cluster == self.cluster
        if is_of_it and is_lately and not at_once:
            return False
        fact = CursorMoved(
            kind=kind, resource_version=resource_version, generation=generation, moved_at=now, cluster=self.cluster
        )
        expected = self._sequences.get(subject, 0)
        try:
            appended = await self._log.append(NewMessage(subject=subject, data=encode(fact), expected_last=expected))
        except RevisionConflict:
            # Another watcher leads or led; where its watch is, is as good.
            written = await self._log.last(subject)
            if written is not None:
                self._learn(written)
            return False
        self._sequences[subject], self._last[subject] = appended.sequence, fact
        return True

    def _learn(self, message: Message) -> None:
        self._sequences[message.subject] = message.sequence
        try:
            record = decode_record(message.data)
        except Undecodable as err:
            log.error("message parked", subject=message.subject, sequence=message.sequence, reason=str(err))  # noqa: TRY400 - no stack, the sentence says it
            return
        if isinstance(record, CursorMoved):
            self._last[message.subject] = record
