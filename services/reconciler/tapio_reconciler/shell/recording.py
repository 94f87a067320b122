"""Appending under an epoch: nothing a former owner says ever enters the log.

One batch is in flight per partition; what arrives meanwhile goes out together in the next one, atomically, under one
check of the fence. A lost answer is resolved by reading back, never by hoping.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import msgspec
from tenacity import AsyncRetrying, retry_if_exception, wait_exponential_jitter

from tapio_shared.codec import decode_record, encode
from tapio_shared.errors import (
    Fenced,
    LogUnavailable,
    MessageTooLarge,
    NewerFormat,
    RetryableError,
    RevisionConflict,
    Undecodable,
)
from tapio_shared.facts import FORMAT, EpochAdvanced, IdleKeys
from tapio_shared.keys import epoch_subject
from tapio_shared.ports import Clock, EventLog, Message, NewMessage

_BATCH = 100
_QUEUED = 2_000
"""Messages that wait for the batch in flight; a full queue holds the keys back, not the process's memory."""


@dataclass(slots=True)
class _Pending:
    messages: tuple[NewMessage, ...]
    done: asyncio.Future[int]


async def newer_epoch(log: EventLog) -> str:
    """Why a worker of this version must own nothing: a partition was owned by a newer one. Empty when none was."""
    for message in (await log.last_per_subject("tapio.epoch.*")).messages:
        try:
            refuse_newer(message)
        except NewerFormat as err:
            return str(err)
    return ""


def refuse_newer(epoch: Message) -> None:
    """Raise `NewerFormat` when the last owner of a partition was of a version whose decisions this one can't read."""
    try:
        decode_record(epoch.data)
    except NewerFormat as err:
        partition = epoch.subject.rpartition(".")[2]
        raise NewerFormat(f"Partition {partition} was last owned by a newer version of the operator. {err}") from err
    except Undecodable:
        pass  # Broken, which says nothing of who wrote it: the next owner's epoch takes its place.


@dataclass(frozen=True, slots=True)
class Taken:
    """A partition that was taken over."""

    token: int
    """Sequence of the epoch, which fences the former owner."""
    idle: IdleKeys | None
    """What the former owner told of keys that need not be planned."""


async def advance_epoch(log: EventLog, partition: int, *, worker: str, partitions: int, clock: Clock) -> Taken:
    """Take `partition` over. What the former epoch told of idle keys is told on: its owner may end before it knows
    more.

    RevisionConflict: somebody was faster. NewerFormat: its last owner was of a version that writes what this one can't
    read, so it is left to such a version.
    """
    last = await log.last(epoch_subject(partition))
    if last is not None:
        refuse_newer(last)
    former = None if last is None else _epoch_in(last)
    idle = None if former is None else former.idle
    epoch = EpochAdvanced(format=FORMAT, worker=worker, partitions=partitions, advanced_at=clock.now(), idle=idle)
    token = await _append_epoch(log, partition, epoch, expected_last=0 if last is None else last.sequence)
    return Taken(token, idle)


async def _append_epoch(log: EventLog, partition: int, epoch: EpochAdvanced, *, expected_last: int) -> int:
    """Append `epoch` after the one at `expected_last`; without what it tells of idle keys where that is too large."""
    message = NewMessage(subject=epoch_subject(partition), data=encode(epoch), expected_last=expected_last)
    try:
        return (await log.append(message)).sequence
    except MessageTooLarge:
        if epoch.idle is None:
            raise
        return await _append_epoch(
            log, partition, msgspec.structs.replace(epoch, idle=None), expected_last=expected_last
        )


class Recorder:
    """Appends records of one partition under its epoch, in the order in which they were handed in."""

    def __init__(
        self,
        log: EventLog,
        partition: int,
        token: int,
        *,
        worker: str,
        partitions: int,
        clock: Clock,
        idle: Callable[[], IdleKeys | None] = lambda: None,
    ) -> None:
        """`token` is that of `advance_epoch`; `idle` answers what an epoch tells of idle keys. Call `run` in a task of
        its own."""
        self._log, self._partition, self._token, self._idle = log, partition, token, idle
        self._worker, self._partitions, self._clock = worker, partitions, clock
        self._queue: asyncio.Queue[_Pending] = asyncio.Queue(_QUEUED)
        self._ended = False

    @property
    def token(self) -> int:
        return self._token

    async def record(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> int:
        """Append one record durably and answer its sequence.

        `Fenced` when the partition has a new owner or `run` has ended, `MessageTooLarge` when no server takes it: its
        key's own trouble.
        """
        return await self._hand_in(NewMessage(subject=subject, data=data, headers=headers or {}))

    async def check(self) -> None:
        """`Fenced` unless this worker still owns the partition, as the log's leader knows it.

        After the log lost its end, another owner's epoch may have got the very number of ours.
        """
        last = await self._log.last(epoch_subject(self._partition))
        if last is None or last.sequence != self._token or _owner_of(last) != self._worker:
            raise Fenced(self._partition, self._token)

    async def reassert(self) -> None:
        """Write the epoch anew, so that it does not age out of the stream while the partition is owned, and tells of
        the keys that are idle now. `Fenced` as for `record`."""
        await self._hand_in()

    async def _hand_in(self, *messages: NewMessage) -> int:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        await self._queue.put(_Pending(messages, done))
        if self._ended:  # Before this was put: nobody else looks into the queue again.
            self._refuse(())
        return await done

    async def run(self) -> None:
        """Append what is handed in, until fenced or cancelled. Ends with `Fenced` as its error."""
        batch: list[_Pending] = []
        try:
            while True:
                batch = await self._next()
                await self._append(batch)
                batch = []
        finally:
            self._refuse(batch)
            self.end()

    async def _next(self) -> list[_Pending]:
        """The next pending appends: a re-assertion alone, or as many records as one batch holds."""
        first = await self._queue.get()
        batch = [first]
        while first.messages and len(batch) < _BATCH and not self._queue.empty():
            following = self._queue.get_nowait()
            batch.append(following)
            if not following.messages:
                break
        return batch

    async def _append(self, batch: Sequence[_Pending]) -> None:
        messages = [message for pending in batch for message in pending.messages]
        if messages:
            try:
                last = await self._append_fenced(messages)
            except MessageTooLarge as err:
                await self._append_without(batch, err)
                return
            sequence = last - len(messages)
            for pending in batch:
                sequence += len(pending.messages)
                if pending.messages and not pending.done.done():
                    pending.done.set_result(sequence)
        for pending in batch:
            if not pending.messages:
                await self._advance_again()
                if not pending.done.done():
                    pending.done.set_result(self._token)

    async def _append_without(self, batch: Sequence[_Pending], error: MessageTooLarge) -> None:
        """Append `batch` without the records of the subject that `error` names, and tell those who wait for these."""
        rest: list[_Pending] = []
        for pending in batch:
            if not any(message.subject == error.subject for message in pending.messages):
                rest.append(pending)
            elif not pending.done.done():
                pending.done.set_exception(error)
        if rest:
            await self._append(rest)

    async def _append_fenced(self, messages: Sequence[NewMessage]) -> int:
        """Append all of `messages` under the epoch; answers the last one's sequence. Retries what may pass.

        An append without an answer may still be on its way, and land when its successors long stand. So the epoch is
        advanced before it is repeated: what was sent under the former one has landed by then, and is found, or can't.
        """
        since, in_doubt = self._token, False
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(_may_pass), wait=wait_exponential_jitter(multiplier=0.05, max=5.0), reraise=True
        ):
            with attempt:
                if in_doubt:
                    await self._advance_again()
                    known = await self._recorded(messages, since)
                    if known is not None:
                        return known
                    in_doubt = False
                fenced = self._fenced(messages)
                try:
                    if len(fenced) == 1:
                        return (await self._log.append(fenced[0])).sequence
                    return (await self._log.append_batch(fenced)).sequence
                except RevisionConflict as err:
                    raise Fenced(self._partition, self._token) from err
                except LogUnavailable:
                    in_doubt = True
                    raise
        raise AssertionError("AsyncRetrying ends by return or by error.")

    def _fenced(self, messages: Sequence[NewMessage]) -> list[NewMessage]:
        """`messages` as they are appended under the epoch, which the first one names."""
        first = replace(
            messages[0], expected_last=self._token, expected_subject=epoch_subject(self._partition), message_id=None
        )
        return [first, *messages[1:]]

    async def _recorded(self, messages: Sequence[NewMessage], since: int) -> int | None:
        """Sequence of the last of `messages` when an append whose answer was lost went through after all.

        While the epoch is ours nobody else writes these subjects, so the last message of the last subject tells.
        """
        found = await self._log.last(messages[-1].subject)
        if found is not None and found.data == messages[-1].data and found.sequence > since:
            return found.sequence
        return None

    async def _advance_again(self) -> None:
        epoch = EpochAdvanced(
            format=FORMAT,
            worker=self._worker,
            partitions=self._partitions,
            advanced_at=self._clock.now(),
            idle=self._idle(),
        )
        try:
            self._token = await _append_epoch(self._log, self._partition, epoch, expected_last=self._token)
        except RevisionConflict as err:
            raise Fenced(self._partition, self._token) from err

    def end(self) -> None:
        """Record nothing more; whoever waits for it, or comes later, is told `Fenced`. `run` does so when it ends; one
        that was cancelled before it began does not."""
        self._ended = True
        self._refuse(())

    def _refuse(self, batch: Sequence[_Pending]) -> None:
        """Nobody waits for ever for a recorder that has ended."""
        left = list(batch)
        with suppress(asyncio.QueueEmpty):
            while True:
                left.append(self._queue.get_nowait())
        for pending in left:
            if not pending.done.done():
                pending.done.set_exception(Fenced(self._partition, self._token))


def _owner_of(epoch: Message) -> str:
    """Which worker an epoch was advanced by; nobody where that can't be read."""
    record = _epoch_in(epoch)
    return "" if record is None else record.worker


def _epoch_in(message: Message) -> EpochAdvanced | None:
    try:
        record = decode_record(message.data)
    except Undecodable:
        return None
    return record if isinstance(record, EpochAdvanced) else None


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, RetryableError)
