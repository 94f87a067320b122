"""The project's own error tree: an error is either worth a retry or it is not.

Adapters translate a library's errors into these (`raise RevisionConflict(...) from err`); nothing above an
adapter ever sees an error of nats-py or aiohttp. Every message says what happened, to what, and what to do next.
"""

from __future__ import annotations


class TapioError(Exception):
    """Root of everything this project raises on purpose."""


class RetryableError(TapioError):
    """The same work may succeed later; a retry is scheduled."""


class TerminalError(TapioError):
    """Retrying cannot help; it is recorded, shown in a condition and the work is put aside."""


# --- the log ---------------------------------------------------------------------------------------------------


class LogUnavailable(RetryableError):
    """NATS or JetStream did not answer in time; whether the append happened is unknown."""


class LogMissing(RetryableError):
    """The stream does not exist (any more): it must be provisioned again, and everything observed anew."""


class LogRewound(RetryableError):
    """The log is not the one that was followed: made anew, or shorter than what was seen. Begin again from nothing."""


class LogFull(RetryableError):
    """The stream refused a message because a limit (`max_bytes`, disk) is reached."""


class LogRefused(TerminalError):
    """NATS refused a request that no retry would change: not permitted, malformed, or not possible in this form."""


class MessageTooLarge(LogRefused):
    """One message is larger than the server takes (`max_payload`): it alone can't be appended, others can."""

    def __init__(self, subject: str, size: int, limit: int) -> None:
        self.subject, self.size, self.limit = subject, size, limit
        super().__init__(
            f"The message for {subject} has {size} bytes with its headers, and the NATS server takes {limit}. "
            "Raise max_payload of the operator's NATS servers, or make the object that it tells of smaller."
        )


class RevisionConflict(RetryableError):
    """The subject's last sequence is not the expected one (JetStream error 10071).

    `expected` is what the writer believed; `actual` is what the server said, None when it said nothing.
    """

    def __init__(self, subject: str, expected: int, actual: int | None = None) -> None:
        self.subject, self.expected, self.actual = subject, expected, actual
        found = "something else" if actual is None else str(actual)
        super().__init__(
            f"The last sequence of subject {subject} is {found}, not {expected} as expected: "
            "somebody else wrote first. Read the subject again and decide anew."
        )


class Fenced(TerminalError):
    """The writer's epoch is over: another worker owns the partition. Drop it; never write for it again."""

    def __init__(self, partition: int, epoch: int) -> None:
        self.partition, self.epoch = partition, epoch
        super().__init__(
            f"Partition {partition} is no longer owned under epoch {epoch}: another worker took it over. "
            "Nothing was recorded; the new owner plans its keys."
        )


class Undecodable(TerminalError):
    """A message of the log can't be read by this version (unknown tag, newer format, broken bytes)."""


class NewerFormat(Undecodable):
    """A record says that only a newer version may read it: a higher format, or a type that this version lacks."""


class PartitionCountMismatch(TerminalError):
    """The stream was made for another number of partitions than this process is configured for."""


# --- Kubernetes ------------------------------------------------------------------------------------------------


class ApiUnavailable(RetryableError):
    """The API server did not answer: connection refused, time-out, TLS failure, 5xx."""


class ApiError(TapioError):
    """The API server answered with a Status of failure.

    `code` is the HTTP status, `reason` Kubernetes' own (`NotFound`, `Conflict`, `Invalid`, ...).
    """

    def __init__(self, code: int, reason: str, message: str, *, retry_after: float | None = None) -> None:
        self.code, self.reason, self.message, self.retry_after = code, reason, message, retry_after
        super().__init__(f"{message} (HTTP {code}, {reason or 'no reason given'})")


class ApiRetryable(ApiError, RetryableError):
    """401, 409, 429 and 5xx: the same request, or one made from a fresher view, may succeed later.

    401 says nothing of the request: a token has ended before it was renewed, or who checks tokens is away.
    """


class ApiTerminal(ApiError, TerminalError):
    """400, 403, 404, 405, 413, 415, 422: the request itself must change, or a person must act."""


class ResourceExpired(RetryableError):
    """410: the watch's or list's resourceVersion is too old; list anew."""


# --- configuration ---------------------------------------------------------------------------------------------


class UnusableTarget(TerminalError):
    """The Secret of a target is missing, or its kubeconfig can't be used; names everything that is wrong."""


class TargetMissing(UnusableTarget):
    """There is no such target (any more)."""


class InvalidSettings(TerminalError):
    """An environment variable or the operator's ConfigMap holds something that is not allowed."""
