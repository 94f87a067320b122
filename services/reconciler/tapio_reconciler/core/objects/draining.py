"""Whether a budget of one pod would hold up the drain of a node for ever.

A drain evicts what it finds on a node, and while one pod is away the budget lets no other go. So it ends only if
everything but the last pod starts elsewhere, on nodes that take it and under the rules that its replicas have among
themselves. That is tried out: replicas are put on nodes as a scheduler would that spreads them, and every node that has
some is drained. Rules that concern other pods, and labels that the fleet does not tell, are taken to forbid nothing: a
budget is given up only where it surely is in the way.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity
https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.node_choice import (
    HOST,
    REQUIRED,
    NodeChoice,
    can_hold_pods,
    label_of,
    meets,
    node_choice,
)
from tapio_reconciler.core.objects.placement import is_unknown
from tapio_shared.facts import FleetObserved
from tapio_shared.json import (
    JsonObject,
    JsonValue,
    at,
    bool_at,
    int_at,
    list_at,
    object_at,
    objects_at,
    str_at,
    strings_at,
)


@dataclass(frozen=True, slots=True)
class _Node:
    """One node. `domains`: topology key -> which of its domains the node is in."""

    domains: Mapping[str, str]
    is_selected: bool
    is_tolerated: bool

    @property
    def takes(self) -> bool:
        """Whether it takes the pod; a node that does not may count for a spread nevertheless."""
        return self.is_selected and self.is_tolerated


@dataclass(frozen=True, slots=True)
class _Spread:
    """A topologySpreadConstraint that must be kept."""

    key: str
    skew: int
    least_domains: int
    honours_selection: bool
    honours_taints: bool

    def counts(self, node: _Node, *, cordoned: bool) -> bool:
        """Whether the domain of `node` is one over which pods are spread."""
        return (
            self.key in node.domains
            and (node.is_selected or not self.honours_selection)
            and ((node.is_tolerated and not cordoned) or not self.honours_taints)
        )


@dataclass(frozen=True, slots=True)
class _Rules:
    """What the replicas ask of each other's places."""

    apart: tuple[str, ...]
    """Topology keys of which no domain takes two."""
    together: tuple[str, ...]
    """Topology keys of which one domain takes all."""
    spreads: tuple[_Spread, ...]

    @property
    def keys(self) -> set[str]:
        return {*self.apart, *self.together, *(one.key for one in self.spreads)}


def holds_up_drains(ctx: Context, template: JsonObject, replicas: int) -> bool:
    """Whether a node can't be drained of pods of `template` while at most one of them may be away. False where no node
    takes any; while the fleet is unknown, True only for pods that name their node."""
    pod = object_at(template, "spec")
    choice = node_choice(pod)
    if str_at(pod, "nodeName") or (ctx.fleet is None and choice.named == 1):
        return replicas > 1
    if ctx.fleet is None:
        return False
    rules = _rules(ctx, ctx.fleet, template)
    nodes = _nodes(ctx.fleet, choice, rules, replicas)
    if not rules.keys:
        return replicas > 1 and sum(node.takes for node in nodes) == 1
    there: Counter[int] = Counter()
    for _ in range(replicas):
        place = _place(nodes, rules, there)
        if place is None:
            return bool(there)  # Who waits for a place is away already.
        there[place] += 1
    return any(_holds_up(nodes, rules, there, place) for place in there)


def _holds_up(nodes: Sequence[_Node], rules: _Rules, placed: Counter[int], drained: int) -> bool:
    there = Counter(placed)
    while there[drained] > 1:  # Nothing follows the last, wherever it starts.
        there[drained] -= 1
        elsewhere = _place(nodes, rules, there, cordoned=drained)
        if elsewhere is None:
            return True
        there[elsewhere] += 1
    return False


def _place(nodes: Sequence[_Node], rules: _Rules, there: Counter[int], cordoned: int = -1) -> int | None:
    """The node on which the next replica starts: the one with the fewest of them. None when there is none."""
    taken = {key: _in_domains(nodes, there, key) for key in rules.keys}
    most = {one: _most(nodes, one, taken[one.key], cordoned) for one in rules.spreads}

    def fits(node: _Node) -> bool:
        return (
            all(not _there(node, key, taken) for key in rules.apart)
            and all(key in node.domains and (not taken[key] or _there(node, key, taken)) for key in rules.together)
            and all(one.key in node.domains and _there(node, one.key, taken) < most[one] for one in rules.spreads)
        )

    fitting = (index for index, node in enumerate(nodes) if index != cordoned and node.takes and fits(node))
    return min(fitting, key=lambda index: there[index], default=None)


def _there(node: _Node, key: str, taken: Mapping[str, Counter[str]]) -> int:
    """How many replicas there are in the domain of `node`."""
    return taken[key][node.domains[key]] if key in node.domains else 0


def _in_domains(nodes: Sequence[_Node], there: Counter[int], key: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for index, count in there.items():
        if count and key in nodes[index].domains:
            found[nodes[index].domains[key]] += count
    return found


def _most(nodes: Sequence[_Node], spread: _Spread, taken: Counter[str], cordoned: int) -> int:
    """How many replicas a domain may hold, the next one included."""
    counted = {
        node.domains[spread.key] for index, node in enumerate(nodes) if spread.counts(node, cordoned=index == cordoned)
    }
    least = min((taken[domain] for domain in counted), default=0)
    return spread.skew + (least if len(counted) >= spread.least_domains else 0)


def _nodes(fleet: FleetObserved, choice: NodeChoice, rules: _Rules, replicas: int) -> list[_Node]:
    """The fleet's nodes, of every kind no more than can make a difference. Kinds take turns; where all replicas must be
    in one domain, those of the largest come first."""
    kinds: Counter[tuple[frozenset[tuple[str, str]], bool, bool]] = Counter()
    for group in fleet.groups:
        if can_hold_pods(group):
            labels = {key: label_of(group, key) for key in rules.keys}
            domains = frozenset((key, value) for key, value in labels.items() if value is not None and key != HOST)
            kinds[domains, choice.selects(group, fleet), choice.tolerates(group)] += group.count
    columns = [
        [
            _Node({**dict(domains), HOST: f"{kind}/{index}"}, is_selected, is_tolerated)
            for index in range(min(count, replicas + 1))
        ]
        for kind, ((domains, is_selected, is_tolerated), count) in enumerate(kinds.items())
    ]
    found = [node for row in zip_longest(*columns) for node in row if node is not None]
    for key in rules.together:
        sizes = Counter(node.domains.get(key) for node in found if node.takes)
        places = sorted(range(len(found)), key=[-sizes[node.domains.get(key)] for node in found].__getitem__)
        found = [found[place] for place in places]
    if choice.named is None:
        return found
    named = [index for index, node in enumerate(found) if node.takes][: choice.named]
    return [node if index in named else replace(node, is_selected=False) for index, node in enumerate(found)]


# --- what a pod template says ----------------------------------------------------------------------------------------


def _rules(ctx: Context, fleet: FleetObserved, template: JsonObject) -> _Rules:
    pod, labels = object_at(template, "spec"), strings_at(template, "metadata", "labels")

    def is_told(key: str) -> bool:
        return key == HOST or all(
            label_of(group, key) is not None or not is_unknown(key, fleet.dropped_labels) for group in fleet.groups
        )

    def keys(which: str) -> tuple[str, ...]:
        terms = objects_at(pod, "affinity", which, REQUIRED)
        found = [str_at(one, "topologyKey") for one in terms if _concerns_itself(one, labels, ctx.namespace)]
        return tuple(key for key in found if is_told(key))

    return _Rules(
        apart=(*keys("podAntiAffinity"), *((HOST,) if _takes_host_ports(pod) else ())),
        together=keys("podAffinity"),
        spreads=tuple(
            _Spread(
                key=str_at(one, "topologyKey"),
                skew=int_at(one, "maxSkew", default=1),
                least_domains=int_at(one, "minDomains", default=1),
                honours_selection=str_at(one, "nodeAffinityPolicy") != "Ignore",
                honours_taints=str_at(one, "nodeTaintsPolicy") == "Honor",
            )
            for one in objects_at(pod, "topologySpreadConstraints")
            if str_at(one, "whenUnsatisfiable") != "ScheduleAnyway"
            and is_told(str_at(one, "topologyKey"))
            and _selects(at(one, "labelSelector"), labels)
        ),
    )


def _concerns_itself(term: JsonObject, labels: Mapping[str, str], namespace: str) -> bool:
    """Whether a term of affinity to pods is surely met by a replica of the pod that has it."""
    spaces, selected = list_at(term, "namespaces"), at(term, "namespaceSelector")
    reaches = namespace in spaces or selected == {} or (not spaces and selected is None)
    return reaches and not list_at(term, "mismatchLabelKeys") and _selects(at(term, "labelSelector"), labels)


def _selects(selector: JsonValue, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects a pod: an absent one selects none, an empty one all."""
    if not isinstance(selector, dict):
        return False
    if any(labels.get(key) != value for key, value in strings_at(selector, "matchLabels").items()):
        return False
    return all(
        meets(labels.get(str_at(one, "key")), str_at(one, "operator"), list_at(one, "values"))
        for one in objects_at(selector, "matchExpressions")
    )


def _takes_host_ports(pod: JsonObject) -> bool:
    """Whether a node takes one replica alone, since each listens on ports of its node."""
    ports = [
        port
        for container in (*objects_at(pod, "containers"), *objects_at(pod, "initContainers"))
        for port in objects_at(container, "ports")
    ]
    return any(bool_at(pod, "hostNetwork") or int_at(port, "hostPort") for port in ports)
