"""Conditions and statuses as documents. What did not change keeps its time, so that planning again plans nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from tapio_reconciler.core.components import ComponentProgress
from tapio_shared.api.reasons import ConditionType, Phase, Reason
from tapio_shared.json import JsonObject, JsonValue, objects_at, str_at


def timestamp(milliseconds: int) -> str:
    """RFC 3339 in whole seconds, as Kubernetes writes it."""
    return _timestamp(milliseconds // 1000)


@lru_cache(maxsize=8)
def _timestamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    type: ConditionType | str
    status: str
    reason: str
    message: str


def condition_documents(
    wanted: Sequence[Condition], previous: JsonObject, *, generation: int, now: int
) -> list[JsonValue]:
    """`wanted` as a list of metav1.Condition; `lastTransitionTime` moves only when a condition's status does."""
    known = {str_at(one, "type"): one for one in objects_at(previous, "conditions")}
    documents: list[JsonValue] = []
    for one in wanted:
        before = known.get(str(one.type), {})
        unchanged = str_at(before, "status") == one.status and str_at(before, "lastTransitionTime") != ""
        documents.append(
            {
                "type": str(one.type),
                "status": one.status,
                "observedGeneration": generation,
                "lastTransitionTime": str_at(before, "lastTransitionTime") if unchanged else timestamp(now),
                "reason": str(one.reason),
                "message": one.message,
            }
        )
    return documents


def component_documents(progress: Sequence[ComponentProgress], previous: JsonObject, *, now: int) -> list[JsonValue]:
    """`status.components`; `since` moves only when a component's state does."""
    known = {str_at(one, "name"): one for one in objects_at(previous, "components")}
    documents: list[JsonValue] = []
    for one in progress:
        component = one.component
        before = known.get(component.name, {})
        unchanged = str_at(before, "state") == str(one.state) and str_at(before, "since") != ""
        document: JsonObject = {
            "name": component.name,
            "desired": one.desired,
            "ready": one.ready,
            "updated": one.updated,
            "state": str(one.state),
            "since": str_at(before, "since") if unchanged else timestamp(now),
        }
        if component.workloads:
            ref = component.workloads[0]
            document["ref"] = {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name}
        for field, text in (
            ("version", component.version),
            ("image", component.image),
            ("reason", str(one.reason)),
            ("message", one.message),
        ):
            if text:
                document[field] = text
        documents.append(document)
    return documents


def ready_count(progress: Sequence[ComponentProgress]) -> str:
    """`7/8`: how many components are ready, of how many."""
    return f"{sum(1 for one in progress if one.is_ready)}/{len(progress)}"


def part_conditions(progress: Sequence[ComponentProgress]) -> list[Condition]:
    """{Messaging,GraphStore,Correlation,Gateway,Collectors}Ready, for the parts that exist."""
    by_condition: dict[str, list[ComponentProgress]] = {}
    for one in progress:
        if one.component.condition:
            by_condition.setdefault(one.component.condition, []).append(one)
    conditions: list[Condition] = []
    for name, parts in by_condition.items():
        missing = [one for one in parts if not one.is_ready]
        if missing:
            conditions.append(
                Condition(
                    type=name, status="False", reason=missing[0].reason or Reason.ROLLING_OUT, message=_listing(missing)
                )
            )
        else:
            names = ", ".join(one.component.name for one in parts)
            conditions.append(Condition(type=name, status="True", reason=Reason.ALL_READY, message=f"Ready: {names}."))
    return conditions


def _listing(parts: Sequence[ComponentProgress]) -> str:
    return " ".join(one.message or f"{one.component.name} is {str(one.state).lower()}." for one in parts)


def all_ready(components: int) -> Condition:
    """Ready, of so many components."""
    message = f"All {components} components are ready."
    return Condition(type=ConditionType.READY, status="True", reason=Reason.ALL_READY, message=message)


def overall(progress: Sequence[ComponentProgress]) -> tuple[Condition, Condition | None, Condition | None]:
    """Ready, and Reconciling and Stalled where they apply, from the components alone."""
    missing = [one for one in progress if not one.is_ready]
    if not missing:
        return all_ready(len(progress)), None, None
    stuck = [one for one in missing if one.stalled]
    first = (stuck or _most_telling(missing))[0]
    count = f"{ready_count(progress)} components are ready. "
    ready = Condition(
        type=ConditionType.READY,
        status="False",
        reason=first.reason or Reason.ROLLING_OUT,
        message=count + _listing([first]),
    )
    if stuck:
        return (
            ready,
            None,
            Condition(type=ConditionType.STALLED, status="True", reason=first.reason, message=_listing(stuck)),
        )
    return (
        ready,
        Condition(
            type=ConditionType.RECONCILING,
            status="True",
            reason=first.reason or Reason.ROLLING_OUT,
            message=_listing(missing),
        ),
        None,
    )


def _most_telling(missing: Sequence[ComponentProgress]) -> list[ComponentProgress]:
    """Those that fail before those that roll out, before those that only wait for another."""
    rank = {"Failed": 0, "Progressing": 1, "Unavailable": 2, "Waiting": 3}
    return sorted(missing, key=lambda one: rank.get(str(one.state), 4))


def phase_of(conditions: Sequence[Condition], *, deleting: bool) -> Phase:
    """One word for the column."""
    true = {str(one.type) for one in conditions if one.status == "True"}
    if deleting:
        return Phase.DELETING
    if ConditionType.PAUSED in true:
        return Phase.PAUSED
    if ConditionType.STALLED in true:
        return Phase.STALLED
    if ConditionType.RECONCILING in true or ConditionType.READY not in true:
        return Phase.PROGRESSING
    return Phase.DEGRADED if ConditionType.DEGRADED in true else Phase.READY
