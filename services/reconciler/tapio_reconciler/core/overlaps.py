"""Which TapioCollectors and which TapioIntelligence count, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tapio_reconciler.core.kept import Running, known_spec
from tapio_reconciler.core.members import Member
from tapio_reconciler.core.objects.placement import matches
from tapio_shared.api.cluster import TapioClusterSpec
from tapio_shared.api.collectors import CollectorType, TapioCollectorSpec
from tapio_shared.api.effective import EffectiveCollector, inline_collectors, resource_collector
from tapio_shared.api.names import COLLECTOR_KIND, INTELLIGENCE_KIND, collector_suffix
from tapio_shared.api.normalise import normalise_spec
from tapio_shared.api.operator_config import OperatorConfig
from tapio_shared.api.reasons import Reason
from tapio_shared.api.rules import cluster_fit_problems
from tapio_shared.api.validation import one_answer, validate_collector, validate_intelligence
from tapio_shared.facts import FleetObserved
from tapio_shared.json import JsonObject, at, object_at, str_at
from tapio_shared.keys import ObjectRef

Refusals = dict[ObjectRef, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The TapioCollectors that run, and what became of the others."""

    specs: Mapping[str, JsonObject]
    """By name."""
    refused: Refusals
    kept: frozenset[str]
    """Components that go on as they are: their TapioCollectors are invalid, which deletes nothing that runs."""
    going_on: Mapping[str, JsonObject]
    """TapioCollector -> what is known of the spec by which one of `kept` runs."""


def accepted_collectors(
    members: Sequence[Member],
    spec: JsonObject,
    config: OperatorConfig,
    fleet: FleetObserved | None,
    running: Mapping[str, Running],
) -> Accepted:
    """Of two collectors that overlap the TapioCluster's own runs, else the older one. One that is switched off, or
    can't run for lack of access, is in nobody's way. `running` tells of those that have a workload."""
    accepted: dict[str, JsonObject] = {}
    refused: Refusals = {}
    kept: set[str] = set()
    going_on: dict[str, JsonObject] = {}
    taken = _inline(spec) if members else []
    for ref, seen in members:
        document = seen.document or {}
        problems = validate_collector(document, trust=config.trust)
        if problems:
            refused[ref] = (problems[0].reason, one_answer(problems))
            kept.add(collector_suffix(str_at(document, "spec", "type"), ref.name))
            if ref.name in running:
                going_on[ref.name] = known_spec(running[ref.name])
                as_it_was = resource_collector(ref.name, TapioCollectorSpec.from_document(going_on[ref.name]))
                taken += [] if as_it_was is None else [(f"TapioCollector {ref.name}", as_it_was)]
            continue
        own = object_at({"spec": normalise_spec(COLLECTOR_KIND, object_at(document, "spec"))}, "spec")
        accepted[ref.name] = own
        collector = resource_collector(ref.name, TapioCollectorSpec.from_document(own))
        if collector is None or not _has_access(collector):
            continue
        other = next((name for name, one in taken if _meet(one, collector, fleet)), None)
        if other is not None and at(own, "allowOverlap") is not True:
            refused[ref] = (
                Reason.OVERLAPS_WITH,
                _WHERE_THEY_MEET[collector.type].format(kind=collector.type, other=other),
            )
            del accepted[ref.name]
            continue
        taken.append((f"TapioCollector {ref.name}", collector))
    return Accepted(accepted, refused, frozenset(kept), going_on)


def chosen_intelligence(
    members: Sequence[Member], spec: JsonObject, config: OperatorConfig
) -> tuple[JsonObject | None, Refusals]:
    """The spec of the oldest TapioIntelligence, while the TapioCluster has none of its own.

    One that is invalid still counts: to run the next one's spec, or the defaults, instead would replace the graph store
    by another one because of a typing error. The caller finds it among the refused.
    """
    refused: Refusals = {}
    chosen: JsonObject | None = None
    chosen_name = ""
    for ref, seen in members:
        document = seen.document or {}
        problems = validate_intelligence(document, trust=config.trust)
        if problems:
            refused[ref] = (problems[0].reason, one_answer(problems))
            chosen_name = chosen_name or ref.name
        elif "intelligence" in spec:
            refused[ref] = (
                Reason.SUPERSEDED,
                f"TapioCluster {str_at(document, 'spec', 'clusterRef', 'name')} has spec.intelligence of its own. "
                "Remove that field to use this resource.",
            )
        elif chosen_name:
            refused[ref] = (
                Reason.SUPERSEDED,
                f"The older TapioIntelligence {chosen_name} already configures this TapioCluster. Delete one of them.",
            )
        else:
            own = object_at({"spec": normalise_spec(INTELLIGENCE_KIND, object_at(document, "spec"))}, "spec")
            chosen_name = ref.name
            unfit = tuple(cluster_fit_problems(own, spec))
            if unfit:
                refused[ref] = (unfit[0].reason, one_answer(unfit))
            else:
                chosen = {name: value for name, value in own.items() if name != "clusterRef"}
    return chosen, refused


def _inline(spec: JsonObject) -> list[tuple[str, EffectiveCollector]]:
    """The collectors that the TapioCluster itself runs."""
    found = inline_collectors(TapioClusterSpec.from_document(spec))
    return [(f"spec.collectors.{one.type} of the TapioCluster", one) for one in found if _has_access(one)]


def _has_access(collector: EffectiveCollector) -> bool:
    return collector.type != "etcd" or bool(collector.endpoints and collector.credentials)


_NODES = (
    "A collector of type {kind} already runs on some of the same nodes: {other}. Choose other nodes with "
    "spec.nodeSelector, or set spec.allowOverlap to true."
)
_WHERE_THEY_MEET: Mapping[CollectorType, str] = {
    "ebpf": _NODES,
    "systemd": _NODES,
    "cni": _NODES,
    "kubernetes": "A collector of type {kind} already observes some of the same namespaces: {other}. Choose other ones "
    "with spec.namespaces, or set spec.allowOverlap to true.",
    "etcd": "A collector of type {kind} already observes some of the same endpoints: {other}. Choose other ones with "
    "spec.endpoints, or set spec.allowOverlap to true.",
}


def _meet(one: EffectiveCollector, other: EffectiveCollector, fleet: FleetObserved | None) -> bool:
    """Whether two collectors would report something twice."""
    if one.type != other.type:
        return False
    if one.type == "kubernetes":
        return not one.namespaces or not other.namespaces or bool({*one.namespaces} & {*other.namespaces})
    if one.type == "etcd":
        return bool({*one.endpoints} & {*other.endpoints})
    return _meet_on_a_node(one.spec.node_selector or {}, other.spec.node_selector or {}, fleet)


def _meet_on_a_node(one: Mapping[str, str], other: Mapping[str, str], fleet: FleetObserved | None) -> bool:
    """Whether two node selectors meet, by Node facts. Unknown nodes are taken to meet."""
    if any(one[key] != other[key] for key in one.keys() & other.keys()):
        return False
    if fleet is None or not fleet.groups:
        return True
    both = {**one, **other}
    return any(matches(group, both, fleet.dropped_labels) for group in fleet.groups)
