"""Over how many hosts and zones replicas are spread, and how strictly.

A pod template must hardly ever change for what happens to nodes, since every change of it replaces all pods: only
nodes that come, go or are given away by a lasting taint count here, not those that are cordoned or not ready for a
while. A rule that the scheduler can't fulfil leaves a pod pending for ever, so where it would count nodes that take no
pod of ours (before Kubernetes 1.26) nothing is asked strictly.
"""

from __future__ import annotations

from dataclasses import dataclass

from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.placement import matches
from tapio_shared.api.component import Toleration
from tapio_shared.facts import NodeGroup
from tapio_shared.json import JsonObject

_KEEPS_AWAY = (":NoSchedule", ":NoExecute")
_TAINTS_COUNT_SINCE = (1, 26)
"""nodeTaintsPolicy is on by default; https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/"""


@dataclass(frozen=True, slots=True)
class Places:
    """Where pods of a cluster may go, whatever the nodes' state of the moment."""

    hosts: int
    zones: int
    other_nodes: bool
    """Whether there are nodes besides, which take none of them."""


def places(ctx: Context) -> Places | None:
    """The places of `ctx`'s fleet by its cluster-wide scheduling; None while the fleet is unknown."""
    if ctx.fleet is None:
        return None
    taking = [group for group in ctx.fleet.groups if _takes_pods(ctx, group)]
    return Places(
        hosts=sum(group.count for group in taking),
        zones=len({group.zone for group in taking if group.zone}),
        other_nodes=len(taking) < len(ctx.fleet.groups),
    )


def spread(ctx: Context, selector: JsonObject, replicas: int) -> list[JsonObject]:
    """Spread over hosts and zones: strictly where the fleet has enough of them, as well as it goes elsewhere."""
    if not ctx.effective.high_availability or replicas < 2:
        return []
    found = places(ctx)
    honours = ctx.served.is_at_least(*_TAINTS_COUNT_SINCE)
    can_be_strict = found is not None and (honours or not found.other_nodes)
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "DoNotSchedule" if can_be_strict and there >= replicas else "ScheduleAnyway",
            **({"nodeTaintsPolicy": "Honor"} if honours else {}),
            "labelSelector": {"matchLabels": selector},
        }
        for key, there in (
            ("kubernetes.io/hostname", 0 if found is None else found.hosts),
            ("topology.kubernetes.io/zone", 0 if found is None else found.zones),
        )
    ]


def _takes_pods(ctx: Context, group: NodeGroup) -> bool:
    scheduling, fleet = ctx.effective.spec.scheduling, ctx.fleet
    dropped = None if fleet is None else fleet.dropped_labels
    return (
        group.os == "linux"
        and not group.virtual
        and matches(group, scheduling.node_selector or {}, dropped)
        and all(any(_tolerates(one, taint) for one in scheduling.tolerations or ()) for taint in _lasting(group))
    )


def _lasting(group: NodeGroup) -> list[str]:
    """Taints that keep pods away; those of the node's own state are no part of a fleet."""
    return [taint for taint in group.taints if taint.endswith(_KEEPS_AWAY)]


def _tolerates(toleration: Toleration, taint: str) -> bool:
    """By https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/."""
    key, _, rest = taint.partition("=")
    value, _, effect = rest.rpartition(":")
    if toleration.effect and toleration.effect != effect:
        return False
    if toleration.operator == "Exists":
        return not toleration.key or toleration.key == key
    return toleration.key == key and (toleration.value or "") == value
