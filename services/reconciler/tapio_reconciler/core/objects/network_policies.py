"""Network policies: for our own pods alone, deny what is not a flow of Tapio's.

Every component says which connections its pods open; both ends of a policy follow from that one statement, so that no
flow is allowed by one side alone. A policy selects one component's pods, never by an empty selector: a neighbour in the
namespace is left alone. docs/network-flows.md draws all flows.
"""

from __future__ import annotations

from collections.abc import Sequence

from tapio_reconciler.core.model import Flow, PodGroup
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.flows import merged_flows
from tapio_shared.json import JsonObject, JsonValue

_DNS: JsonObject = {
    "ports": [{"port": port, "protocol": protocol} for port in (53, 5353) for protocol in ("UDP", "TCP")]
}
"""To anybody: resolvers are pods, link-local addresses of nodes or nodes themselves. OpenShift's listen on 5353."""


def build_network_policies(ctx: Context, pods: Sequence[Sequence[PodGroup]]) -> list[tuple[JsonObject, ...]]:
    """Of every component, whose pods are given, the policies of its own pods; none where they are switched off."""
    if not ctx.effective.spec.network_policy.enabled:
        return [() for _ in pods]
    groups = [(group, merged_flows(group.opens)) for own in pods for group in own]
    return [tuple(_policy(ctx, group, groups) for group in own) for own in pods]


def _policy(ctx: Context, group: PodGroup, groups: Sequence[tuple[PodGroup, Sequence[Flow]]]) -> JsonObject:
    extra = ctx.effective.spec.network_policy
    name = f"{group.component}-flows"
    metadata = (
        ctx.node_metadata(ctx.node_child(name), group.app, group.component)
        if group.node
        else ctx.metadata(ctx.child(name), group.app, group.component)
    )
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {
            "podSelector": {"matchLabels": ctx.selector(group.app, group.component, node=group.node)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [*_ingress(ctx, group, groups), *(dict(one) for one in extra.extra_ingress)],
            "egress": [_DNS, *_egress(ctx, group, groups), *(dict(one) for one in extra.extra_egress)],
        },
    }


def _ingress(ctx: Context, group: PodGroup, groups: Sequence[tuple[PodGroup, Sequence[Flow]]]) -> list[JsonObject]:
    """What others open towards `group`, with one rule for all that reach the same ports, and what anybody may reach."""
    callers: dict[tuple[int, ...], list[JsonValue]] = {}
    for other, opens in groups:
        for flow in opens:
            if flow.app == group.app:
                callers.setdefault(flow.ports, []).append(_peer(ctx, other, seen_from=group))
    rules: list[JsonObject] = [{"from": peers, "ports": _ports(ports)} for ports, peers in callers.items()]
    return [*rules, {"ports": _ports(group.admits)}] if group.admits else rules


def _egress(ctx: Context, group: PodGroup, groups: Sequence[tuple[PodGroup, Sequence[Flow]]]) -> list[JsonObject]:
    """What `group` opens. A flow to pods that this cluster does not have is none."""
    rules: list[JsonObject] = []
    for flow in merged_flows(group.opens):
        reached: list[JsonValue] = [_peer(ctx, other, seen_from=group) for other, _ in groups if other.app == flow.app]
        if reached:
            rules.append({"to": reached, "ports": _ports(flow.ports)})
        elif not flow.app:
            rules.append({"ports": _ports(flow.ports)})
    return rules


def _peer(ctx: Context, group: PodGroup, *, seen_from: PodGroup) -> JsonObject:
    peer: JsonObject = {"podSelector": {"matchLabels": ctx.selector(group.app, group.component, node=group.node)}}
    if group.node is seen_from.node:
        return peer
    namespace = ctx.node_namespace if group.node else ctx.namespace
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}, **peer}


def _ports(ports: Sequence[int]) -> list[JsonValue]:
    return [{"port": port, "protocol": "TCP"} for port in ports]
