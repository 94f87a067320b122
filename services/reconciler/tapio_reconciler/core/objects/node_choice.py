"""Which nodes of a fleet a pod may be put on, by everything that its spec says of nodes.

What the fleet does not tell (labels that differ from node to node) may be on any node, so no node is ruled out that may
take the pod. A node's name is never told, and yet something is known of it: no two nodes have the same.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.merging import merged_template
from tapio_reconciler.core.objects.placement import is_unknown
from tapio_shared.api.component import Component
from tapio_shared.facts import FleetObserved, NodeGroup
from tapio_shared.json import JsonObject, JsonValue, at, list_at, object_at, objects_at, str_at, strings_at

HOST: Final = "kubernetes.io/hostname"
ZONE: Final = "topology.kubernetes.io/zone"
REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_KEEPS_AWAY = (":NoSchedule", ":NoExecute")


@dataclass(frozen=True, slots=True)
class NodeChoice:
    """What a pod asks of nodes."""

    selector: Mapping[str, str]
    tolerations: Sequence[JsonObject]
    terms: Sequence[JsonObject] | None
    """Of its required node affinity, of which one is enough; None when it has none."""
    named: int | None
    """How many nodes it may be put on at most, since it names them; None when it names none."""

    def selects(self, group: NodeGroup, fleet: FleetObserved) -> bool:
        """Whether nodes of `group` may be such as it asks for, by their labels."""
        if not all(_may_have(group, fleet, key, "In", [value]) for key, value in self.selector.items()):
            return False
        return self.terms is None or any(_may_match(group, fleet, term) for term in self.terms)

    def tolerates(self, group: NodeGroup) -> bool:
        """Whether no taint of `group` keeps it away."""
        return all(any(_tolerates(one, taint) for one in self.tolerations) for taint in _lasting(group))


def node_choice(pod: JsonObject) -> NodeChoice:
    """What the spec of a pod asks of nodes."""
    selector = strings_at(pod, "nodeSelector")
    required = at(pod, "affinity", "nodeAffinity", REQUIRED)
    terms = objects_at(required, "nodeSelectorTerms") if required is not None else None
    named = [names for term in terms or () for names in [_named(term)] if names is not None]
    limits = [len(set[str]().union(*named))] if terms and len(named) == len(terms) else []
    if HOST in selector or str_at(pod, "nodeName"):
        limits.append(1)
    return NodeChoice(
        selector=selector,
        tolerations=objects_at(pod, "tolerations"),
        terms=terms,
        named=min(limits, default=None),
    )


def asked_of_nodes(ctx: Context, spec: Component) -> JsonObject:
    """What a component's spec says of nodes, or else `spec.scheduling` does, with its `podTemplate` over it: as fields
    of a pod."""
    scheduling = ctx.effective.spec.scheduling
    tolerations = spec.tolerations if spec.tolerations is not None else scheduling.tolerations
    affinity = spec.affinity if spec.affinity is not None else scheduling.affinity
    pod: JsonObject = {"nodeSelector": {**(spec.node_selector or scheduling.node_selector or {})}}
    if tolerations is not None:
        pod["tolerations"] = [one.document() for one in tolerations]
    if affinity is not None:
        pod["affinity"] = dict(affinity)
    if spec.pod_template is None:
        return pod
    return object_at(merged_template({"spec": pod}, dict(spec.pod_template)), "spec")


def can_hold_pods(group: NodeGroup) -> bool:
    """Whether nodes of `group` can run what is made for Linux machines."""
    return group.os == "linux" and not group.virtual


def label_of(group: NodeGroup, key: str) -> str | None:
    """The value of a label on all nodes of `group`; None when they have none, or not the same."""
    told = {ZONE: group.zone, "kubernetes.io/os": group.os, "kubernetes.io/arch": group.architecture}
    found = group.labels.get(key)
    return found if found is not None else told.get(key) or None


def _may_match(group: NodeGroup, fleet: FleetObserved, term: JsonObject) -> bool:
    """Whether nodes of `group` may match one term. An empty term matches none."""
    expressions = objects_at(term, "matchExpressions")
    if not expressions and not objects_at(term, "matchFields"):
        return False
    return all(
        _may_have(
            group,
            fleet,
            str_at(one, "key"),
            str_at(one, "operator"),
            [str(value) for value in list_at(one, "values")],
        )
        for one in expressions
    )


def _may_have(group: NodeGroup, fleet: FleetObserved, key: str, operator: str, values: Sequence[JsonValue]) -> bool:
    found = label_of(group, key)
    if found is None and (key == HOST or is_unknown(key, fleet.dropped_labels)):
        return True
    return meets(found, operator, values)


def meets(found: str | None, operator: str, values: Sequence[JsonValue]) -> bool:
    """Whether a label meets one requirement of a selector; `found` is its value, None where there is no such label.

    Selectors of nodes know all six operators, label selectors the first four.
    """
    match operator:
        case "In":
            return found in values
        case "NotIn":
            return found not in values
        case "Exists":
            return found is not None
        case "DoesNotExist":
            return found is None
        case _:
            return _compares(found, operator, values)


def _compares(found: str | None, operator: str, values: Sequence[JsonValue]) -> bool:
    """Gt and Lt, which read whole numbers alone."""
    try:
        there, bound = int(found or ""), int(str(values[0]))
    except (ValueError, IndexError):
        return False
    return there > bound if operator == "Gt" else there < bound


def _named(term: JsonObject) -> set[str] | None:
    """The nodes that a term names; None when it names none."""
    named = [
        {str(value) for value in list_at(one, "values")}
        for one in (
            *(one for one in objects_at(term, "matchExpressions") if one.get("key") == HOST),
            *objects_at(term, "matchFields"),
        )
        if one.get("operator") == "In"
    ]
    return min(named, key=len, default=None)


def _lasting(group: NodeGroup) -> list[str]:
    """Taints that keep pods away; those of the node's own state are no part of a fleet."""
    return [taint for taint in group.taints if taint.endswith(_KEEPS_AWAY)]


def _tolerates(toleration: JsonObject, taint: str) -> bool:
    """By https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/."""
    key, _, rest = taint.partition("=")
    value, _, effect = rest.rpartition(":")
    wanted, known = str_at(toleration, "effect"), str_at(toleration, "key")
    if wanted and wanted != effect:
        return False
    if str_at(toleration, "operator") == "Exists":
        return not known or known == key
    return known == key and str_at(toleration, "value") == value
