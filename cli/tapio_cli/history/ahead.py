"""`tapioctl plan`: what applying some files would do to a TapioCluster, before anybody does it.

Both sides are judged and rendered by the planner's own functions, from what the operator had been told last; so the
difference is the user's alone. Nothing is written anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tapio_cli.history.fields import changed_fields
from tapio_reconciler.core.changes import NO_MEMORY, Memory
from tapio_reconciler.core.comparison import holds
from tapio_reconciler.core.members import members_of
from tapio_reconciler.core.model import Component
from tapio_reconciler.core.recreation import with_kept_sizes
from tapio_reconciler.core.released import released_before
from tapio_reconciler.core.rules import logic_of, rules_of
from tapio_reconciler.core.shared_facts import configuration_of
from tapio_reconciler.core.state import Entry, Seen, State
from tapio_reconciler.core.statuses import cluster_not_found
from tapio_reconciler.core.volumes import held_volumes
from tapio_reconciler.core.wanting import Refused, Wanted, ref_of, wanted
from tapio_shared.api.images import DEFAULT_TAPIO_VERSION
from tapio_shared.api.names import API_GROUP, CLUSTER_KIND, cluster_ref
from tapio_shared.api.normalise import pin_version
from tapio_shared.api.reasons import Reason
from tapio_shared.api.validation import one_answer, validate
from tapio_shared.errors import InvalidSettings
from tapio_shared.facts import ObjectObserved, OutcomeRecorded
from tapio_shared.json import JsonObject, JsonValue, int_at, object_at, str_at
from tapio_shared.keys import ObjectRef, OrderingKey, object_subject

WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
KEPT = frozenset({"Secret", "PersistentVolumeClaim"})


def key_of_document(document: JsonObject, target: str) -> OrderingKey:
    """The TapioCluster that a resource is, or belongs to. InvalidSettings for anything but our three kinds."""
    ref = ref_of(document)
    if ref.group != API_GROUP:
        raise InvalidSettings(f"{ref} is none of Tapio's own resources; only those can be planned.")
    name = ref.name if ref.kind == CLUSTER_KIND else str_at(document, "spec", "clusterRef", "name")
    return OrderingKey(target, ref.namespace, name)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One object that would change; `fields` say how, for one that exists."""

    object: str
    component: str
    wave: int
    """0 begins at once; a wave begins when the components of the one before that it depends on are ready."""
    action: str  # create | change | delete
    fields: list[str] = []


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """Pods that would be replaced, and because of what."""

    workload: str
    pods: int
    because: list[str]


class Ahead(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that would happen."""

    cluster: str
    changes: list[Change] = []
    restarts: list[Restart] = []
    refusals: list[str] = []
    notices: list[str] = []


def ahead(state: State, documents: Sequence[JsonObject], *, partitions: int, now: int) -> Ahead:
    """What the operator would do once `documents`, resources of the cluster of `state`, were applied.

    `partitions` are the log's; a state that nobody has told of yet is an empty one with its shared facts.
    """
    key = state.key
    problems = _problems(documents, state)
    if problems:
        return Ahead(cluster=str(key), refusals=problems)
    was, will = wanted_now(state, now), wanted_now(_applied(state, documents, partitions), now)
    if will is None:
        message = cluster_not_found(key.namespace, key.name)
        return Ahead(cluster=str(key), refusals=[f"{Reason.CLUSTER_NOT_FOUND}: {message}"])
    if isinstance(will, Refused):
        return Ahead(cluster=str(key), refusals=[f"{will.reason}: {will.message}"])
    refusals = [f"{ref}: {reason}: {message}" for ref, (reason, message) in sorted(will.refused_members.items())]
    known = was if isinstance(was, Wanted) else None
    changes, restarts = _differences(state, known, will)
    return Ahead(
        cluster=str(key),
        changes=changes,
        restarts=restarts,
        refusals=refusals,
        notices=[f"{one.reason}: {one.message}" for one in will.rendered.notices],
    )


def _applied(state: State, documents: Sequence[JsonObject], partitions: int) -> State:
    """`state` as it would be with `documents`, as the API server and the webhook would take them."""
    after = State(state.key, own=dict(state.own), shared=dict(state.shared), revision=state.revision)
    for number, document in enumerate(documents, start=1):
        ref = ref_of(document)
        before = state.seen().get(ref)
        former = None if before is None else before.document
        metadata: JsonObject = {
            **object_at(former, "metadata"),
            **object_at(document, "metadata"),
            "uid": str_at(former, "metadata", "uid") or f"new-{ref.name}",
        }
        merged: JsonObject = {**document, "metadata": metadata}
        if former is not None and "status" in former:
            merged["status"] = former["status"]
        if ref.kind == CLUSTER_KIND:
            merged = pin_version(merged, old=former, default_version=DEFAULT_TAPIO_VERSION)
        sequence = state.revision + number
        fact = ObjectObserved(uid=str_at(metadata, "uid"), resource_version="next", object=merged, observed_at=0)
        after.own[object_subject(state.key, ref, partitions)] = Entry(sequence, fact)
        after.revision = sequence
    return after


def _problems(documents: Sequence[JsonObject], state: State) -> list[str]:
    """What the webhook would say, with the objects that exist as the former ones."""
    found: list[str] = []
    trust = configuration_of(state).trust
    for document in documents:
        ref = ref_of(document)
        before = state.seen().get(ref)
        problems = validate(ref.kind, document, trust=trust, old=None if before is None else before.document)
        if problems:
            found.append(f"{ref}: {problems[0].reason}: {one_answer(problems)}")
    return found


def wanted_now(state: State, now: int) -> Wanted | Refused | None:
    """What the operator wants of the cluster of `state`; None when there is no such TapioCluster."""
    seen = state.seen()
    cluster = seen.get(cluster_ref(state.key.namespace, state.key.name))
    if cluster is None or cluster.document is None:
        return None
    outcome = state.find("outcome", OutcomeRecorded)
    memory = NO_MEMORY if outcome is None else Memory(*outcome)
    volumes = held_volumes(seen, state.key.namespace, memory, now)
    counts = rules_of(logic_of(state)).counts_released
    released = released_before(state, memory.outcome) if counts else None
    return wanted(state, cluster, members_of(seen), volumes, released)


def _differences(state: State, was: Wanted | None, will: Wanted) -> tuple[list[Change], list[Restart]]:
    seen = state.seen()
    before, after = _objects(was, seen), _objects(will, seen)
    waves = _waves(will.rendered.components)
    changes: list[Change] = []
    restarts: list[Restart] = []
    for ref in sorted({*before, *after}):
        old, new = before.get(ref), after.get(ref)
        live = seen.get(ref)
        if new is None:
            if old is not None and ref.kind not in KEPT and live is not None and live.document is not None:
                changes.append(Change(object=str(ref), component=old[0], wave=0, action="delete"))
            continue
        component, manifest = new
        wave = waves.get(component, 0)
        if live is None or live.document is None:
            changes.append(Change(object=str(ref), component=component, wave=wave, action="create"))
            continue
        if old is not None and old[1] != manifest:
            fields = [str(one) for one in changed_fields(old[1], manifest)]
            changes.append(Change(object=str(ref), component=component, wave=wave, action="change", fields=fields))
            if ref.kind in WORKLOADS:
                restarts += _restart(ref, old[1], manifest, live)
    order = {"delete": 2, "change": 1, "create": 0}
    return sorted(changes, key=lambda one: (one.wave, order[one.action], one.object)), restarts


def _restart(ref: ObjectRef, old: JsonObject, new: JsonObject, live: Seen) -> list[Restart]:
    """A workload whose pod template means something else, unless it waits for somebody to delete its pods."""
    template = object_at(new, "spec", "template")
    if str_at(new, "spec", "updateStrategy", "type") == "OnDelete":
        return []
    if holds(object_at(live.document, "spec", "template"), template) and not _removed(old, new):
        return []
    pods = int_at(live.document, "status", "desiredNumberScheduled") or int_at(live.document, "spec", "replicas")
    because = [
        str(one) for one in changed_fields(object_at(old, "spec", "template"), object_at(new, "spec", "template"))
    ]
    return [Restart(workload=str(ref), pods=pods, because=because)] if because else []


def _removed(old: JsonObject, new: JsonObject) -> bool:
    """Whether a field of the template that we had set is set no more."""
    before, after = (object_at(one, "spec", "template") for one in (old, new))
    return any(one.after is None or _loses(one.before, one.after) for one in changed_fields(before, after))


def _loses(before: JsonValue, after: JsonValue) -> bool:
    """Whether `after` has all but a field of `before`: a toleration of one key that becomes one of all keys."""
    if isinstance(before, dict) and isinstance(after, dict):
        return any(name not in after or _loses(value, after[name]) for name, value in before.items())
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return any(map(_loses, before, after))
    return False


def _objects(found: Wanted | None, seen: Mapping[ObjectRef, Seen]) -> Mapping[ObjectRef, tuple[str, JsonObject]]:
    if found is None:
        return {}
    objects = {
        one.ref: (component.name, with_kept_sizes(one, seen.get(one.ref)).manifest)
        for component in found.rendered.components
        for one in found.objects[component.name]
    }
    secrets = {
        ref_of(secret.manifest): (component.name, secret.manifest)
        for component in found.rendered.components
        for secret in component.secrets
    }
    return {**objects, **secrets}


def _waves(components: Sequence[Component]) -> dict[str, int]:
    """Component -> how many others must be ready one after the other before its workloads are written."""
    depth: dict[str, int] = {}
    for one in components:  # in the order of dependency
        depth[one.name] = max((depth[name] + 1 for name in one.depends_on if name in depth), default=0)
    return depth
