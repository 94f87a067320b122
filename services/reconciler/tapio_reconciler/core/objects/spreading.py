"""Over how many hosts and zones replicas are spread, and how strictly.

A pod template must hardly ever change for what happens to nodes, since every change of it replaces all pods: only
nodes that come, go or are given away by a lasting taint count here, not those that are cordoned or not ready for a
while. A rule that the scheduler can't fulfil leaves a pod pending for ever, so where it would count nodes that take no
pod of ours (before Kubernetes 1.26) nothing is asked strictly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.placement import matches
from tapio_shared.api.component import Component, Toleration
from tapio_shared.facts import NodeGroup
from tapio_shared.json import JsonObject

_KEEPS_AWAY = (":NoSchedule", ":NoExecute")
_HOST = "kubernetes.io/hostname"
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
    """The places of `ctx`'s fleet for the pods of `spec`, by its selector and tolerations or else those of
    `spec.scheduling`; None while the fleet is unknown. Affinity is not looked at: whoever gives one has no spread of
    ours."""
    if ctx.fleet is None:
        return None
    scheduling = ctx.effective.spec.scheduling
    selector = spec.node_selector or scheduling.node_selector or {}
    tolerations = spec.tolerations if spec.tolerations is not None else scheduling.tolerations or ()
    taking = [group for group in ctx.fleet.groups if _takes_pods(ctx, group, selector, tolerations)]
    hosts = sum(group.count for group in taking)
    return Places(
        hosts=min(hosts, 1) if _HOST in selector else hosts,  # Two nodes never have one name.
        zones=len({group.zone for group in taking if group.zone}),
        other_nodes=len(taking) < len(ctx.fleet.groups),
    )


def spread(ctx: Context, spec: Component, selector: JsonObject, replicas: int) -> list[JsonObject]:
    """Spread of the pods of `spec` over hosts and zones: strictly where the fleet has enough of them for it, as well as
    it goes elsewhere."""
    if not ctx.effective.high_availability or replicas < 2:
        return []
    found = places(ctx, spec)
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
            (_HOST, 0 if found is None else found.hosts),
            ("topology.kubernetes.io/zone", 0 if found is None else found.zones),
        )
    ]


def _takes_pods(ctx: Context, group: NodeGroup, selector: Mapping[str, str], tolerations: Sequence[Toleration]) -> bool:
    dropped = None if ctx.fleet is None else ctx.fleet.dropped_labels
    return (
        group.os == "linux"
        and not group.virtual
        and matches(group, selector, dropped)
        and all(any(_tolerates(one, taint) for one in tolerations) for taint in _lasting(group))
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
