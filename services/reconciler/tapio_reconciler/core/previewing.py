"""What the planner would want of resources that no cluster holds: the same judgement and rendering, from documents.

For reading, comparing and scanning. Knows nothing of what exists, so it decides nothing: no writes, no status.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tapio_reconciler.core.members import members_of
from tapio_reconciler.core.model import MadeSecret, Served
from tapio_reconciler.core.state import Entry, Observed, Seen, State
from tapio_reconciler.core.statuses import cluster_not_found, not_yet_supported_message
from tapio_reconciler.core.wanting import Refused, Wanted, ref_of, wanted
from tapio_shared.api.names import CLUSTER_KIND
from tapio_shared.api.operator_config import OperatorConfig
from tapio_shared.api.reasons import Reason
from tapio_shared.api.validation import one_answer, validate
from tapio_shared.facts import ConfigurationObserved, DiscoveryObserved, FleetObserved
from tapio_shared.json import JsonObject, object_at, str_at
from tapio_shared.keys import ObjectRef, OrderingKey

UNKNOWN_UID = "00000000-0000-4000-8000-000000000000"
"""Stands for the UID of a TapioCluster that was never created."""

Refusal: TypeAlias = tuple[ObjectRef, str, str]
"""Resource, reason and sentence, for what the operator would say in the condition Stalled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What rendering depends on besides the resources. Without a fleet nothing is left out for the nodes' sake."""

    discovery: DiscoveryObserved
    config: OperatorConfig
    fleet: FleetObserved | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewedObject:
    """One object as it would be applied, without the annotations that tell of a decision; or made once, if a Secret."""

    component: str
    manifest: JsonObject
    generated: MadeSecret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would be made of one TapioCluster, and what is to be said about it."""

    cluster: ObjectRef
    objects: tuple[PreviewedObject, ...] = ()
    """In the order of their dependencies."""
    notices: tuple[tuple[str, str], ...] = ()
    """Reason and sentence, for what is rendered nevertheless: degraded, skipped, not yet supported."""
    refusals: tuple[Refusal, ...] = ()


def preview(resources: Sequence[JsonObject], surroundings: Surroundings) -> tuple[Preview, ...]:
    """Every TapioCluster among `resources`, with the TapioCollectors and TapioIntelligence that name it.

    `resources` are documents of our three kinds with namespaces, none twice. All of them are judged as the webhook
    does before anything is rendered. Members without a creationTimestamp count in the order of their names.
    """
    by_cluster: dict[ObjectRef, list[JsonObject]] = {}
    for document in resources:
        by_cluster.setdefault(_cluster_of(document), []).append(document)
    return tuple(_preview(cluster, by_cluster[cluster], surroundings) for cluster in sorted(by_cluster))


def _cluster_of(document: JsonObject) -> ObjectRef:
    ref = ref_of(document)
    name = ref.name if ref.kind == CLUSTER_KIND else str_at(document, "spec", "clusterRef", "name")
    return ObjectRef(ref.group, CLUSTER_KIND, ref.namespace, name)


def _preview(cluster: ObjectRef, documents: Sequence[JsonObject], given: Surroundings) -> Preview:
    seen = {ref: Seen(ref, 1, document, _uid(document), "1") for document in documents for ref in [ref_of(document)]}
    invalid = tuple(_invalid(ref, seen[ref].document, given.config) for ref in sorted(seen))
    found = tuple(one for one in invalid if one is not None)
    if found:
        return Preview(cluster=cluster, refusals=found)
    if cluster not in seen:
        message = cluster_not_found(cluster.namespace, cluster.name)
        return Preview(
            cluster=cluster, refusals=tuple((ref, str(Reason.CLUSTER_NOT_FOUND), message) for ref in sorted(seen))
        )
    answer = wanted(_state(cluster, given), seen[cluster], members_of(Observed(seen)))
    refusals = tuple((ref, *answer.refused_members[ref]) for ref in sorted(answer.refused_members))
    if isinstance(answer, Refused):
        return Preview(cluster=cluster, refusals=((cluster, answer.reason, answer.message), *refusals))
    return Preview(
        cluster=cluster,
        objects=_objects(answer, Served(tuple(given.discovery.resources), given.discovery.version)),
        notices=_notices(answer),
        refusals=refusals,
    )


def _invalid(ref: ObjectRef, document: JsonObject | None, config: OperatorConfig) -> Refusal | None:
    problems = validate(ref.kind, document, trust=config.trust)
    return (ref, str(problems[0].reason), one_answer(problems)) if problems else None


def _state(cluster: ObjectRef, given: Surroundings) -> State:
    """What the log would hold of the surroundings."""
    state = State(OrderingKey("local", cluster.namespace, cluster.name))
    config = ConfigurationObserved(configuration=given.config.document(), observed_at=0)
    state.shared = {"discovery": Entry(1, given.discovery), "config": Entry(1, config)}
    if given.fleet is not None:
        state.shared["fleet"] = Entry(1, given.fleet)
    return state


def _objects(answer: Wanted, served: Served) -> tuple[PreviewedObject, ...]:
    """What is wanted and served; the planner leaves the rest out in the same way."""
    found: list[PreviewedObject] = []
    for component in answer.rendered.components:
        found += [
            PreviewedObject(component=component.name, manifest=one.manifest, generated=one) for one in component.secrets
        ]
        found += [
            PreviewedObject(component=component.name, manifest=one.manifest)
            for one in answer.objects[component.name]
            if served.find(one.ref.group, one.ref.kind, one.version) is not None
        ]
    return tuple(found)


def _notices(answer: Wanted) -> tuple[tuple[str, str], ...]:
    found = [(str(one.reason), one.message) for one in answer.rendered.notices]
    found += [(str(one.reason), f"{one.collector} is skipped: {one.message}") for one in answer.rendered.skipped]
    if answer.not_yet_supported:
        found.append(("NotYetSupported", not_yet_supported_message(answer.not_yet_supported)))
    return tuple(found)


def _uid(document: JsonObject) -> str:
    return str_at(object_at(document, "metadata"), "uid") or UNKNOWN_UID
