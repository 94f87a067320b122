"""What JetStream's answers of failure mean, as this project's errors. Codes: nats-server, server/errors.json.

Only the numeric code is trusted; descriptions are for people, except where one code stands for several troubles.
"""

from __future__ import annotations

import msgspec
import nats.errors

from tapio_shared.errors import LogFull, LogMissing, LogRefused, LogUnavailable, TapioError

NO_STREAM = 10059
NO_MESSAGE = 10037
WRONG_LAST_SEQUENCE = 10071
SUBJECT_IN_PROCESS = 10164
ID_IN_PROCESS = 10158
BATCH_INCOMPLETE = 10176
TOO_MANY_BATCHES = 10210
STORE_FAILED = 10077
NO_SUITABLE_PEERS = 10005

NOTHING_APPENDED_RETRY = frozenset({SUBJECT_IN_PROCESS, ID_IN_PROCESS, BATCH_INCOMPLETE, TOO_MANY_BATCHES})
"""Refused because of something else that is under way this moment; nothing was stored, so asking again is safe.

A batch whose beginning was refused for want of room (50 open batches per stream) shows as incomplete at its commit.
"""
_NEVER = frozenset({10052, 10057, 10074, 10110})
"""A configuration that can't be, or can't follow on the present one; deleting or purging where the stream forbids it;
replicas without a cluster: told with code 500 all the same."""
_FULL = frozenset({10002, 10023, 10028, 10047, 10054, 10097, 10122})
"""Account, server, memory and storage limits; message and header size; the account's limit for one stream."""


class ApiFault(msgspec.Struct, frozen=True):
    """The `error` of an answer."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class ApiAnswer(msgspec.Struct, frozen=True):
    """What every answer of JetStream's API may carry."""

    error: ApiFault | None = None


class JetStreamError(LogRefused):
    """JetStream refused for a reason that has no error of its own; `err_code` tells which."""

    def __init__(self, fault: ApiFault) -> None:
        self.err_code, self.code = fault.err_code, fault.code
        super().__init__(f"JetStream refused: {fault.description} (error {fault.err_code}, code {fault.code}).")


def error_of_fault(fault: ApiFault) -> TapioError:
    """The error that `fault` means for whoever asked."""
    if fault.err_code in _FULL or (fault.err_code == STORE_FAILED and _is_limit(fault.description)):
        return LogFull(
            f"JetStream takes no more: {fault.description} (error {fault.err_code}). "
            "Raise the limit, free disk space or send less."
        )
    if fault.err_code == NO_STREAM:
        return LogMissing("The stream does not exist. Provision it; everything is then observed anew.")
    if fault.err_code in _NEVER:
        return JetStreamError(fault)
    if fault.err_code in NOTHING_APPENDED_RETRY | {NO_SUITABLE_PEERS} or fault.code in {408, 429} or fault.code >= 500:
        return LogUnavailable(f"JetStream can't do this at the moment: {fault.description} (error {fault.err_code}).")
    return JetStreamError(fault)


CLIENT_ERRORS = (nats.errors.Error, OSError, RuntimeError)
"""What a call of nats-py raises when there is no connection. RuntimeError is uvloop's, of a socket that was closed
between nats-py's look and its write."""


def error_of_client(error: Exception, what: str) -> TapioError:
    """The error that an exception of nats-py means; `what` says what was tried."""
    if isinstance(error, nats.errors.MaxPayloadError):
        return LogRefused(f"{what} is larger than the server's max_payload. Raise that limit or send less.")
    if isinstance(error, nats.errors.BadSubjectError | nats.errors.BadHeaderError):
        return LogRefused(f"{what} is malformed: {error}.")
    return LogUnavailable(f"NATS did not take {what}: {str(error) or type(error).__name__}.")


def _is_limit(description: str) -> bool:
    return any(word in description for word in ("maximum", "no space", "insufficient", "exceed"))
