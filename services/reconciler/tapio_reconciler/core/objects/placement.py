"""On which nodes a node agent's pods are let, and what its template remembers of the fleet.

A change of a DaemonSet's pod template replaces every pod, so what follows from the fleet must hardly ever change:

* What a label of Kubernetes itself says (operating system, architecture, virtual nodes, tapio.io/btf) is excluded
  always, whether such nodes exist or not.
* A kernel is no label. Groups that can't be observed for it are excluded by a label that no eligible group has, such
  as the node pool's. What was learned so is kept when those nodes go (a pool scaled to zero comes back), and given up
  only when an eligible node has the label.
* Likewise SYS_RESOURCE and the paths of the platform: once needed, kept.

So a node that joins a kind of nodes that is known changes nothing, and another kind at most one template, once. What
was learned stands in an annotation of the template, and is read from the last recorded decision: an edit of the
DaemonSet teaches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from tapio_shared.api.labels import BTF, NODE_POOLS
from tapio_shared.api.names import API_GROUP
from tapio_shared.facts import NodeGroup
from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at

ARCHITECTURES: Final = ("amd64", "arm64")
VIRTUAL_LABELS: Final[Mapping[str, str]] = {
    "eks.amazonaws.com/compute-type": "fargate",
    "liqo.io/type": "virtual-node",
    "type": "virtual-kubelet",
}
MAX_REMEMBERED: Final = 64
"""Excluded values of one label; beyond, those of nodes that are gone are forgotten."""

_TELLING: Final = (
    *NODE_POOLS,
    "feature.node.kubernetes.io/kernel-version.full",
    "cloud.google.com/gke-os-distribution",
    "kubernetes.azure.com/os-sku",
)
"""Labels by which nodes are told apart, the best first."""
_LAST: Final = ("node.kubernetes.io/instance-type",)
_NEVER: Final = frozenset(
    {BTF, "kubernetes.io/os", "kubernetes.io/arch", "topology.kubernetes.io/zone", "topology.kubernetes.io/region"}
)
"""Said by other expressions already, or of a place: a zone says nothing of its nodes to come."""


class Learned(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a node agent's template was made for."""

    excluded: dict[str, list[str]] = {}
    """Label -> values of nodes that are left out, sorted."""
    memlock: bool = False
    """Whether a node accounts BPF memory by RLIMIT_MEMLOCK (Linux before 5.11), which SYS_RESOURCE raises."""
    platform: str = ""
    """Who runs the Kubernetes cluster; decides where CNI plug-ins are."""

    def text(self) -> str:
        """The annotation's value, empty when nothing was learned."""
        found = msgspec.json.encode(self, order="sorted").decode()
        return "" if found == "{}" else found


NOTHING_LEARNED: Final = Learned()


def opt_out(kind: str) -> str:
    """The node label that, when "false", keeps the node agent `kind` away: whoever sets it rolls nothing."""
    return f"{API_GROUP}/{kind}"


def learned_before(text: str) -> Learned:
    """What an annotation holds; nothing when it is none of ours."""
    try:
        return msgspec.json.decode(text, type=Learned)
    except msgspec.DecodeError:
        return NOTHING_LEARNED


def excluding_label(group: NodeGroup, eligible: Sequence[NodeGroup]) -> tuple[str, str] | None:
    """A label of `group` that no eligible group has with the same value; None when labels can't tell it apart."""
    others = sorted(group.labels.keys() - {*_TELLING, *_LAST} - _NEVER)
    for key in (*_TELLING, *others, *_LAST):
        if key in group.labels and not _has(eligible, key, group.labels[key]):
            return key, group.labels[key]
    return None


def excluded_labels(
    before: Learned, unfit: Sequence[NodeGroup], eligible: Sequence[NodeGroup]
) -> tuple[dict[str, list[str]], dict[int, tuple[str, str]]]:
    """What is excluded, and by which label each of `unfit` (by its index) is; an index that is absent can't be told."""
    kept = {
        (key, value)
        for key, values in before.excluded.items()
        for value in values
        if key not in _NEVER and not _has(eligible, key, value)
    }
    by_group: dict[int, tuple[str, str]] = {}
    for index, group in enumerate(unfit):
        known = next((pair for pair in sorted(kept) if group.labels.get(pair[0]) == pair[1]), None)
        found = known or excluding_label(group, eligible)
        if found is not None:
            kept.add(found)
            by_group[index] = found
    used = set(by_group.values())
    excluded: dict[str, list[str]] = {}
    for key, value in sorted(kept, key=lambda pair: (pair[0], pair not in used, pair[1])):
        values = excluded.setdefault(key, [])
        if (key, value) in used or len(values) < MAX_REMEMBERED:
            values.append(value)
    return {key: sorted(excluded[key]) for key in sorted(excluded)}, by_group


def node_affinity(kind: str, learned: Learned, given: JsonObject | None) -> JsonObject:
    """The affinity of a node agent: what the spec asks for (`given`), on nodes on which it can work."""
    expressions: list[JsonValue] = [
        {"key": "kubernetes.io/arch", "operator": "In", "values": [*ARCHITECTURES]},
        *(_not_in(key, [value]) for key, value in sorted(VIRTUAL_LABELS.items())),
    ]
    if kind == "ebpf":
        expressions.append(_not_in(BTF, ["false"]))
    expressions.append(_not_in(opt_out(kind), ["false"]))
    expressions += [_not_in(key, values) for key, values in learned.excluded.items()]
    affinity: JsonObject = dict(given or {})
    nodes = object_at(affinity, "nodeAffinity")
    terms = objects_at(nodes, "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    required: list[JsonValue] = [
        {**term, "matchExpressions": [*objects_at(term, "matchExpressions"), *expressions]} for term in terms or [{}]
    ]
    affinity["nodeAffinity"] = {
        **nodes,
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": required},
    }
    return affinity


def matches(group: NodeGroup, selector: Mapping[str, str], dropped: Sequence[str] | None) -> bool:
    """Whether nodes of `group` may have the labels of `selector`. What the fleet does not hold may be on any node."""
    return all(
        group.labels.get(key) == value or (key not in group.labels and is_unknown(key, dropped))
        for key, value in selector.items()
    )


def is_unknown(key: str, dropped: Sequence[str] | None) -> bool:
    """Whether the fleet does not tell which nodes have the label `key`."""
    return dropped is None or key in dropped or "*" in dropped


def _has(groups: Iterable[NodeGroup], key: str, value: str) -> bool:
    return any(group.labels.get(key) == value for group in groups)


def _not_in(key: str, values: Sequence[str]) -> JsonObject:
    return {"key": key, "operator": "NotIn", "values": [*values]}
