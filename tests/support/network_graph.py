"""The flow graph that rendered NetworkPolicies allow, by the rules of networking.k8s.io/v1 and by nothing else.

It shares no code with the builders. Peers without a selector are `ANYBODY`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tapio_shared.json import JsonObject, JsonValue, at, list_at, object_at, objects_at, str_at, strings_at

ANYBODY = "anybody"
NAMESPACE_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True, slots=True)
class PodKind:
    """Pods that one workload makes."""

    name: str
    """Label app.kubernetes.io/component."""
    namespace: str
    labels: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """Connections from pods (or anybody) to pods (or anybody) on one port, such as 4222/TCP."""

    source: str
    target: str
    port: str


@dataclass(frozen=True, slots=True)
class _Rule:
    """One rule of one policy: `peers` is None for anybody."""

    peers: tuple[JsonObject, ...] | None
    ports: frozenset[str]


def pod_kinds(objects: Iterable[JsonObject]) -> list[PodKind]:
    """The pods that workloads, Jobs and CronJobs among `objects` make."""
    found: list[PodKind] = []
    for one in objects:
        path = {"CronJob": ("spec", "jobTemplate", "spec", "template")}.get(str_at(one, "kind"), ("spec", "template"))
        if object_at(one, *path, "spec"):
            labels = strings_at(one, *path, "metadata", "labels")
            name = labels["app.kubernetes.io/component"]
            found.append(PodKind(name, str_at(one, "metadata", "namespace"), frozenset(labels.items())))
    return sorted(set(found), key=lambda pod: (pod.namespace, pod.name, sorted(pod.labels)))


def selecting(policies: Sequence[JsonObject], pod: PodKind) -> list[JsonObject]:
    """The policies to which a pod is subject."""
    return [
        one
        for one in policies
        if str_at(one, "metadata", "namespace") == pod.namespace
        and _selects(object_at(one, "spec", "podSelector"), dict(pod.labels))
    ]


def allowed(objects: Sequence[JsonObject]) -> tuple[set[Edge], set[str]]:
    """What the policies among `objects` allow, and every flow between pods that one of its ends alone allows."""
    policies = [one for one in objects if str_at(one, "kind") == "NetworkPolicy"]
    pods = pod_kinds(objects)
    egress = {pod: _rules(selecting(policies, pod), "egress", "to") for pod in pods}
    ingress = {pod: _rules(selecting(policies, pod), "ingress", "from") for pod in pods}
    edges: set[Edge] = set()
    one_sided: set[str] = set()
    for pod in pods:
        edges |= {Edge(pod.name, ANYBODY, port) for rule in egress[pod] if rule.peers is None for port in rule.ports}
        edges |= {Edge(ANYBODY, pod.name, port) for rule in ingress[pod] if rule.peers is None for port in rule.ports}
    for source in pods:
        for target in pods:
            opened, meant = _ports_towards(egress[source], source, target)
            admitted, expected = _ports_towards(ingress[target], target, source)
            edges |= {Edge(source.name, target.name, port) for port in (meant | expected) & opened & admitted}
            one_sided |= {f"only {source.name} allows {target.name} on {port}" for port in meant - admitted}
            one_sided |= {f"only {target.name} admits {source.name} on {port}" for port in expected - opened}
    for pod in pods:
        for rules, side in ((egress[pod], "to"), (ingress[pod], "from")):
            one_sided |= {
                f"{pod.name} names a peer that selects no pod: {peer}"
                for rule in rules
                for peer in rule.peers or ()
                if not any(_matches(peer, pod.namespace, other) for other in pods)
            } | ({f"{pod.name} has a rule without ports ({side})"} if any(not rule.ports for rule in rules) else set())
    return edges, one_sided


def _rules(policies: Sequence[JsonObject], direction: str, peers: str) -> list[_Rule]:
    found: list[_Rule] = []
    for policy in policies:
        for rule in objects_at(policy, "spec", direction):
            ports = frozenset(_port(port) for port in objects_at(rule, "ports"))
            named = tuple(objects_at(rule, peers))
            found.append(_Rule(named or None, ports))
    return found


def _port(port: JsonObject) -> str:
    return f"{at(port, 'port')}/{str_at(port, 'protocol', default='TCP')}"


def _ports_towards(rules: Sequence[_Rule], owner: PodKind, other: PodKind) -> tuple[frozenset[str], frozenset[str]]:
    """The ports that `rules` of `owner` allow with `other`, and those for which they name it."""
    every: set[str] = set()
    named: set[str] = set()
    for rule in rules:
        if rule.peers is None:
            every |= rule.ports
        elif any(_matches(peer, owner.namespace, other) for peer in rule.peers):
            every |= rule.ports
            named |= rule.ports
    return frozenset(every), frozenset(named)


def _matches(peer: JsonObject, namespace: str, pod: PodKind) -> bool:
    """Whether a NetworkPolicyPeer of a policy in `namespace` selects `pod`; our namespaces have only their name."""
    if "ipBlock" in peer:
        return False
    if "namespaceSelector" in peer:
        if not _selects(object_at(peer, "namespaceSelector"), {NAMESPACE_LABEL: pod.namespace}):
            return False
    elif pod.namespace != namespace:
        return False
    return "podSelector" not in peer or _selects(object_at(peer, "podSelector"), dict(pod.labels))


def _selects(selector: JsonObject, labels: dict[str, str]) -> bool:
    """A LabelSelector; an empty one selects everything."""
    if not strings_at(selector, "matchLabels").items() <= labels.items():
        return False
    return all(_meets(one, labels) for one in objects_at(selector, "matchExpressions"))


def _meets(expression: JsonObject, labels: dict[str, str]) -> bool:
    values: list[JsonValue] = list_at(expression, "values")
    value = labels.get(str_at(expression, "key"))
    match str_at(expression, "operator"):
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case other:
            raise AssertionError(f"a LabelSelector has no operator {other}")
