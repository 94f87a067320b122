"""Which labels of nodes are kept: those that tell kinds of nodes apart, never those that tell every node apart.

A fleet of 500 nodes has 500 host names, and may have 500 racks, instance ids and addresses; kept, they would make 500
groups of one node each. Labels by which placement goes (pools, roles, instance types) are kept as long as the groups
stay few; others while they have few values. What is dropped is named, since "no node has this label" and "nobody knows
who has it" are different answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from tapio_shared.api.labels import BTF, NODE_POOLS

MAX_GROUPS: Final = 128
"""Distinct sets of kept labels; more than a fleet has kinds of nodes, few enough to be read with every plan."""
MAX_VALUES: Final = 16
"""Values of a label that nothing is known about; with more it names nodes and not kinds of them."""
MAX_OTHERS: Final = 16
"""Labels that nothing is known about: those that part the fleet most evenly come first."""
MAX_DROPPED_NAMED: Final = 256
ANY: Final = "*"

_PLACEMENT: Final = frozenset(
    {
        BTF,
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "type",
        "liqo.io/type",
        "eks.amazonaws.com/compute-type",
        "cloud.google.com/gke-os-distribution",
        "kubernetes.azure.com/os-sku",
        "karpenter.k8s.aws/instance-family",
        "feature.node.kubernetes.io/kernel-version.full",
        "feature.node.kubernetes.io/kernel-version.major",
        "feature.node.kubernetes.io/kernel-version.minor",
        *NODE_POOLS,
    }
)
_PLACEMENT_PREFIXES: Final = ("tapio.io/", "node-role.kubernetes.io/")
_NOISE: Final = frozenset({"kubernetes.io/hostname"})
_NOISE_PREFIXES: Final = (
    "alpha.eksctl.io/",
    "beta.kubernetes.io/",
    "csi.volume.kubernetes.io/",
    "failure-domain.beta.kubernetes.io/",
    "feature.node.kubernetes.io/",
    "nvidia.com/",
    "topology.",
)
"""Said by other labels, or about the hardware: the 80 labels of a node's CPU select no pods."""


def without_distinguishing(nodes: Sequence[Mapping[str, str]]) -> tuple[list[dict[str, str]], list[str]]:
    """The kept labels of every node, in the same order, and the keys that were dropped, sorted (`*`: too many)."""
    values: dict[str, Counter[str]] = {}
    for labels in nodes:
        for key, value in labels.items():
            values.setdefault(key, Counter())[value] += 1
    others = sorted(
        (key for key, found in values.items() if not _is_placement(key) and _is_telling(key, len(found))),
        key=lambda one: (-_smallest_part(values[one], len(nodes)), one),
    )
    kept = {key for key in values if _is_placement(key)} | set(others[:MAX_OTHERS])
    for key in sorted(kept, key=lambda one: (_is_placement(one), -len(values[one]), one)):
        if len({_some(labels, kept) for labels in nodes}) <= MAX_GROUPS:
            break
        kept.discard(key)
    dropped = sorted(values.keys() - kept)
    if len(dropped) > MAX_DROPPED_NAMED:
        dropped = [ANY]
    return [dict(_some(labels, kept)) for labels in nodes], dropped


def _is_placement(key: str) -> bool:
    return key in _PLACEMENT or key.startswith(_PLACEMENT_PREFIXES)


def _is_telling(key: str, values: int) -> bool:
    return key not in _NOISE and not key.startswith(_NOISE_PREFIXES) and values <= MAX_VALUES


def _smallest_part(values: Counter[str], nodes: int) -> int:
    """How many nodes the rarest value has, or have no value; 0 when all nodes have the same one."""
    without = nodes - values.total()
    parts = [*values.values(), *([without] if without else [])]
    return min(parts) if len(parts) > 1 else 0


def _some(labels: Mapping[str, str], kept: set[str]) -> tuple[tuple[str, str], ...]:
    return tuple((key, labels[key]) for key in sorted(labels.keys() & kept))
