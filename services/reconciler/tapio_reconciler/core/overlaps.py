"""Which TapioCollectors and which TapioIntelligence count, and why the others do not."""

from __future__ import annotations

from collections.abc import Sequence

from tapio_reconciler.core.members import Member
from tapio_shared.api.effective import NODE_COLLECTORS
from tapio_shared.api.names import COLLECTOR_KIND, INTELLIGENCE_KIND
from tapio_shared.api.normalise import normalise_spec
from tapio_shared.api.operator_config import OperatorConfig
from tapio_shared.api.profiles import DEFAULTS
from tapio_shared.api.reasons import Reason
from tapio_shared.api.validation import one_answer, validate_collector, validate_intelligence
from tapio_shared.facts import FleetObserved
from tapio_shared.json import JsonObject, at, object_at, str_at, strings_at
from tapio_shared.keys import ObjectRef

Refusals = dict[ObjectRef, tuple[str, str]]


def accepted_collectors(
    members: Sequence[Member], spec: JsonObject, config: OperatorConfig, fleet: FleetObserved | None
) -> tuple[dict[str, JsonObject], Refusals]:
    """The specs of the TapioCollectors that run, by name; the older of two that overlap wins."""
    accepted: dict[str, JsonObject] = {}
    refused: Refusals = {}
    taken: list[tuple[str, str, dict[str, str]]] = [
        (kind, f"spec.collectors.{kind} of the TapioCluster", strings_at(spec, "collectors", kind, "nodeSelector"))
        for kind in _inline(spec)
    ]
    for ref, seen in members:
        document = seen.document or {}
        problems = validate_collector(document, trust=config.trust)
        if problems:
            refused[ref] = (problems[0].reason, one_answer(problems))
            continue
        own = object_at({"spec": normalise_spec(COLLECTOR_KIND, object_at(document, "spec"))}, "spec")
        kind, selector = str_at(own, "type"), strings_at(own, "nodeSelector")
        other = next(
            (name for type_, name, nodes in taken if type_ == kind and _overlap(kind, nodes, selector, fleet)), None
        )
        if other is not None and at(own, "allowOverlap") is not True:
            refused[ref] = (
                Reason.OVERLAPS_WITH,
                f"A collector of type {kind} already runs on some of the same nodes: {other}. Choose other nodes with "
                "spec.nodeSelector, or set spec.allowOverlap to true.",
            )
            continue
        taken.append((kind, f"TapioCollector {ref.name}", selector))
        accepted[ref.name] = own
    return accepted, refused


def chosen_intelligence(
    members: Sequence[Member], spec: JsonObject, config: OperatorConfig
) -> tuple[JsonObject | None, Refusals]:
    """The spec of the oldest valid TapioIntelligence, while the TapioCluster has none of its own."""
    refused: Refusals = {}
    chosen: JsonObject | None = None
    chosen_name = ""
    for ref, seen in members:
        document = seen.document or {}
        problems = validate_intelligence(document, trust=config.trust)
        if problems:
            refused[ref] = (problems[0].reason, one_answer(problems))
        elif "intelligence" in spec:
            refused[ref] = (
                Reason.SUPERSEDED,
                f"TapioCluster {str_at(document, 'spec', 'clusterRef', 'name')} has spec.intelligence of its own. "
                "Remove that field to use this resource.",
            )
        elif chosen is not None:
            refused[ref] = (
                Reason.SUPERSEDED,
                f"The older TapioIntelligence {chosen_name} already configures this TapioCluster. Delete one of them.",
            )
        else:
            own = object_at({"spec": normalise_spec(INTELLIGENCE_KIND, object_at(document, "spec"))}, "spec")
            chosen = {name: value for name, value in own.items() if name != "clusterRef"}
            chosen_name = ref.name
    return chosen, refused


def _inline(spec: JsonObject) -> list[str]:
    """Types of the collectors that the TapioCluster itself runs."""
    block = at(spec, "collectors")
    profile = str_at(spec, "profile", default="production")
    everything = profile in DEFAULTS and DEFAULTS[profile].collectors_all
    if not isinstance(block, dict):
        return ["ebpf", "systemd", "cni", "kubernetes"] if everything else ["kubernetes"]
    kinds: list[str] = []
    for kind in ("ebpf", "systemd", "cni", "kubernetes", "etcd"):
        given = at(block, kind)
        on = isinstance(given, dict) and given.get("enabled") is not False
        off = isinstance(given, dict) and given.get("enabled") is False
        if on or (at(block, "all") is True and not off and kind != "etcd"):
            kinds.append(kind)
    return kinds


def _overlap(kind: str, one: dict[str, str], other: dict[str, str], fleet: FleetObserved | None) -> bool:
    """Whether two node selectors meet on a node; cluster collectors always do. Unknown nodes are taken to meet."""
    if kind not in NODE_COLLECTORS:
        return True
    if any(one[key] != other[key] for key in one.keys() & other.keys()):
        return False
    if fleet is None or not fleet.groups:
        return True
    both = one | other
    return any(all(group.labels.get(key) in {value, None} for key, value in both.items()) for group in fleet.groups)
