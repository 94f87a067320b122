"""`plan(state, inputs) -> Plan`: everything the operator decides, in one pure function.

The checks stand in the order in which they are asked: an incomplete view plans nothing, a deleted cluster is torn
down, a paused one is left alone, an invalid one says so, and only then are objects wanted, compared and written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tapio_reconciler.core.changes import NO_MEMORY, Change, Memory, is_controlled_by_cluster, is_managed
from tapio_reconciler.core.completeness import incompleteness
from tapio_reconciler.core.components import (
    ComponentProgress,
    blockers,
    component_progress,
    failure_message,
    failure_reason,
    lost_while_paused,
)
from tapio_reconciler.core.drafting import Draft
from tapio_reconciler.core.made_secrets import is_copy, is_observed
from tapio_reconciler.core.members import Members, members_of
from tapio_reconciler.core.model import Component, Notice, Served, Skipped, WantedObject
from tapio_reconciler.core.notices import event_of, events_between
from tapio_reconciler.core.parked import SHARED_FACTS, Parked, parked_of, unread_shared_facts
from tapio_reconciler.core.plans import Plan
from tapio_reconciler.core.recreation import goes_ahead, plan_volumes, remember_refusals, with_kept_sizes
from tapio_reconciler.core.references import missing_reference
from tapio_reconciler.core.released import released_before
from tapio_reconciler.core.resting import Rest, Watchful
from tapio_reconciler.core.rules import rules_of
from tapio_reconciler.core.scaling import with_least_replicas
from tapio_reconciler.core.shared_facts import served_by
from tapio_reconciler.core.state import Observed, Seen, State
from tapio_reconciler.core.statuses import (
    cluster_status,
    collector_status,
    deleting_status,
    intelligence_status,
    paused_status,
    resynchronising_status,
    stalled_status,
    without_cluster_status,
)
from tapio_reconciler.core.teardown import delete_left_behind, is_torn_down, tear_down, written_unseen
from tapio_reconciler.core.turns import turn_of
from tapio_reconciler.core.volumes import HeldVolumes, held_volumes
from tapio_reconciler.core.wanting import Refused, Wanted, ref_of, wanted
from tapio_shared.api.kinds import WORKLOADS
from tapio_shared.api.labels import COMPONENT, FORCE_RECONCILE, PAUSED, TEARDOWN_FINALIZER
from tapio_shared.api.names import COLLECTOR_KIND, INTELLIGENCE_KIND, cluster_ref
from tapio_shared.api.reasons import Reason
from tapio_shared.facts import DecisionRecorded, DiscoveryObserved, Inputs, OutcomeRecorded, TargetObserved
from tapio_shared.json import JsonObject, at, object_at, str_at, strings_at
from tapio_shared.keys import ObjectRef

_KEPT_KINDS = frozenset(
    {"PersistentVolumeClaim", "Secret", "TapioCluster", "TapioCollector", "TapioIntelligence", "Pods"}
)
"""Never pruned: data and credentials follow `deletionPolicy`, the custom resources belong to people."""
_TOO_LARGE = (
    "The decision that this spec asks for, which keeps the pod template of every workload, is larger than the {limit} "
    "bytes that the event log takes for one record, so nothing is done. Make env, args, podTemplate or "
    "inheritedMetadata smaller, or raise max_payload of the operator's NATS servers."
)


def plan(state: State, inputs: Inputs) -> Plan:
    """The plan for one key. Total: whatever the log holds, the answer is a plan, if need be one that only says why."""
    seen, steady = state.seen(), state.remembered.steady
    found = state.find("outcome", OutcomeRecorded)
    memory = NO_MEMORY if found is None else Memory(*found)
    cluster = seen.get(cluster_ref(state.key.namespace, state.key.name))
    draft = Draft(
        state=state,
        inputs=_with_revisions(inputs, state),
        seen=seen,
        observed=seen,
        memory=memory,
        cluster=cluster if cluster is not None and cluster.document is not None else None,
        released=_released(state, seen, memory) if rules_of(inputs.logic).counts_released else None,
    )
    resources = (seen.of_kind(COLLECTOR_KIND), seen.of_kind(INTELLIGENCE_KIND))
    _plan(draft, steady("members", resources, lambda: members_of(seen)))
    return draft.finish()


def _released(state: State, seen: Observed, memory: Memory) -> Mapping[str, str]:
    decided, workloads = state.find("decision", DecisionRecorded), seen.of_kind("StatefulSet")
    basis = (memory.outcome, *(decided or ()), workloads)
    return state.remembered.steady("released", basis, lambda: released_before(state, memory.outcome))


def _plan(draft: Draft, members: Members) -> None:
    unread = unread_shared_facts(draft.state)
    if unread:
        draft.waiting.extend(unread.values())
        if draft.cluster is not None and "target" not in unread:
            message = " ".join(unread.values())
            _write_status(draft, stalled_status(draft.cluster, Reason.MESSAGE_PARKED, message, draft.now))
        return
    target = draft.state.shared_fact("target", TargetObserved)
    if target is not None and target[1].state != "connected":
        return  # Nothing can be said there, and nothing done; its watcher says so in the log.
    incomplete = incompleteness(draft.state, draft.inputs.log_begins)
    discovery = draft.state.shared_fact("discovery", DiscoveryObserved)
    cluster = draft.cluster
    if incomplete or discovery is None:
        draft.waiting.append(incomplete)
        if cluster is not None:
            _write_status(draft, resynchronising_status(cluster, draft.now))
        return
    served = draft.state.remembered.again("served", discovery[1:], lambda: served_by(discovery[1]))
    parked = parked_of(draft.state)
    if cluster is None:
        if parked.blocker:
            _plan_with_unknown_cluster(draft, parked)
        else:
            _plan_without_cluster(draft, members, served)
        return
    if strings_at(cluster.document, "metadata", "annotations").get(PAUSED) == "true":
        looks = rules_of(draft.inputs.logic).looks_while_paused
        lost = lost_while_paused(object_at(cluster.document, "status"), draft.seen) if looks else None
        _write_status(draft, paused_status(cluster, draft.now, lost))
        return
    if str_at(cluster.document, "metadata", "deletionTimestamp"):
        _plan_teardown(draft, cluster, served, parked)
        return
    _plan_living(draft, cluster, members, served, parked)


def _plan_living(draft: Draft, cluster: Seen, members: Members, served: Served, parked: Parked) -> None:
    """The TapioCluster is there, and is to be acted on."""
    if parked.blocker:
        _write_status(draft, stalled_status(cluster, Reason.MESSAGE_PARKED, parked.blocker, draft.now))
        return
    if draft.inputs.record_limit:
        message = _TOO_LARGE.format(limit=draft.inputs.record_limit)
        _write_status(draft, stalled_status(cluster, Reason.INVALID_SPEC, message, draft.now))
        return
    volumes = _volumes(draft)
    counts_kept = rules_of(draft.inputs.logic).counts_kept
    result = wanted(draft.state, cluster, members, volumes, draft.released, counts_kept=counts_kept)
    if isinstance(result, Refused):
        _write_status(draft, stalled_status(cluster, result.reason, result.message, draft.now))
        _write_member_statuses(draft, members, (), result.refused_members)
        return
    if not _has_finalizer(cluster) and not _claim(draft, cluster):
        return
    draft.forced = _force_requested(draft, cluster)
    remember_refusals(draft)
    progress = _plan_components(draft, result, served, parked)
    _prune(draft, served, result.kept)
    if draft.released is not None:
        delete_left_behind(draft, served)
    _write_status(draft, cluster_status(cluster, result, progress, draft.now, parked.notices))
    rendered = result.rendered
    told = rendered.notices if counts_kept else ()
    _write_member_statuses(draft, members, progress, result.refused_members, rendered.skipped, told)


def _claim(draft: Draft, cluster: Seen) -> bool:
    """Have the finalizer set; answers whether the rest may be done. Not while that waits for its next try: nobody would
    take apart what is made now, if the TapioCluster went meanwhile."""
    failure = draft.set_finalizer("add")
    if failure is None or not rules_of(draft.inputs.logic).claims_first:
        return True
    if draft.memory.outcome.cluster_uid != cluster.uid:  # It failed with a former one of that name.
        draft.finalizer = "add"
        return True
    draft.waiting.append(
        f"Nothing is made before the finalizer of {cluster.name} is set, which failed; it is tried again."
    )
    reason, is_stalled = failure_reason(failure)
    if is_stalled:
        message = failure_message(cluster.name, failure)
        _write_status(draft, stalled_status(cluster, reason, message, draft.now))
    return False


def _volumes(draft: Draft) -> Mapping[str, HeldVolumes]:
    """What the volumes have. Only while something fails does that depend on when it is asked."""
    seen, failures = draft.observed, draft.memory.outcome.failures
    return draft.state.remembered.steady(
        "volumes",
        (seen.of_kind("StatefulSet"), seen.of_kind("PersistentVolumeClaim"), *((draft.inputs,) if failures else ())),
        lambda: held_volumes(seen, draft.state.key.namespace, draft.memory, draft.now),
    )


def _plan_components(draft: Draft, result: Wanted, served: Served, parked: Parked) -> list[ComponentProgress]:
    """Plan every component in order of dependency; answers how far each is."""
    done: dict[str, ComponentProgress] = {}
    rendered = result.rendered.components
    generated = draft.state.remembered.steady(
        "generated",
        (rendered,),
        lambda: frozenset(ref_of(one.manifest) for component in rendered for one in component.secrets),
    )
    is_calm = not draft.forced and not parked.objects
    for component in rendered:
        objects = result.objects[component.name]
        basis = (component, objects, served, generated)
        rest = draft.state.remembered.again(f"rest of {component.name}", basis, Rest)
        if is_calm and rest.progress is not None and rest.goes_on(draft):
            draft.note(rest.noted)
            done[component.name] = rest.progress
            continue
        waits_for, seen = blockers(component, done), Watchful(draft.seen)
        part = draft.part(seen)
        changes, held = _plan_objects(part, component, objects, served, parked, hold=bool(waits_for))
        if held and not waits_for:
            draft.waiting.append(f"{component.name} waits until its Secrets have been made and observed.")
        if held and waits_for:
            draft.waiting.append(
                f"{component.name} waits until {', '.join(one.component.name for one in waits_for)} is ready."
            )
        missing = missing_reference(component.name, objects, seen, generated)
        progress = done[component.name] = component_progress(component, changes, seen, waits_for, held, missing)
        draft.take(part)
        if is_calm and not held:
            rest.look(progress, part, seen, changes.values())
    for component in result.rendered.kept:
        for secret in component.secrets:
            ref = ref_of(secret.manifest)
            resource = served.find(ref.group, ref.kind)
            if resource is not None:
                draft.generate(ref, secret, resource, component.name)
    return list(done.values())


def _plan_objects(
    draft: Draft, component: Component, objects: Sequence[WantedObject], served: Served, parked: Parked, *, hold: bool
) -> tuple[dict[ObjectRef, Change], list[ObjectRef]]:
    """What is to be done about each object of a component, and which workloads are held back by a dependency."""
    changes: dict[ObjectRef, Change] = {}
    held: list[ObjectRef] = []
    revives = rules_of(draft.inputs.logic).revives_from_zero
    for secret in component.secrets:
        ref = ref_of(secret.manifest)
        resource = served.find(ref.group, ref.kind)
        if resource is not None:
            changes[ref] = draft.generate(ref, secret, resource, component.name)
            hold = hold or not is_observed(ref, draft.seen)
    for one in objects:
        ref = one.ref
        resource = served.find(ref.group, ref.kind, one.version)
        if resource is None:
            continue
        has_volumes = ref.kind == "StatefulSet"
        wanted_object = with_kept_sizes(one, draft.seen.get(ref)) if has_volumes else one
        if revives:
            wanted_object = with_least_replicas(wanted_object, component)
        change = draft.want(wanted_object)
        change = parked.change(ref) or change
        is_held = hold and not goes_ahead(ref, draft)
        if is_held and change.writes and not change.repeated and ref.kind in WORKLOADS:
            held.append(ref)
            continue
        if component.rolls_one_by_one and has_volumes:
            change = turn_of(wanted_object, change, changes, component, draft.seen)
        if has_volumes and not change.unknown:
            change = plan_volumes(draft, wanted_object, change, served, component.name)
        changes[ref] = change
        draft.write(wanted_object, change, resource, component.name)
    return changes, held


def _prune(draft: Draft, served: Served, kept: frozenset[str]) -> None:
    """Delete what the cluster no longer consists of: ours by label and by controller, seen, and not wanted.

    `kept` are components that are to go on as they are.
    """
    key = draft.state.key
    for ref, seen in draft.observed.items():
        if seen.document is None or seen.name in draft.objects:
            continue
        if ref.kind in _KEPT_KINDS and not is_copy(seen.document):
            continue
        if not is_managed(seen.document, cluster=key.name, namespace=key.namespace):
            continue
        if not is_controlled_by_cluster(seen.document, cluster=key.name, namespace=key.namespace):
            continue
        if strings_at(seen.document, "metadata", "labels").get(COMPONENT) in kept:
            continue
        resource = served.find(ref.group, ref.kind)
        if resource is not None:
            draft.remove(ref, seen, resource, f"{ref} is no longer part of TapioCluster {key.namespace}/{key.name}.")


def _plan_with_unknown_cluster(draft: Draft, parked: Parked) -> None:
    """The TapioCluster, or what belongs to it, can't be read: nothing is planned, and an Event says so once."""
    draft.waiting.append(parked.blocker)
    decided = draft.state.find("decision", DecisionRecorded)
    draft.former_uid = draft.memory.outcome.cluster_uid or ("" if decided is None else decided[1].cluster_uid)
    if parked.newest > max(draft.memory.sequence, 0 if decided is None else decided[0]):
        draft.events.append(event_of("Warning", Reason.MESSAGE_PARKED, parked.blocker))


def _plan_teardown(draft: Draft, cluster: Seen, served: Served, parked: Parked) -> None:
    left = [*tear_down(draft, cluster, served), *parked.objects]
    unseen = written_unseen(draft) if rules_of(draft.inputs.logic).awaits_before_the_end else []
    if is_torn_down([*left, *unseen]):
        if _has_finalizer(cluster):
            draft.set_finalizer("remove")
        return
    draft.waiting.extend(f"{ref} is being deleted." for ref in left)
    draft.waiting.extend(f"{ref} was written and has not been observed yet; it is deleted then." for ref in unseen)
    _write_status(draft, deleting_status(cluster, [*left, *unseen], draft.now, parked.notices))


def _plan_without_cluster(draft: Draft, members: Members, served: Served) -> None:
    """The TapioCluster does not exist. What it left behind goes only when the log holds its tombstone."""
    tombstone = draft.seen.get(cluster_ref(draft.state.key.namespace, draft.state.key.name))
    if tombstone is not None:
        tear_down(draft, None, served)
    for ref, seen in members.all():
        draft.set_resource_status(ref, seen, without_cluster_status(seen, draft.state.key, draft.now))


def _write_status(draft: Draft, status: JsonObject) -> None:
    draft.set_status(status)
    if draft.status is not None and draft.cluster is not None:
        draft.events.extend(events_between(object_at(draft.cluster.document, "status"), status))


def _write_member_statuses(
    draft: Draft,
    members: Members,
    progress: Sequence[ComponentProgress],
    refused: Mapping[ObjectRef, tuple[str, str]],
    skipped: Sequence[Skipped] = (),
    notices: Sequence[Notice] = (),
) -> None:
    for ref, seen in members.collectors:
        status = collector_status(ref, seen, progress, refused.get(ref), skipped, draft.now)
        draft.set_resource_status(ref, seen, status)
    for ref, seen in members.intelligences:
        status = intelligence_status(seen, progress, refused.get(ref), notices, draft.now)
        draft.set_resource_status(ref, seen, status)


def _force_requested(draft: Draft, cluster: Seen) -> str:
    asked = strings_at(cluster.document, "metadata", "annotations").get(FORCE_RECONCILE, "")
    return asked if asked != draft.memory.outcome.force_reconcile else ""


def _has_finalizer(cluster: Seen) -> bool:
    finalizers = at(cluster.document, "metadata", "finalizers")
    return isinstance(finalizers, list) and TEARDOWN_FINALIZER in finalizers


def _with_revisions(inputs: Inputs, state: State) -> Inputs:
    revisions = {name: entry.sequence for name, entry in state.shared.items() if name in SHARED_FACTS}
    return msgspec.structs.replace(inputs, shared_revisions=revisions)
