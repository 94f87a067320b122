"""Over how many hosts and zones replicas are spread, and how strictly.

A pod template must hardly ever change for what happens to nodes, since every change of it replaces all pods: only
nodes that come, go or are given away by a lasting taint count here, not those that are cordoned or not ready for a
while. A rule that the scheduler can't fulfil leaves a pod pending for ever, so where it would count nodes that take no
pod of ours (before Kubernetes 1.26) nothing is asked strictly.
"""

from __future__ import annotations

from dataclasses import dataclass

from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.node_choice import HOST, ZONE, asked_of_nodes, can_hold_pods, node_choice
from tapio_shared.api.component import Component
from tapio_shared.json import JsonObject

_TAINTS_COUNT_SINCE = (1, 26)
"""nodeTaintsPolicy is on by default; https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/"""


@dataclass(frozen=True, slots=True)
class Places:
    """Where pods of a component may go, whatever the nodes' state of the moment."""

    hosts: int
    zones: int
    other_nodes: bool
    """Whether there are nodes besides, which take none of them."""


def places(ctx: Context, spec: Component) -> Places | None:
    """The places of `ctx`'s fleet for the pods of `spec`; None while the fleet is unknown."""
    if ctx.fleet is None:
        return None
    choice = node_choice(asked_of_nodes(ctx, spec))
    taking = [
        group
        for group in ctx.fleet.groups
        if can_hold_pods(group) and choice.selects(group, ctx.fleet) and choice.tolerates(group)
    ]
    hosts, zones = sum(group.count for group in taking), len({group.zone for group in taking if group.zone})
    return Places(
        hosts=hosts if choice.named is None else min(hosts, choice.named),
        zones=zones if choice.named is None else min(zones, choice.named),
        other_nodes=len(taking) < len(ctx.fleet.groups),
    )


def spread(ctx: Context, spec: Component, selector: JsonObject, replicas: int, most: int = 0) -> list[JsonObject]:
    """Spread of the pods of `spec` over hosts and zones: strictly where the fleet has enough of them for it, as well as
    it goes elsewhere.

    `most` is what an autoscaler may make of them. Two on a node that is drained hold each other up where a node that
    is cordoned still counts: the first, which may start nowhere else, is what the budget waits for.
    """
    if not ctx.effective.high_availability or replicas < 2:
        return []
    found = places(ctx, spec)
    honours = ctx.served.is_at_least(*_TAINTS_COUNT_SINCE)
    can_be_strict = found is not None and (honours or not found.other_nodes)
    needed = replicas if honours else max(replicas, most)
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "DoNotSchedule" if can_be_strict and there >= needed else "ScheduleAnyway",
            **({"nodeTaintsPolicy": "Honor"} if honours else {}),
            "labelSelector": {"matchLabels": selector},
        }
        for key, there in (
            (HOST, 0 if found is None else found.hosts),
            (ZONE, 0 if found is None else found.zones),
        )
    ]
