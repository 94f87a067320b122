"""The outcome of a decision, and what is carried on from one outcome to the next.

Retries back off per object: 1 s, doubled up to 5 minutes, with no randomness (a plan must be repeatable), yet not in
step with each other: each object's name adds up to a quarter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from tapio_reconciler.core.changes import CORRECTIONS_WITHIN, Memory, waits
from tapio_reconciler.core.released import released_after
from tapio_reconciler.core.rules import Rules, rules_of
from tapio_reconciler.core.state import Seen
from tapio_shared.facts import (
    AppliedWrite,
    DecisionRecorded,
    DeletedObject,
    DroppedFields,
    FailedWrite,
    ObjectResult,
    OutcomeRecorded,
)
from tapio_shared.keys import ObjectRef

FIRST_RETRY = 1_000
LAST_RETRY = 300_000
TERMINAL_RETRY = 30_000
"""A refusal that a person must mend (403, 422) is asked again this soon; rules.py says how far it backs off."""
_MISSING = 404
"""What a write needs is not there (a namespace), or not seen yet: the API server checks a binding against a view of the
roles that may lag behind a role just made. It is asked again as soon as after a conflict."""
_KEPT_CORRECTIONS = 8


def outcome_of(
    sequence: int,
    decision: DecisionRecorded,
    results: Sequence[ObjectResult],
    settled: dict[str, str | None],
    memory: Memory,
    seen_by_name: dict[str, Seen],
    *,
    corrected: Sequence[str],
    retry_after: dict[str, float],
    dropped: Mapping[str, DroppedFields | None],
    released: Mapping[str, str] | None = None,
    now: int,
) -> OutcomeRecorded:
    """The outcome of the decision at `sequence`.

    `settled` holds, for objects just written, the digest the server made of them when it differs from what was
    wanted, or None when it does not. `corrected` names the objects whose write undid somebody else's change.
    `retry_after` holds seconds that the API server asked us to wait. `dropped` holds, for statuses just written, what
    they came back without, or None when that is nothing. `released` is what had been let go of before; None
    under rules by which nothing of that is remembered.
    """
    before = memory.outcome
    wanted = set(decision.objects) | {"status", "finalizer"} | set(decision.resources)
    applied = {
        name: write if write.recorded else msgspec.structs.replace(write, recorded=memory.sequence)
        for name, write in before.applied.items()
        if name in wanted and memory.unobserved(name, seen_by_name.get(name)) is not None
    }
    tried, rules = {result.ref for result in results}, rules_of(decision.inputs.logic)
    failures = {
        name: failure
        for name, failure in before.failures.items()
        # A deletion that was due and not tried again has nothing left to delete.
        if name in wanted
        or (failure.action == "delete" and (name in tried or _is_put_off(failure, decision.inputs.now)))
    }
    deleted = _deletions(memory, seen_by_name) if rules.awaits_deletions else {}
    uids = {str(ObjectRef(one.group, one.kind, one.namespace, one.name)): one.uid for one in decision.delete}
    for result in results:
        name = result.ref
        if result.error:
            failures[name] = _failed(result, failures.get(name), retry_after.get(name, 0.0), rules, now)
            continue
        failures.pop(name, None)
        if result.action != "delete":
            applied[name] = _written(result, applied.get(name), rules, now)
            continue
        applied.pop(name, None)
        if rules.awaits_deletions:
            deleted[name] = _deleted(uids[name], deleted.get(name), rules, now)
    kept = {name: value for name, value in before.settled.items() if name in wanted and name not in settled}
    kept |= {name: value for name, value in settled.items() if value is not None}
    missing = {name: value for name, value in before.dropped.items() if name in wanted and name not in dropped}
    missing |= {name: value for name, value in dropped.items() if value is not None}
    return OutcomeRecorded(
        decision=sequence,
        cluster_uid=decision.cluster_uid,
        ended_at=now,
        results=list(results),
        applied=applied,
        settled=kept,
        failures=failures,
        corrections=_corrections(before.corrections, corrected, wanted, now),
        force_reconcile=decision.force_reconcile or before.force_reconcile,
        deleted=deleted,
        dropped=missing,
        released={} if released is None else released_after(released, decision, results),
    )


def _deletions(memory: Memory, seen_by_name: dict[str, Seen]) -> dict[str, DeletedObject]:
    """Deletions that went well before, and whose objects are still there as far as anybody told."""
    return {
        name: gone if gone.recorded else msgspec.structs.replace(gone, recorded=memory.sequence)
        for name, gone in memory.outcome.deleted.items()
        if memory.is_deleted(name, seen_by_name.get(name))
    }


def _written(result: ObjectResult, earlier: AppliedWrite | None, rules: Rules, now: int) -> AppliedWrite:
    # A status tells the instant of each condition, so that none is quite the one before.
    is_same = earlier is not None and (earlier.digest == result.digest or result.action == "status")
    return AppliedWrite(
        resource_version=result.resource_version,
        digest=result.digest,
        applied_at=now,
        repeats=_repeats(earlier, is_same, rules),
    )


def _deleted(uid: str, earlier: DeletedObject | None, rules: Rules, now: int) -> DeletedObject:
    is_same = earlier is not None and earlier.uid == uid
    return DeletedObject(uid=uid, deleted_at=now, repeats=_repeats(earlier, is_same, rules))


def _is_put_off(failure: FailedWrite, now: int) -> bool:
    return waits(failure.failed_at, failure.retry_at, now)


def _repeats(earlier: AppliedWrite | DeletedObject | None, is_same: bool, rules: Rules) -> int:
    """How often a write that has just been made had been made before and not been observed."""
    return earlier.repeats + 1 if earlier is not None and is_same and rules.backs_off_unobserved else 0


def _failed(
    result: ObjectResult, before: FailedWrite | None, retry_after: float, rules: Rules, now: int
) -> FailedWrite:
    # A status tells the instant of each condition, so that none is quite the one before.
    is_status = result.action == "status" and rules.backs_off_statuses
    is_same = before is not None and (is_status or before.digest == result.digest)
    attempt = before.attempt + 1 if before is not None and is_same else 1
    longest = LAST_RETRY if result.retryable else rules.longest_refusal_wait
    soon = result.retryable or result.code == _MISSING
    wait = retry_wait(result.ref, attempt, retryable=soon, longest=longest)
    wait = max(wait, int(retry_after * 1000))
    return FailedWrite(
        action=result.action,
        digest=result.digest,
        code=result.code,
        error_reason=result.error_reason,
        error=result.error,
        attempt=attempt,
        failed_at=now,
        retry_at=now + wait,
    )


def retry_wait(name: str, attempt: int, *, retryable: bool, longest: int = LAST_RETRY) -> int:
    """Milliseconds until the next try after `attempt` failures in a row; `longest` before the spread."""
    first = FIRST_RETRY if retryable else TERMINAL_RETRY
    wait = min(first << min(attempt - 1, 20), longest)
    spread = hashlib.blake2b(f"{name}/{attempt}".encode(), digest_size=2).digest()
    return wait + wait * int.from_bytes(spread, "big") // (4 * 65_536)


def _corrections(
    before: dict[str, list[int]], corrected: Sequence[str], wanted: set[str], now: int
) -> dict[str, list[int]]:
    kept = {
        name: [instant for instant in instants if now - CORRECTIONS_WITHIN < instant <= now]
        for name, instants in before.items()
        if name in wanted
    }
    for name in corrected:
        kept[name] = [*kept.get(name, []), now][-_KEPT_CORRECTIONS:]
    return {name: instants for name, instants in kept.items() if instants}
