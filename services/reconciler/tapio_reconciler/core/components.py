"""State of every component of a cluster, and whether the ones that wait for it may go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from tapio_reconciler.core.changes import Act, Change
from tapio_reconciler.core.model import Component
from tapio_reconciler.core.readiness import Progress, progress_of
from tapio_reconciler.core.state import Sight
from tapio_shared.api.labels import COMPONENT
from tapio_shared.api.reasons import ComponentState, Reason
from tapio_shared.facts import FailedWrite
from tapio_shared.json import JsonObject, objects_at, str_at, strings_at
from tapio_shared.keys import ObjectRef

SOMEBODY_ELSES = str(Reason.OBJECT_CONFLICT)
"""The reason of a refused creation after a look at what exists: no retry is needed to know that it is not ours."""
_STAYING = frozenset({"DaemonSet", "Deployment", "StatefulSet"})
"""Workloads that are there for good; a Job goes when it is done."""
_CHANGING = frozenset({Act.CREATE, Act.APPLY, Act.AWAIT})
_WORST_FIRST = (
    ComponentState.FAILED,
    ComponentState.WAITING,
    ComponentState.PROGRESSING,
    ComponentState.UNAVAILABLE,
    ComponentState.READY,
)


class ComponentProgress(msgspec.Struct, frozen=True, kw_only=True):
    """One component and how far it is. `degraded` is set when it is ready within what is tolerated only."""

    component: Component
    state: ComponentState
    reason: str = ""
    message: str = ""
    desired: int = 0
    ready: int = 0
    updated: int = 0
    degraded: bool = False
    stalled: bool = False
    """Whether a person must act before this can go on."""

    @property
    def is_ready(self) -> bool:
        return self.state is ComponentState.READY


def blockers(component: Component, done: Mapping[str, ComponentProgress]) -> list[ComponentProgress]:
    """What `component` waits for, in the order of its dependencies; components that don't exist block nothing."""
    found = [done[name] for name in component.depends_on if name in done]
    return [one for one in found if not one.is_ready]


def component_progress(
    component: Component,
    changes: Mapping[ObjectRef, Change],
    seen: Sight,
    waits_for: Sequence[ComponentProgress],
    held: Sequence[ObjectRef],
    missing: str = "",
) -> ComponentProgress:
    """State of `component`: refused writes first, then what is missing, what it waits for, then its workloads.

    `changes` holds what is to be done about each of its objects, `held` those whose change waits for a dependency;
    `missing` says what a person must supply.
    """
    failed = [(ref, change.failure) for ref, change in changes.items() if change.failure is not None]
    progress = [_workload_progress(component, ref, changes, seen) for ref in component.workloads]
    answer = partial(
        ComponentProgress,
        component=component,
        desired=sum(one.desired for one in progress),
        ready=sum(one.ready for one in progress),
        updated=sum(one.updated for one in progress),
    )
    if failed:
        ref, failure = failed[0]
        reason, stalled = failure_reason(failure)
        state = ComponentState.FAILED if stalled else ComponentState.PROGRESSING
        message = failure_message(str(ref), failure)
        return answer(state=state, reason=reason, message=message, stalled=stalled)
    lost = next((change for change in changes.values() if change.lost), None)
    if lost is not None:
        return answer(state=ComponentState.FAILED, reason=Reason.CREDENTIALS_INVALID, message=lost.reason, stalled=True)
    if missing:
        return answer(state=ComponentState.FAILED, reason=Reason.INVALID_REFERENCE, message=missing, stalled=True)
    if held and waits_for:
        names = ", ".join(one.component.name for one in waits_for)
        first = waits_for[0]
        message = f"{component.name} waits until {names} is ready ({first.message or first.state})."
        return answer(
            state=ComponentState.WAITING,
            reason=Reason.WAITING_FOR_DEPENDENCY,
            message=message,
        )
    pending = [one for one in changes.values() if one.act is not Act.NOTHING and not (one.repeated or one.unknown)]
    worst = min(progress, key=lambda one: _WORST_FIRST.index(one.state), default=None)
    if component.scaled_by and not pending and (worst is None or worst.is_ready):
        message = _scaled_by_another(component)
        return answer(state=ComponentState.READY, reason=Reason.SCALED_BY_ANOTHER, message=message)
    if worst is not None and not (worst.is_ready and pending):
        return answer(
            state=worst.state,
            reason=worst.reason,
            message=_with_hint(component, worst),
            degraded=any(one.within_tolerance for one in progress),
        )
    if pending and not all(_seen_present(ref, seen) for ref in changes):
        return answer(
            state=ComponentState.PROGRESSING,
            reason=Reason.APPLYING,
            message=pending[0].reason,
        )
    return answer(state=ComponentState.READY)


def _with_hint(component: Component, progress: Progress) -> str:
    """The message, and what a person should look for where pods are missing and nobody knows why."""
    if not component.mounts or progress.reason != str(Reason.ROLLING_OUT) or progress.ready >= progress.desired:
        return progress.message
    namespace, _, name = component.mounts.partition("/")
    return (
        f"{progress.message} Its pods wait for ConfigMap {component.mounts} (network.caConfigMap of the operator's "
        f"configuration) where it does not exist: kubectl get configmap -n {namespace} {name}"
    )


def _scaled_by_another(component: Component) -> str:
    return (
        f"The replicas of {component.name} are left to HorizontalPodAutoscaler {component.scaled_by}, which is not "
        "the operator's. Delete it to have the operator scale again."
    )


def _seen_present(ref: ObjectRef, seen: Sight) -> bool:
    one = seen.get(ref)
    return one is not None and one.document is not None


def _workload_progress(
    component: Component, ref: ObjectRef, changes: Mapping[ObjectRef, Change], seen: Sight
) -> Progress:
    one = seen.get(ref)
    document = None if one is None else one.document
    change = changes.get(ref)
    if document is None:
        if change is not None and change.unknown:
            return Progress(state=ComponentState.PROGRESSING, reason=Reason.APPLYING, message=change.reason)
        return Progress(
            state=ComponentState.PROGRESSING, reason=Reason.APPLYING, message=f"{ref} is being created.", desired=0
        )
    progress = _observed_progress(document, ref, seen)
    if progress.is_ready and change is not None and not change.repeated and change.act in _CHANGING:
        return Progress(
            state=ComponentState.PROGRESSING,
            reason=Reason.ROLLING_OUT,
            message=change.reason,
            desired=progress.desired,
            ready=progress.ready,
            updated=progress.updated,
        )
    return progress


def _observed_progress(document: JsonObject, ref: ObjectRef, seen: Sight) -> Progress:
    pods, refusal = _told_of_pods("Pods", ref, seen), _told_of_pods("Refusal", ref, seen)
    return progress_of(document, pods, _claims(ref, seen), refusal)


def lost_while_paused(status: JsonObject, seen: Sight) -> list[str]:
    """What has ceased to run of that which a `status` says was ready when the pause began, as sentences.

    Of a component that is looked at which the status refers to: its only workload, or the first of its members.
    """
    lost: list[str] = []
    for part in objects_at(status, "components"):
        kind, namespace, name = (str_at(part, "ref", field) for field in ("kind", "namespace", "name"))
        if str_at(part, "state") != str(ComponentState.READY) or kind not in _STAYING:
            continue
        ref = ObjectRef("apps", kind, namespace, name)
        live = seen.get(ref)
        if live is None or live.document is None:
            lost.append(f"{ref} does not exist, and is not made while the TapioCluster is paused.")
        elif not (progress := _observed_progress(live.document, ref, seen)).is_ready:
            lost.append(f"{str_at(part, 'name')}: {progress.message}")
    return lost


def _told_of_pods(what: str, workload: ObjectRef, seen: Sight) -> JsonObject | None:
    """What the watcher says of a workload's pods, under a kind of its own (tapio_watcher.pods and .refusals)."""
    found = seen.get(ObjectRef("tapio.io", what, workload.namespace, f"{workload.kind}-{workload.name}"))
    return None if found is None else found.document


def _claims(workload: ObjectRef, seen: Sight) -> tuple[JsonObject, ...]:
    """The observed PersistentVolumeClaims of a StatefulSet: they carry its labels and end in `-<name>-<ordinal>`."""
    if workload.kind != "StatefulSet":
        return ()
    found: list[JsonObject] = []
    for one in seen.of_kind("PersistentVolumeClaim"):
        if one.ref.namespace != workload.namespace or one.document is None:
            continue
        stem, _, ordinal = one.ref.name.rpartition("-")
        if (
            ordinal.isdigit()
            and stem.endswith(f"-{workload.name}")
            and COMPONENT in strings_at(one.document, "metadata", "labels")
        ):
            found.append(one.document)
    return tuple(found)


def failure_reason(failure: FailedWrite) -> tuple[Reason, bool]:
    """The reason that a refused write gives to a condition, and whether a person must act."""
    text = failure.error
    if failure.error_reason == SOMEBODY_ELSES:
        return Reason.OBJECT_CONFLICT, True
    if failure.error_reason == "AlreadyExists":  # Once: two creations at the same time. Twice: whoever made it stays.
        return (Reason.OBJECT_CONFLICT, True) if failure.attempt > 1 else (Reason.RETRY_SCHEDULED, False)
    if failure.code == 403 and "exceeded quota" in text:
        return Reason.QUOTA_EXCEEDED, True
    if failure.code == 403 and "violates PodSecurity" in text:
        return Reason.POD_SECURITY_REFUSED, True
    if failure.code == 403:
        return Reason.FORBIDDEN, True
    if failure.code == 404 and "namespaces" in text:
        return Reason.NAMESPACE_MISSING, True
    if failure.code == 422 and ("immutable" in text or "updates to statefulset spec" in text or "Forbidden" in text):
        return Reason.IMMUTABLE_FIELD, True
    if failure.code in {400, 422}:
        return Reason.INVALID_SPEC, True
    return Reason.RETRY_SCHEDULED, False


def failure_message(ref: str, failure: FailedWrite) -> str:
    """One sentence: what was refused, by what, and what happens next."""
    reason, _ = failure_reason(failure)
    if reason is Reason.OBJECT_CONFLICT:
        return (
            f"{ref} exists and is not managed by this TapioCluster. Delete or rename it, or hand it over with "
            f'the annotation tapio.io/adopt: "true" on it.'
        )
    if reason is Reason.NAMESPACE_MISSING and failure.error:
        return f"{ref} can't be written: {failure.error}. Create the namespace, or name another one in the spec."
    return f"The {failure.action} of {ref} failed: {failure.error}; it will be tried again."
