"""The edges of the operator as Protocols, each with a real and an in-memory version in `tapio_shared.adapters`.

Time-outs live here, at the port: every awaitable ends, with a result or a `TapioError`. Implementations translate
their library's errors; callers see `tapio_shared.errors` alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol


class Clock(Protocol):
    """The time of day and a steady counter. Only shells read it; core is given `now`."""

    def now(self) -> int:
        """Milliseconds since the Unix epoch, UTC. May jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


class Random(Protocol):
    """Randomness, so that a seeded run can be repeated."""

    def uniform(self, low: float, high: float) -> float: ...

    def token(self, length: int) -> str:
        """`length` characters from a-z, A-Z, 0-9, fit for a password."""
        ...

    def identifier(self) -> str:
        """A new unique name, lower-case letters and digits."""
        ...


# --- the log ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Message:
    """One message as the log holds it. `written_at` is the server's time stamp, milliseconds."""

    subject: str
    sequence: int
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    written_at: int = 0
    previous: int | None = field(default=None, compare=False)
    """Sequence of the message before it on its subject, 0 for none, if its writer expected that one; else None. Told
    where single messages are asked for, and not where a log is followed or read."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """One message to append.

    `expected_last`: the sequence that must be the last one of `expected_subject` (default: of `subject` itself);
    0 means "none yet"; None means no expectation. A violated expectation appends nothing and raises
    `RevisionConflict`. `message_id` is JetStream's `Nats-Msg-Id`: a second append with an id seen within the
    stream's window appends nothing and answers the first one's sequence; if the subject has moved on since and
    `expected_last` no longer holds, it may raise `RevisionConflict` instead. Header names must not begin with `Nats-`.
    """

    subject: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    expected_last: int | None = None
    expected_subject: str | None = None
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Appended:
    sequence: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """The last message of each subject, as of `revision` (the stream sequence up to which this is complete)."""

    messages: tuple[Message, ...]
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AsOf:
    """The last message of each subject up to a sequence, as far as that is told without looking through the log."""

    messages: tuple[Message, ...] = ()
    nothing: frozenset[str] = frozenset()
    """Subjects of which there was none yet."""
    untold: frozenset[str] = frozenset()
    """Subjects of which it is not known."""


@dataclass(frozen=True, slots=True)
class LogInfo:
    """What a writer must know of the stream to tell that it is still the one it knew."""

    created_at: str
    first_sequence: int
    last_sequence: int
    messages: int
    bytes: int
    max_bytes: int
    max_age: float
    """Seconds; 0 means no limit."""
    partitions: int


class EventLog(Protocol):
    """One append-only stream with a total order (`TAPIO_LOG`)."""

    async def append(self, message: NewMessage) -> Appended:
        """Append one message durably. RevisionConflict, LogFull, LogUnavailable, MessageTooLarge."""
        ...

    async def append_batch(self, messages: Sequence[NewMessage]) -> Appended:
        """Append all of `messages` (1 to 1,000) atomically, in order; answers the last one's sequence.

        The messages then hold consecutive sequences, ending with it. `LogRefused` for what can't be one batch: a
        message id, or an expectation about a subject that an earlier message of the batch writes. Several may expect
        the same of one subject; `RevisionConflict` names the first expectation, whichever failed. `MessageTooLarge`
        names the first message that the server does not take; none of the others is appended then.
        """
        ...

    async def last(self, subject: str) -> Message | None:
        """The last message of exactly `subject`, from the stream's leader, or None when it never had one."""
        ...

    async def last_per_subject(self, *filters: str, at_least: int = 0) -> View:
        """The last message of every subject that matches any of `filters` (NATS wildcards), in sequence order.

        Complete as of the answered revision, which is at least `at_least` (the leader is asked when a replica lags).
        Cheap for up to 1,024 subjects; larger answers are read by a consumer.
        """
        ...

    def each_last(self, filter_subject: str, *, at_least: int = 0) -> AsyncIterator[Message]:
        """The same for one filter, one message after the other, for what is too much to be held at once.

        One pass over the log costs about as much for all of it as for a part. Where reading has to begin anew, subjects
        are told once more, or a newer message of them. Ends by itself.
        """
        ...

    def follow(
        self, filter_subject: str, *, from_sequence: int, seen: Message | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        """Every message matching `filter_subject` with a sequence >= `from_sequence`, in order, without gaps, for
        ever; survives reconnects. The iterator raises `LogRewound` or `LogMissing` when the log went backwards.

        `seen` is the newest message of what was read before: the log went backwards too when it is not there any more.
        """
        ...

    def read(self, filter_subject: str, *, from_sequence: int = 1, up_to: int) -> AsyncIterator[Message]:
        """Every message matching `filter_subject` from `from_sequence` up to and including `up_to`, in order; what the
        log has dropped meanwhile is left out. Ends by itself."""
        ...

    async def info(self) -> LogInfo: ...


class BrowsableLog(EventLog, Protocol):
    """The same for who looks things up in a long history; services do not."""

    async def earliest(self, filter_subject: str, *, from_sequence: int = 1, written_from: int = 0) -> Message | None:
        """The first message matching `filter_subject` from `from_sequence` on, or, if that is given, of those written
        at `written_from` (milliseconds) or later; None when there is none yet."""
        ...

    async def as_of(self, filter_subject: str, sequence: int, *, but: Set[str] = frozenset()) -> AsOf:
        """What stood last at `sequence` of every subject that matches, `but` of these; all that has a message now."""
        ...


class Membership(Protocol):
    """Which workers are alive. Names leave by themselves when they are not renewed within the time to live."""

    async def join(self, name: str) -> None:
        """Announce `name` and keep renewing it until `leave` or cancellation."""
        ...

    async def leave(self, name: str) -> None: ...

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[tuple[str, ...]]]:
        """The sorted names of all living members: at once, then after every change."""
        ...


class Lease(Protocol):
    """Leadership by a Kubernetes Lease. Not a fence: a former leader may act for a moment longer."""

    async def acquire(self) -> None:
        """Wait until this process leads."""
        ...

    async def lost(self) -> None:
        """Wait until this process no longer leads (or can't know)."""
        ...

    async def release(self) -> None: ...


# --- Kubernetes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KubeResponse:
    """An HTTP answer of an API server, whatever its status."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Kube(Protocol):
    """HTTP to one API server. Transport alone: `tapio_shared.kubernetes` knows what the answers mean."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float = 30.0,
    ) -> KubeResponse:
        """One request; `ApiUnavailable` when no answer came. An HTTP error status is an answer, not an error."""
        ...

    def watch(
        self, path: str, *, query: Mapping[str, str], silence: float = 70.0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The lines of a watch (`watch=1` is added). Entering raises `ApiRetryable`/`ApiTerminal`/`ResourceExpired`
        for a refused request; the iterator ends when the server closes, and raises `ApiUnavailable` when the
        connection breaks or is silent for `silence` seconds."""
        ...
