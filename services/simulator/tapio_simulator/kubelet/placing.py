"""On which nodes a pod may run, and which is best. Pure: counts of other pods come from `Placed`.

Filters and texts of kube-scheduler's default plugins: unschedulable, taints, node affinity, resources, host ports,
required inter-pod (anti-)affinity, topology spread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tapio_shared.json import JsonObject, at, int_at, list_at, object_at, objects_at, str_at, strings_at
from tapio_simulator.machinery.objects import controller_uid, is_active, key_of
from tapio_simulator.quantities import amount
from tapio_simulator.selectors import label_selector_matches

Resources = dict[str, int]
"""Amounts in thousandths, so that cpu is in millicores."""


@dataclass(slots=True)
class NodeLoad:
    """A node and what is taken on it."""

    document: JsonObject
    used: Resources = field(default_factory=dict[str, int])
    pods: int = 0
    ports: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])

    @property
    def name(self) -> str:
        return key_of(self.document)[1]

    @property
    def labels(self) -> Mapping[str, str]:
        return strings_at(self.document, "metadata", "labels")


@dataclass(frozen=True, slots=True)
class Placed:
    """Other pods, as far as a decision needs them."""

    matching: Callable[[str, JsonObject], Iterable[JsonObject]]
    """Pods of a namespace that a label selector matches."""
    node_of: Callable[[JsonObject], str]
    """The node a pod is on, or about to be on; empty when none."""
    siblings: Callable[[str, str], int]
    """How many pods of a controller (by UID) are on a node."""


def thousandths(text: object) -> int:
    value = amount(str(text))
    return 0 if value is None else int(value * 1000)


def requests_of(pod: JsonObject) -> Resources:
    """What a pod asks for: the sum of its containers, or its largest init container where that is more."""
    total: Resources = {}
    for container in objects_at(pod, "spec", "containers"):
        _add(total, container)
    largest: Resources = {}
    for container in objects_at(pod, "spec", "initContainers"):
        if container.get("restartPolicy") == "Always":
            _add(total, container)
        else:
            for name, text in object_at(container, "resources", "requests").items():
                largest[name] = max(largest.get(name, 0), thousandths(text))
    for name, value in largest.items():
        total[name] = max(total.get(name, 0), value)
    return total


def _add(total: Resources, container: JsonObject) -> None:
    for name, text in object_at(container, "resources", "requests").items():
        total[name] = total.get(name, 0) + thousandths(text)


def host_ports(pod: JsonObject) -> list[tuple[str, int]]:
    return [
        (str_at(port, "protocol", default="TCP"), int_at(port, "hostPort"))
        for container in objects_at(pod, "spec", "containers")
        for port in objects_at(container, "ports")
        if int_at(port, "hostPort")
    ]


def is_tolerated(taint: JsonObject, tolerations: Sequence[JsonObject]) -> bool:
    for toleration in tolerations:
        if toleration.get("effect") not in (None, "", taint.get("effect")):
            continue
        key = toleration.get("key")
        if not key:
            if toleration.get("operator") == "Exists":
                return True
            continue
        if key != taint.get("key"):
            continue
        if toleration.get("operator") == "Exists" or str_at(toleration, "value") == str_at(taint, "value"):
            return True
    return False


def untolerated(
    node: JsonObject, tolerations: Sequence[JsonObject], effects: tuple[str, ...] = ("NoSchedule", "NoExecute")
) -> JsonObject | None:
    """The first taint of `node` with one of `effects` that is not tolerated."""
    for taint in objects_at(node, "spec", "taints"):
        if taint.get("effect") in effects and not is_tolerated(taint, tolerations):
            return taint
    return None


def matches_node(spec: JsonObject, node: JsonObject) -> bool:
    """nodeSelector and required node affinity of a pod spec."""
    labels = strings_at(node, "metadata", "labels")
    if any(labels.get(name) != value for name, value in strings_at(spec, "nodeSelector").items()):
        return False
    required = object_at(spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    terms = objects_at(required, "nodeSelectorTerms")
    return not required or any(_matches_term(term, labels, key_of(node)[1]) for term in terms)


def _matches_term(term: JsonObject, labels: Mapping[str, str], name: str) -> bool:
    expressions, fields = objects_at(term, "matchExpressions"), objects_at(term, "matchFields")
    if not expressions and not fields:
        return False
    by_label = all(_matches_expression(one, labels) for one in expressions)
    return by_label and all(_matches_expression(one, {"metadata.name": name}) for one in fields)


def _matches_expression(expression: JsonObject, labels: Mapping[str, str]) -> bool:
    operator = str_at(expression, "operator")
    if operator not in ("Gt", "Lt"):
        return label_selector_matches({"matchExpressions": [expression]}, labels)
    found, wanted = labels.get(str_at(expression, "key"), ""), list_at(expression, "values")
    if not found.lstrip("-").isdigit() or not wanted:
        return False
    return int(found) > int(str(wanted[0])) if operator == "Gt" else int(found) < int(str(wanted[0]))


def _taint_against(pod: JsonObject, node: JsonObject) -> str:
    """Which taint of `node`, a cordon included, keeps `pod` away, in the scheduler's words; empty when none does."""
    tolerations = objects_at(pod, "spec", "tolerations")
    if at(node, "spec", "unschedulable") is True:
        taint: JsonObject = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
        if not is_tolerated(taint, tolerations):
            return "node(s) were unschedulable"
    refused = untolerated(node, tolerations)
    if refused is None:
        return ""
    return f"node(s) had untolerated taint {{{str_at(refused, 'key')}: {str_at(refused, 'value')}}}"


def obstacle(pod: JsonObject, wanted: Resources, node: NodeLoad) -> str:
    """Why `pod` can't run on `node`, looking at the two alone; empty when it can."""
    spec = object_at(pod, "spec")
    refused = _taint_against(pod, node.document)
    if refused:
        return refused
    if not matches_node(spec, node.document):
        return "node(s) didn't match Pod's node affinity/selector"
    allocatable = object_at(node.document, "status", "allocatable")
    if node.pods >= int(str(allocatable.get("pods", 110))):
        return "Too many pods"
    for name in sorted(wanted):
        if wanted[name] and node.used.get(name, 0) + wanted[name] > thousandths(allocatable.get(name, 0)):
            return f"Insufficient {name}"
    if any(node.ports.get(port) for port in host_ports(pod)):
        return "node(s) didn't have free ports for the requested pod ports"
    return ""


# --- other pods ----------------------------------------------------------------------------------------------------


def _terms(pod: JsonObject, which: str) -> list[JsonObject]:
    return objects_at(pod, "spec", "affinity", which, "requiredDuringSchedulingIgnoredDuringExecution")


def _domains_with(pod: JsonObject, term: JsonObject, nodes: Mapping[str, NodeLoad], placed: Placed) -> dict[str, int]:
    """How many matching pods there are in each domain of the term's topology key."""
    key = str_at(term, "topologyKey")
    spaces = [str(one) for one in list_at(term, "namespaces")] or [key_of(pod)[0]]
    found: dict[str, int] = {}
    for space in spaces:
        for other in placed.matching(space, object_at(term, "labelSelector")):
            node = nodes.get(placed.node_of(other))
            if node is None or not is_active(other) or key_of(other) == key_of(pod):
                continue
            domain = node.labels.get(key)
            if domain is not None:
                found[domain] = found.get(domain, 0) + 1
    return found


def candidates(pod: JsonObject, nodes: Mapping[str, NodeLoad], placed: Placed) -> tuple[list[NodeLoad], dict[str, int]]:
    """Nodes that may run `pod`, and how many nodes each reason rules out."""
    wanted = requests_of(pod)
    fitting: list[NodeLoad] = []
    reasons: dict[str, int] = {}

    def refuse(why: str) -> None:
        reasons[why] = reasons.get(why, 0) + 1

    for name in sorted(nodes):
        why = obstacle(pod, wanted, nodes[name])
        if why:
            refuse(why)
        else:
            fitting.append(nodes[name])
    for term in _terms(pod, "podAntiAffinity"):
        key, taken = str_at(term, "topologyKey"), _domains_with(pod, term, nodes, placed)
        kept = [node for node in fitting if node.labels.get(key) not in taken]
        for _ in range(len(fitting) - len(kept)):
            refuse("node(s) didn't match pod anti-affinity rules")
        fitting = kept
    for term in _terms(pod, "podAffinity"):
        key, there = str_at(term, "topologyKey"), _domains_with(pod, term, nodes, placed)
        own = label_selector_matches(object_at(term, "labelSelector"), strings_at(pod, "metadata", "labels"))
        if own and not there:
            continue
        kept = [node for node in fitting if node.labels.get(key) in there]
        for _ in range(len(fitting) - len(kept)):
            refuse("node(s) didn't match pod affinity rules")
        fitting = kept
    for constraint in objects_at(pod, "spec", "topologySpreadConstraints"):
        if constraint.get("whenUnsatisfiable") == "ScheduleAnyway":
            continue
        kept = _spread(pod, constraint, fitting, nodes, placed)
        for _ in range(len(fitting) - len(kept)):
            refuse("node(s) didn't match pod topology spread constraints")
        fitting = kept
    return fitting, reasons


def _spread_counts(
    pod: JsonObject, constraint: JsonObject, nodes: Mapping[str, NodeLoad], placed: Placed
) -> dict[str, int]:
    """Matching pods per domain, over the domains of nodes that the pod could choose by its selector; of tainted ones
    only as nodeTaintsPolicy says."""
    key = str_at(constraint, "topologyKey")
    spec, labels = object_at(pod, "spec"), strings_at(pod, "metadata", "labels")
    counts = {
        node.labels[key]: 0
        for node in nodes.values()
        if key in node.labels
        and matches_node(spec, node.document)
        and not (constraint.get("nodeTaintsPolicy") == "Honor" and _taint_against(pod, node.document))
    }
    selector = dict(object_at(constraint, "labelSelector"))
    extra = {str(name): labels[str(name)] for name in list_at(constraint, "matchLabelKeys") if str(name) in labels}
    selector["matchLabels"] = {**object_at(selector, "matchLabels"), **extra}
    there = _domains_with(pod, {"topologyKey": key, "labelSelector": selector}, nodes, placed)
    return {domain: there.get(domain, 0) for domain in counts}


def _spread(
    pod: JsonObject, constraint: JsonObject, fitting: list[NodeLoad], nodes: Mapping[str, NodeLoad], placed: Placed
) -> list[NodeLoad]:
    counts = _spread_counts(pod, constraint, nodes, placed)
    key, limit = str_at(constraint, "topologyKey"), int_at(constraint, "maxSkew", default=1)
    least = min(counts.values(), default=0)
    return [node for node in fitting if key in node.labels and counts.get(node.labels[key], 0) + 1 - least <= limit]


def best(pod: JsonObject, fitting: Sequence[NodeLoad], nodes: Mapping[str, NodeLoad], placed: Placed) -> NodeLoad:
    """The node with the fewest pods of the same kind in its domains, then the least loaded, then by name."""
    soft = [
        (str_at(one, "topologyKey"), _spread_counts(pod, one, nodes, placed))
        for one in objects_at(pod, "spec", "topologySpreadConstraints")
        if one.get("whenUnsatisfiable") == "ScheduleAnyway"
    ]
    owner = controller_uid(pod)

    def cost(node: NodeLoad) -> tuple[int, int, int, str]:
        crowd = sum(counts.get(node.labels.get(key, ""), 0) for key, counts in soft)
        siblings = placed.siblings(node.name, owner) if owner else 0
        return crowd, siblings, node.used.get("memory", 0) + node.pods, node.name

    return min(fitting, key=cost)


def explanation(total: int, reasons: Mapping[str, int]) -> str:
    """The scheduler's sentence for a pod that fits nowhere."""
    listed = ", ".join(sorted(f"{count} {why}" for why, count in reasons.items()))
    return f"0/{total} nodes are available: {listed}." if listed else "no nodes available to schedule pods"
