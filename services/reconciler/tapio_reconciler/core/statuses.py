"""The status of the three custom resources as documents; one function per situation."""

from __future__ import annotations

from collections.abc import Sequence

from tapio_reconciler.core.components import ComponentProgress
from tapio_reconciler.core.conditions import (
    Condition,
    all_ready,
    component_documents,
    condition_documents,
    overall,
    part_conditions,
    phase_of,
    ready_count,
)
from tapio_reconciler.core.model import Notice, Skipped
from tapio_reconciler.core.state import Seen
from tapio_reconciler.core.wanting import Wanted
from tapio_shared.api.names import NEO4J, collector_suffix
from tapio_shared.api.reasons import ComponentState, ConditionType, Reason
from tapio_shared.json import JsonObject, JsonValue, at, int_at, list_at, object_at, objects_at, str_at
from tapio_shared.keys import ObjectRef, OrderingKey

_KEPT = (
    "version",
    "readyComponents",
    "components",
    "skipped",
    "endpoints",
    "credentials",
    "store",
    "desired",
    "ready",
    "updated",
)
"""What a status keeps of itself while the operator does not look at the components."""


def cluster_status(
    cluster: Seen, wanted: Wanted, progress: Sequence[ComponentProgress], now: int, told: Sequence[Notice] = ()
) -> JsonObject:
    """Status of a TapioCluster that is being run; `told` is what there is to say beside what rendering says."""
    previous = object_at(cluster.document, "status")
    ready, reconciling, stalled = overall(progress)
    notices = [*wanted.rendered.notices, *told]
    stalled_notice = next((one for one in notices if _is_stalled_by(one)), None)
    if stalled_notice is not None and stalled is None:
        stalled = _stalled(stalled_notice.reason, stalled_notice.message)
        reconciling = None
        ready = Condition(
            type=ConditionType.READY, status="False", reason=stalled_notice.reason, message=stalled_notice.message
        )
    conditions = [
        ready,
        *([reconciling] if reconciling else []),
        *([stalled] if stalled else []),
        _degraded(progress, notices),
        *([_not_yet_supported(wanted.not_yet_supported)] if wanted.not_yet_supported else []),
        *part_conditions(progress),
    ]
    status = _status(cluster, conditions, previous, now)
    status["version"] = wanted.version
    status["readyComponents"] = ready_count(progress)
    status["components"] = component_documents(progress, previous, now=now)
    if wanted.rendered.skipped:
        status["skipped"] = [_skipped(one) for one in wanted.rendered.skipped]
    for name, values in (("endpoints", wanted.rendered.endpoints), ("credentials", wanted.rendered.credentials)):
        if values:
            status[name] = {key: values[key] for key in sorted(values)}
    return status


def stalled_status(seen: Seen, reason: str, message: str, now: int) -> JsonObject:
    """Status of a resource that nothing can be done for until somebody changes it; what runs goes on running."""
    return _keeping(
        seen,
        [
            Condition(type=ConditionType.READY, status="False", reason=reason, message=message),
            _stalled(reason, message),
        ],
        now,
    )


def paused_status(seen: Seen, now: int, lost: Sequence[str] | None = None) -> JsonObject:
    """Status of a paused resource: as ready as it was when the pause began, but for what is `lost` since.

    `lost` is None under rules by which nobody looks.
    """
    message = 'Nothing is written while the annotation tapio.io/paused is "true"; remove it to go on.'
    if str_at(seen.document, "metadata", "deletionTimestamp"):
        message = "The deletion waits: " + message
    unknown = Condition(type=ConditionType.READY, status="Unknown", reason=Reason.PAUSED_BY_ANNOTATION, message=message)
    was = _previous(seen, ConditionType.READY) or unknown
    return _keeping(
        seen,
        [
            was if lost is None else _ready_while_paused(seen, was, lost, unknown),
            Condition(type=ConditionType.PAUSED, status="True", reason=Reason.PAUSED_BY_ANNOTATION, message=message),
        ],
        now,
    )


def _ready_while_paused(seen: Seen, was: Condition, lost: Sequence[str], unknown: Condition) -> Condition:
    said_here = was.reason in {str(Reason.PAUSED_BY_ANNOTATION), str(Reason.RESYNCHRONISING)}
    if was.status != "True" and not said_here:
        return was
    if lost:
        reason = Reason.PAUSED_BY_ANNOTATION
        return Condition(type=ConditionType.READY, status="False", reason=reason, message=" ".join(lost))
    if was.status == "True":
        return was
    states = [str_at(one, "state") for one in objects_at(seen.document, "status", "components")]
    were_ready = bool(states) and set(states) == {str(ComponentState.READY)}
    return all_ready(len(states)) if were_ready else unknown


def resynchronising_status(seen: Seen, now: int) -> JsonObject:
    """Status while the log holds no complete observation: what was known stays, and is marked as unconfirmed."""
    message = (
        "The event log does not hold a complete observation of this Kubernetes cluster yet, so nothing is planned. "
        "This ends by itself when the watcher has listed everything."
    )
    return _keeping(
        seen,
        [
            Condition(type=ConditionType.READY, status="Unknown", reason=Reason.RESYNCHRONISING, message=message),
            Condition(type=ConditionType.RECONCILING, status="True", reason=Reason.RESYNCHRONISING, message=message),
        ],
        now,
    )


def deleting_status(seen: Seen, left: Sequence[ObjectRef], now: int, told: Sequence[Notice] = ()) -> JsonObject:
    """Status during teardown; `told` is what there is to say of why something is still there."""
    shown = ", ".join(str(ref) for ref in left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
    message = " ".join((f"{len(left)} objects are still there: {shown}.", *(one.message for one in told)))
    return _keeping(
        seen,
        [
            Condition(type=ConditionType.READY, status="False", reason=Reason.TERMINATING, message=message),
            Condition(type=ConditionType.RECONCILING, status="True", reason=Reason.TERMINATING, message=message),
        ],
        now,
        deleting=True,
    )


def without_cluster_status(seen: Seen, key: OrderingKey, now: int) -> JsonObject:
    """Status of a TapioCollector or TapioIntelligence whose TapioCluster does not exist."""
    return stalled_status(seen, Reason.CLUSTER_NOT_FOUND, cluster_not_found(key.namespace, key.name), now)


def cluster_not_found(namespace: str, name: str) -> str:
    """The sentence for a resource whose TapioCluster does not exist."""
    return f"There is no TapioCluster {name} in namespace {namespace}. Create it, or correct spec.clusterRef.name."


def collector_status(
    ref: ObjectRef,
    seen: Seen,
    progress: Sequence[ComponentProgress],
    refused: tuple[str, str] | None,
    skipped: Sequence[Skipped],
    now: int,
) -> JsonObject:
    """Status of a TapioCollector: of the component that it makes, or why it makes none."""
    name = collector_suffix(str_at(seen.document, "spec", "type"), ref.name)
    own = [one for one in progress if one.component.name == name]
    left_out = [one for one in skipped if one.collector == name]
    if refused is not None:
        status = stalled_status(seen, *refused, now)
        if refused[0] != str(Reason.OVERLAPS_WITH):
            return status  # What runs goes on running, and its numbers with it.
        status["components"] = []
    elif at(seen.document, "spec", "enabled") is False:
        off = Condition(
            type=ConditionType.READY,
            status="True",
            reason=Reason.ALL_READY,
            message="The collector is switched off (spec.enabled is false), so nothing of it runs.",
        )
        status = {**_status(seen, [off], object_at(seen.document, "status"), now), "components": []}
    elif left_out and not own:
        status = {**_nowhere(seen, left_out, now), "components": []}
    else:
        status = _part_status(seen, own, now, [_degraded(own, ())])
    if left_out:
        status["skipped"] = [_skipped(one) for one in left_out]
    for field, count in (
        ("desired", sum(one.desired for one in own)),
        ("ready", sum(one.ready for one in own)),
        ("updated", sum(one.updated for one in own)),
    ):
        status[field] = count
    return status


def _nowhere(seen: Seen, left_out: Sequence[Skipped], now: int) -> JsonObject:
    """Status of a collector that can't work anywhere here."""
    reason, message = left_out[0].reason, " ".join(one.message for one in left_out)
    ready = Condition(type=ConditionType.READY, status="False", reason=reason, message=message)
    return _status(seen, [ready, _stalled(reason, message)], object_at(seen.document, "status"), now)


def intelligence_status(
    seen: Seen,
    progress: Sequence[ComponentProgress],
    refused: tuple[str, str] | None,
    notices: Sequence[Notice],
    now: int,
) -> JsonObject:
    """Status of a TapioIntelligence, from graph store and correlation, and from `notices` of what can't be done."""
    if refused is not None:
        return stalled_status(seen, *refused, now)
    own = [one for one in progress if one.component.condition in {"GraphStoreReady", "CorrelationReady"}]
    blocked = next((one for one in notices if one.component == NEO4J and _is_stalled_by(one)), None)
    if blocked is not None:
        ready = Condition(type=ConditionType.READY, status="False", reason=blocked.reason, message=blocked.message)
        previous = object_at(seen.document, "status")
        status = _status(seen, [ready, _stalled(blocked.reason, blocked.message)], previous, now)
        status["components"] = component_documents(own, previous, now=now)
    elif progress and not own:
        off = Condition(
            type=ConditionType.READY,
            status="True",
            reason=Reason.ALL_READY,
            message="Everything of it is switched off (no graph store, no correlation), so nothing of it runs.",
        )
        status = {**_status(seen, [off], object_at(seen.document, "status"), now), "components": []}
    else:
        status = _part_status(seen, own, now)
    names = {one.component.name for one in own}
    status["store"] = "neo4j" if "neo4j" in names else "embedded" if own and blocked is None else "none"
    status["readyComponents"] = ready_count(own)
    return status


def _part_status(
    seen: Seen, progress: Sequence[ComponentProgress], now: int, more: Sequence[Condition] = ()
) -> JsonObject:
    previous = object_at(seen.document, "status")
    if progress:
        ready, reconciling, stalled = overall(progress)
    else:
        message = "The TapioCluster is not being run at the moment; see its conditions."
        ready = Condition(
            type=ConditionType.READY, status="False", reason=Reason.WAITING_FOR_DEPENDENCY, message=message
        )
        reconciling, stalled = None, None
    conditions = [ready, *([reconciling] if reconciling else []), *([stalled] if stalled else []), *more]
    status = _status(seen, conditions, previous, now)
    status["components"] = component_documents(progress, previous, now=now)
    return status


def _keeping(seen: Seen, conditions: Sequence[Condition], now: int, *, deleting: bool = False) -> JsonObject:
    """A status with new leading conditions, that keeps what it said of the components."""
    previous = object_at(seen.document, "status")
    status = _status(seen, conditions, previous, now, deleting=deleting)
    kept: JsonObject = {name: previous[name] for name in _KEPT if name in previous}
    return {**kept, **status}


def _status(
    seen: Seen, conditions: Sequence[Condition], previous: JsonObject, now: int, *, deleting: bool = False
) -> JsonObject:
    generation = int_at(seen.document, "metadata", "generation")
    return {
        "observedGeneration": generation,
        "phase": str(phase_of(conditions, deleting=deleting)),
        "conditions": condition_documents(conditions, previous, generation=generation, now=now),
    }


def _degraded(progress: Sequence[ComponentProgress], notices: Sequence[Notice]) -> Condition:
    """Whether less runs than was asked for. A collector that can't run here is none of that: status.skipped tells."""
    found = [(one.reason, one.message) for one in notices if one.condition == str(ConditionType.DEGRADED)]
    found += [(one.reason, one.message) for one in progress if one.degraded]
    if found:
        return Condition(
            type=ConditionType.DEGRADED,
            status="True",
            reason=found[0][0],
            message=" ".join(message for _, message in found),
        )
    return Condition(
        type=ConditionType.DEGRADED, status="False", reason=Reason.ALL_READY, message="Nothing is less than asked for."
    )


def _not_yet_supported(paths: Sequence[str]) -> Condition:
    return Condition(
        type=ConditionType.NOT_YET_SUPPORTED,
        status="True",
        reason=ConditionType.NOT_YET_SUPPORTED,
        message=not_yet_supported_message(paths),
    )


def not_yet_supported_message(paths: Sequence[str]) -> str:
    """The sentence for fields that are accepted and not acted on."""
    return f"Accepted, but without effect in this version: {', '.join(paths)}."


def _is_stalled_by(notice: Notice) -> bool:
    return notice.condition == str(ConditionType.STALLED)


def _stalled(reason: str, message: str) -> Condition:
    return Condition(type=ConditionType.STALLED, status="True", reason=reason, message=message)


def _previous(seen: Seen, kind: str) -> Condition | None:
    for one in list_at(seen.document, "status", "conditions"):
        if str_at(one, "type") == kind:
            return Condition(
                type=kind, status=str_at(one, "status"), reason=str_at(one, "reason"), message=str_at(one, "message")
            )
    return None


def _skipped(one: Skipped) -> JsonValue:
    document: JsonObject = {
        "collector": one.collector,
        "nodes": one.nodes,
        "reason": str(one.reason),
        "message": one.message,
    }
    if one.node_selector:
        document["nodeSelector"] = {name: one.node_selector[name] for name in sorted(one.node_selector)}
    return document
