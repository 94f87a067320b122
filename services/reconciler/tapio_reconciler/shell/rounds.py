"""One round of one key: plan its state, record the decision, apply it, record the outcome. In this order, always."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import structlog
from opentelemetry import trace

from tapio_reconciler.core.completeness import incompleteness
from tapio_reconciler.core.planning import plan
from tapio_reconciler.core.rests_on import checksum_of
from tapio_reconciler.core.rules import logic_of
from tapio_reconciler.core.state import State
from tapio_reconciler.shell.following import Progress
from tapio_reconciler.shell.identity import Identity
from tapio_reconciler.shell.idle import Idle
from tapio_reconciler.shell.metrics import Metrics
from tapio_reconciler.shell.recording import Recorder
from tapio_reconciler.shell.states import States
from tapio_reconciler.shell.targets import Targets
from tapio_reconciler.shell.timers import Timers
from tapio_shared.codec import encode
from tapio_shared.errors import LogRewound, MessageTooLarge, RetryableError
from tapio_shared.facts import DecisionRecorded, Inputs, OutcomeRecorded
from tapio_shared.keys import OrderingKey, decision_subject, outcome_subject
from tapio_shared.ports import Clock
from tapio_shared.telemetry import extract_context, inject_context

log = structlog.get_logger(__name__)
tracer = trace.get_tracer(__name__)

TAKEOVER = "takeover"
"""The cause of the first plan of every key, in place of a message's subject."""
LOOK_FOR_RECORD_EVERY = 10.0
"""Seconds for which the log has told nothing of our own record, after which that is looked for; a few ms are usual."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a key is dirty: the newest message, and its headers, which carry the trace."""

    subject: str
    headers: Mapping[str, str]
    seen_at: float = 0.0


class Rounds:
    """Gives the keys of one partition their rounds."""

    def __init__(
        self,
        states: States,
        targets: Targets,
        timers: Timers,
        followed: Progress,
        idle: Idle,
        owned: Callable[[], Recorder],
        *,
        identity: Identity,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """`owned` answers who records for the partition, or raises `Fenced`."""
        self._states, self._targets, self._timers = states, targets, timers
        self._followed, self._idle, self._owned = followed, idle, owned
        self._identity, self._clock, self._metrics = identity, clock, metrics
        self.incomplete: set[OrderingKey] = set()
        """Keys whose facts the log may have dropped."""

    async def round(self, key: OrderingKey, cause: Cause, state: State) -> bool:
        """One round of `key`, which is at `state`. Answers whether to plan again at once."""
        try:
            return await self._carry_out(key, cause, state)
        except MessageTooLarge as err:
            if err.subject != decision_subject(key, self._identity.partitions):
                raise
            log.warning("decision too large", key=str(key), bytes=err.size, limit=err.limit)
            return await self._carry_out(key, cause, state, record_limit=err.limit)

    async def _carry_out(self, key: OrderingKey, cause: Cause, state: State, *, record_limit: int = 0) -> bool:
        """Plan `state`, and so on. With `record_limit`, the plan only says that the decision exceeds it."""
        recorder, known = self._owned(), self._states.known[key]
        with tracer.start_as_current_span("reconcile", context=extract_context(cause.headers)) as span:
            span.set_attribute("tapio.key", str(key))
            planned_at = self._clock.monotonic()
            planned = plan(state, self._inputs(recorder.token, state, record_limit))
            self._metrics.plan_seconds.observe(self._clock.monotonic() - planned_at)
            (self.incomplete.add if incompleteness(state, state.log_begins) else self.incomplete.discard)(key)
            self._timers.replace(key, planned.decision.timers)
            if not planned.has_effects and planned.decision.desired_digest == known.desired_digest:
                self._metrics.plans.labels("unchanged").inc()
                if key not in self.incomplete and not record_limit:  # what the log takes is not told by the log
                    self._idle.add(key)
                if cause.subject == TAKEOVER:
                    self._states.let_go(key)  # Nothing is to be done, nor expected: most keys are so, after a restart.
                return False
            self._metrics.plans.labels("decided").inc()
            decision = planned.record(cause.subject, checksum_of(state))
            if not planned.has_effects:
                await self._record_decision(key, decision)
                return False
            async with self._targets.applier(state) as applier:  # Opened first: what can't be done is not decided.
                self._rest_on(state)
                sequence, headers = await self._record_decision(key, decision)
                # A log that lost its end may have grown again to where it was; following it anew notices that first.
                await self._told_of(decision_subject(key, self._identity.partitions), sequence)
                span.set_attribute("tapio.decision", sequence)
                started = self._clock.monotonic()
                report = await applier.apply(key, sequence, planned, recorder.check)
            if cause.seen_at:
                self._metrics.latency.observe(self._clock.monotonic() - cause.seen_at)
            self._metrics.apply_seconds.observe(self._clock.monotonic() - started)
            await self._record_outcome(key, planned.outcome(sequence, report, now=self._clock.now()), headers)
            log.info(
                "plan applied",
                key=str(key),
                revision=planned.decision.revision,
                decision=sequence,
                applied=len(planned.decision.apply),
                deleted=len(planned.decision.delete),
                failed=sum(1 for result in report.results if result.error),
            )
        return True

    def _rest_on(self, state: State) -> None:
        """What was read of the log before it was followed is to be told just so before anything comes of it.

        RetryableError when following has passed it and told of none: it is read again.
        """
        if state.revision > self._followed.at:
            self._followed.expect(state.revision, checksum_of(state))
        elif state.revision > self._states.known[state.key].revision:
            self._states.let_go(state.key)
            raise RetryableError(f"What stood at {state.revision} was not told. It is read again.")

    async def _record_decision(self, key: OrderingKey, decision: DecisionRecorded) -> tuple[int, Mapping[str, str]]:
        """Append the decision; answers its sequence, and the headers that carry the trace."""
        headers, followed = inject_context({}), self._followed.at
        decided_at = self._clock.monotonic()
        subject = decision_subject(key, self._identity.partitions)
        sequence = await self._owned().record(subject, encode(decision), headers)
        self._metrics.record_seconds.observe(self._clock.monotonic() - decided_at)
        known = self._states.known[key]
        self._check_is_new(sequence, told=known.decision)
        newest = max(decision.revision, *decision.inputs.shared_revisions.values(), followed)
        if sequence <= newest:
            # Appended to a log that may have lost what this rests on: nobody could say why it was done.
            raise LogRewound(
                f"The log went backwards: a decision stands at {sequence}, and {newest} had been seen before. "
                "Nothing of it is applied; begin from nothing."
            )
        known.decision, known.desired_digest = sequence, decision.desired_digest
        return sequence, headers

    def _check_is_new(self, sequence: int, *, told: int) -> None:
        """LogRewound where our record stands at a `sequence` that was followed while it was on its way, and that told
        of another one; `told` is where the last such record of the key was told to stand."""
        if told != sequence <= self._followed.at:
            raise LogRewound(
                f"The log went backwards: a record stands at {sequence}, and {self._followed.at} had been seen before. "
                "Begin from nothing."
            )

    def _inputs(self, epoch: int, state: State, record_limit: int) -> Inputs:
        return Inputs(
            now=self._clock.now(),
            operator_version=self._identity.operator_version,
            logic=logic_of(state),
            partition_epoch=epoch,
            log_begins=state.log_begins,
            record_limit=record_limit,
        )

    async def _record_outcome(self, key: OrderingKey, outcome: OutcomeRecorded, headers: Mapping[str, str]) -> None:
        subject = outcome_subject(key, self._identity.partitions)
        sequence = await self._owned().record(subject, encode(outcome), headers)
        self._check_is_new(sequence, told=self._states.known[key].outcome)
        # Not folded here: what was told before it must be in the state too, or no replay comes to the same plan.
        await self._told_of(subject, sequence)

    async def _told_of(self, subject: str, sequence: int) -> None:
        """Wait until our record of `subject` at `sequence` has been followed, however late the log tells of it.

        LogRewound when it is not there any more. Where nothing else is told in the partition, nobody else notices.
        """
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_FOR_RECORD_EVERY):
                    return await self._followed.reached(sequence)
            last = await self._states.last(subject)
            if last is None or last.sequence < sequence:
                raise LogRewound(f"The log went backwards: it has lost a record at {sequence}. Begin from nothing.")
