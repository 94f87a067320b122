"""Network policies: for our own pods alone, deny what is not a flow of Tapio's.

They select by the cluster's labels, never by an empty selector, so that a neighbour in the namespace is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from tapio_reconciler.core.model import Component
from tapio_reconciler.core.objects import correlation, gateway, nats, neo4j
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.pod import HTTP_PORT, METRICS_PORT
from tapio_shared.api.labels import CLUSTER, CLUSTER_NAMESPACE, PART_OF, PART_OF_TAPIO
from tapio_shared.json import JsonObject

APP = "tapio-network"
COMPONENT = "network"
_DNS: JsonObject = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


def build_network_policies(ctx: Context, components: Sequence[Component]) -> list[JsonObject]:
    """The policies of the pods that `components` run in the cluster's own namespace."""
    if not ctx.effective.spec.network_policy.enabled:
        return []
    names = {component.name for component in components}
    policies: list[JsonObject] = []
    if "nats" in names:
        flows = _ingress(_of_cluster(ctx), nats.CLIENT) + _ingress(_pods(ctx, nats.APP), nats.ROUTES)
        policies.append(
            _policy(ctx, "nats", nats.APP, [*flows, *_scrape(nats.EXPORTER)], [_to(_pods(ctx, nats.APP), nats.ROUTES)])
        )
    if "neo4j" in names:
        peers = [*_pods(ctx, correlation.APP), *_pods(ctx, gateway.APP)]
        inner = (neo4j.TRANSACTIONS, neo4j.RAFT, neo4j.ROUTING, neo4j.BOLT, neo4j.BACKUP)
        ingress = [*_ingress(peers, neo4j.BOLT, neo4j.HTTP), *_ingress(_pods(ctx, neo4j.APP), *inner)]
        policies.append(
            _policy(ctx, "neo4j", neo4j.APP, [*ingress, *_scrape(neo4j.METRICS)], [_to(_pods(ctx, neo4j.APP), *inner)])
        )
    if names & {"correlation", "graph"}:
        egress = [_to(_pods(ctx, nats.APP), nats.CLIENT), _to(_pods(ctx, neo4j.APP), neo4j.BOLT)]
        ingress = [*_ingress(_pods(ctx, gateway.APP), HTTP_PORT), *_scrape(METRICS_PORT)]
        policies.append(_policy(ctx, "correlation", correlation.APP, ingress, egress))
    if "gateway" in names:
        egress = [
            _to(_pods(ctx, nats.APP), nats.CLIENT),
            _to(_pods(ctx, neo4j.APP), neo4j.BOLT),
            _to(_pods(ctx, correlation.APP), HTTP_PORT),
            _anywhere(443),
        ]
        policies.append(
            _policy(ctx, "gateway", gateway.APP, [_anywhere(gateway.PUBLIC), *_scrape(METRICS_PORT)], egress)
        )
    for kind, reached in (("kubernetes", _anywhere(443, 6443)), ("etcd", _anywhere(2379))):
        if any(one.name == kind or one.name.startswith(f"{kind}-") for one in components):
            flows = [_to(_pods(ctx, nats.APP), nats.CLIENT), reached]
            policies.append(_policy(ctx, kind, f"tapio-{kind}", [*_scrape(METRICS_PORT)], flows))
    return policies


def _policy(
    ctx: Context, suffix: str, app: str, ingress: Sequence[JsonObject], egress: Sequence[JsonObject]
) -> JsonObject:
    extra = ctx.effective.spec.network_policy
    external: list[JsonObject] = []
    if ctx.effective.uses_external_nats:
        external = [_anywhere(nats.CLIENT)]
    if ctx.effective.spec.monitoring.otlp_endpoint:
        external.append(_anywhere(4317, 4318))
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": ctx.metadata(ctx.child(f"{suffix}-flows"), APP, COMPONENT),
        "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": app, "app.kubernetes.io/instance": ctx.name}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [*ingress, *(dict(one) for one in extra.extra_ingress)],
            "egress": [_DNS, *egress, *external, *(dict(one) for one in extra.extra_egress)],
        },
    }


def _pods(ctx: Context, app: str) -> list[JsonObject]:
    labels: JsonObject = {"app.kubernetes.io/name": app, "app.kubernetes.io/instance": ctx.name}
    return [{"podSelector": {"matchLabels": labels}}]


def _of_cluster(ctx: Context) -> list[JsonObject]:
    """Every pod of this Tapio, in its own namespace and in the node agents'."""
    labels: JsonObject = {PART_OF: PART_OF_TAPIO, CLUSTER: ctx.name, CLUSTER_NAMESPACE: ctx.namespace}
    selector: JsonObject = {"podSelector": {"matchLabels": labels}}
    return [
        selector,
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ctx.node_namespace}}, **selector},
    ]


def _ingress(peers: Sequence[JsonObject], *ports: int) -> list[JsonObject]:
    return [{"from": [*peers], "ports": [_port(port) for port in ports]}]


def _to(peers: Sequence[JsonObject], *ports: int) -> JsonObject:
    return {"to": [*peers], "ports": [_port(port) for port in ports]}


def _scrape(port: int) -> list[JsonObject]:
    """Whoever scrapes: who that is can't be known here, and metrics hold nothing that others may not see."""
    return [_anywhere(port)]


def _anywhere(*ports: int) -> JsonObject:
    """A flow from or to anybody on these ports."""
    return {"ports": [_port(port) for port in ports]}


def _port(port: int) -> JsonObject:
    return {"port": port, "protocol": "TCP"}
