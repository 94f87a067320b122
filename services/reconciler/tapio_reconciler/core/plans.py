"""A finished plan, which only the shell carries out: what the log records of it, and the outcome it comes to."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import msgspec

from tapio_reconciler.core.changes import Memory
from tapio_reconciler.core.model import MadeSecret
from tapio_reconciler.core.outcomes import outcome_of
from tapio_reconciler.core.premises import Premise
from tapio_reconciler.core.state import Seen
from tapio_shared.codec import encode
from tapio_shared.facts import DecisionRecorded, DroppedFields, ObjectResult, OutcomeRecorded
from tapio_shared.json import JsonObject


@dataclass(slots=True)
class Report:
    """How applying went, as the shell saw it."""

    results: list[ObjectResult] = field(default_factory=list[ObjectResult])
    settled: dict[str, str | None] = field(default_factory=dict[str, "str | None"])
    dropped: dict[str, DroppedFields | None] = field(default_factory=dict[str, "DroppedFields | None"])
    retry_after: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A sealed plan. `manifests` and `generated` hold, by the ObjectRef's text, what `decision.apply` names."""

    decision: DecisionRecorded
    cluster: Seen | None
    manifests: Mapping[str, JsonObject]
    generated: Mapping[str, MadeSecret]
    corrected: tuple[str, ...]
    memory: Memory
    seen_by_name: Mapping[str, Seen]
    pod_templates: Mapping[str, JsonObject]
    premises: tuple[Premise, ...] = ()
    """What must still be so for anything to be deleted."""
    released: Mapping[str, str] | None = None
    """What had been let go of to be made anew, before this."""

    @property
    def has_effects(self) -> bool:
        """Whether anything is to be written to Kubernetes."""
        decision = self.decision
        return bool(
            decision.apply
            or decision.delete
            or decision.status is not None
            or decision.finalizer
            or decision.events
            or decision.resources
        )

    def record(self, cause: str, rests_on: int = 0) -> DecisionRecorded:
        """The decision as it is to be recorded: with the subject of the fact that caused it and the pod templates.

        `rests_on` is the checksum of what it was planned from (rests_on.py).
        """
        packed = zlib.compress(encode(dict(self.pod_templates)), 6) if self.pod_templates else b""
        return msgspec.structs.replace(self.decision, cause=cause, pod_templates=packed, rests_on=rests_on)

    def outcome(self, sequence: int, report: Report, *, now: int) -> OutcomeRecorded:
        """The outcome of this plan, recorded as the decision at `sequence`."""
        return outcome_of(
            sequence,
            self.decision,
            report.results,
            report.settled,
            self.memory,
            dict(self.seen_by_name),
            corrected=self.corrected,
            retry_after=report.retry_after,
            dropped=report.dropped,
            released=self.released,
            now=now,
        )


def pod_templates(decision: DecisionRecorded) -> JsonObject:
    """The pod templates that a decision kept: workload -> template."""
    return unpacked_templates(decision.pod_templates)


def unpacked_templates(packed: bytes) -> JsonObject:
    """The same, from what the record holds."""
    return cast("JsonObject", msgspec.json.decode(zlib.decompress(packed))) if packed else {}
