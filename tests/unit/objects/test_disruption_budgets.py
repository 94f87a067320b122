"""What holds a drain up: a budget is given where whatever is evicted starts elsewhere, and withheld where it can't."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from tapio_reconciler.core.model import Rendered
from tapio_reconciler.core.rendering import render
from tapio_shared.facts import NodeGroup
from tapio_shared.json import JsonObject, JsonValue, object_at, str_at
from tests.support.planned_world import FLEET
from tests.support.rendered import context_of, objects_of
from tests.support.small_fleets import CONTROL_PLANE, DEDICATED, POOLS, group, on, patched

NEO4J: JsonObject = {"neo4j": {"replicas": 3, "acceptLicenseAgreement": "eval"}}
ALL = {"any-nats", "any-neo4j", "any-correlation", "any-gateway"}
HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
_OWN: JsonObject = {"matchLabels": {"app.kubernetes.io/component": "nats"}}
_OTHERS: JsonObject = {"matchLabels": {"app.kubernetes.io/component": "loud"}}
APART, TOGETHER = "podAntiAffinity", "podAffinity"
HOST_PORT: JsonObject = {"name": "nats", "ports": [{"containerPort": 4222, "hostPort": 4222}]}
GIVEN, WITHHELD = True, False


def budgets(rendered: Rendered) -> set[str]:
    """Names of the PodDisruptionBudgets."""
    found = objects_of(rendered)
    return {str_at(one, "metadata", "name") for one in found if str_at(one, "kind") == "PodDisruptionBudget"}


def to_nodes(*terms: JsonObject) -> JsonObject:
    """An affinity that requires one of these terms of a node."""
    required: JsonObject = {"nodeSelectorTerms": list(terms)}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


def label(key: str, operator: str, *values: str) -> JsonObject:
    return {"matchExpressions": [{"key": key, "operator": operator, **({"values": list(values)} if values else {})}]}


def node_called(name: str) -> JsonObject:
    return {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}


def to_pods(which: str, key: str = HOST, selector: JsonObject = _OWN, **more: JsonValue) -> JsonObject:
    """A required affinity to pods, or against them."""
    term: JsonObject = {"topologyKey": key, "labelSelector": selector, **more}
    return {"affinity": {which: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}


def strictly(key: str = HOST, selector: JsonObject = _OWN, **more: JsonValue) -> JsonObject:
    """A topology spread that must be kept, instead of the operator's own."""
    constraint: JsonObject = {
        "topologyKey": key,
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": selector,
        **more,
    }
    return patched(topologySpreadConstraints=[constraint, {"$patch": "replace"}])


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param("v1.27.0", "AlwaysAllow", id="served"),
        pytest.param("v1.29.4-eks-036c24b", "AlwaysAllow", id="a distributor's"),
        pytest.param("v1.26.15", "", id="not yet"),
    ],
)
def test_a_pod_that_never_becomes_ready_holds_no_drain_up(version: str, expected: str) -> None:
    objects = objects_of(on([group(zone) for zone in "abc"], version=version))
    budgets = [object_at(one, "spec") for one in objects if str_at(one, "kind") == "PodDisruptionBudget"]
    assert len(budgets) == 3
    assert {str_at(one, "unhealthyPodEvictionPolicy") for one in budgets} == {expected}
    assert all(one.get("maxUnavailable") == 1 for one in budgets)


@pytest.mark.parametrize(
    ("groups", "spec", "expected"),
    [
        pytest.param([group("a", 3)], {}, ALL, id="three nodes"),
        pytest.param([group("a", 2)], {}, ALL, id="two nodes"),
        pytest.param([group("a")], {}, set[str](), id="one node"),
        pytest.param([group("a"), group("b", taints=[CONTROL_PLANE])], {}, set[str](), id="one that takes pods"),
        pytest.param([group("a"), group("b", ready=0)], {}, ALL, id="one is not ready for a while"),
        pytest.param([group("a", taints=[CONTROL_PLANE])], {}, ALL, id="none takes pods, so none is drained of them"),
        pytest.param(POOLS, {"nats": {"nodeSelector": {"pool": "x"}}}, ALL - {"any-nats"}, id="one node of a pool"),
        pytest.param(POOLS, {"nats": {"nodeSelector": {"pool": "y"}}}, ALL, id="two nodes of a pool"),
        pytest.param(
            POOLS,
            {"gateway": {"nodeSelector": {"kubernetes.io/hostname": "node-7"}}},
            ALL - {"any-gateway"},
            id="a node by name, which no fleet tells",
        ),
        pytest.param(
            POOLS,
            {"scheduling": {"nodeSelector": {"pool": "x"}}, "gateway": {"nodeSelector": {"pool": "y"}}},
            {"any-gateway"},
            id="its own selector goes before that of all",
        ),
        pytest.param(
            [group("a"), group("b", taints=[DEDICATED])],
            {"nats": {"tolerations": [{"key": "dedicated", "value": "tapio"}]}},
            {"any-nats"},
            id="one tolerates the other node",
        ),
    ],
)
def test_no_budget_holds_a_drain_up_for_ever(groups: list[NodeGroup], spec: JsonObject, expected: set[str]) -> None:
    """Where one node alone takes the pods, what is evicted from it starts nowhere, and the next is never let go."""
    assert budgets(on(groups, {"intelligence": NEO4J, **spec})) == expected


def test_no_budget_is_wanted_for_a_fleet_nobody_knows_yet_to_be_one_node() -> None:
    context = context_of({"metadata": {"name": "any", "namespace": "some"}, "spec": {"intelligence": NEO4J}})
    assert budgets(render(replace(context, fleet=None))) == ALL


@pytest.mark.parametrize(
    ("groups", "nats", "expected"),
    [
        pytest.param(POOLS, to_nodes(label("pool", "In", "x")), WITHHELD, id="affinity to a pool of one"),
        pytest.param(POOLS, to_nodes(label("pool", "In", "y")), GIVEN, id="affinity to a pool of two"),
        pytest.param(POOLS, to_nodes(label("pool", "In", "x"), label("pool", "In", "y")), GIVEN, id="one of two terms"),
        pytest.param(POOLS, to_nodes(label("pool", "NotIn", "y")), WITHHELD, id="away from the other pool"),
        pytest.param(POOLS, to_nodes(label("gpu", "DoesNotExist")), GIVEN, id="a label that no node has"),
        pytest.param(POOLS, to_nodes(label("gpu", "Exists")), GIVEN, id="none is there, so none is drained"),
        pytest.param(
            [group("a", labels={"cores": "8"}), group("b", labels={"cores": "16"}), group("c", labels={"cores": "x"})],
            to_nodes(label("cores", "Gt", "8")),
            WITHHELD,
            id="more cores than one has",
        ),
        pytest.param(
            [group("a", labels={"cores": "8"}), group("b", labels={"cores": "16"}), group("c", labels={"cores": "4"})],
            to_nodes(label("cores", "Lt", "16")),
            GIVEN,
            id="fewer cores than one has",
        ),
        pytest.param(POOLS, to_nodes(label(ZONE, "In", "a")), WITHHELD, id="a zone of one node"),
        pytest.param([group("a", 2), group("b")], to_nodes(label(ZONE, "In", "a")), GIVEN, id="a zone of two"),
        pytest.param(POOLS, to_nodes(label(HOST, "In", "node-7")), WITHHELD, id="affinity to a host"),
        pytest.param(POOLS, to_nodes(label(HOST, "In", "node-7", "node-8")), GIVEN, id="affinity to two hosts"),
        pytest.param(POOLS, to_nodes(node_called("node-7")), WITHHELD, id="a node by its name"),
        pytest.param(POOLS, to_nodes(node_called("node-7"), node_called("node-7")), WITHHELD, id="twice the same"),
        pytest.param(POOLS, to_nodes(node_called("node-7"), node_called("node-8")), GIVEN, id="two by their names"),
        pytest.param(POOLS, to_nodes(node_called("node-7"), label("pool", "In", "y")), GIVEN, id="or a pool"),
        pytest.param(POOLS, patched(nodeSelector={"pool": "x"}), WITHHELD, id="the patch selects"),
        pytest.param(
            POOLS,
            {"nodeSelector": {"pool": "x"}, **patched(nodeSelector={"pool": "y"})},
            GIVEN,
            id="the patch selects others",
        ),
        pytest.param(
            POOLS,
            {**to_nodes(label("pool", "In", "x")), **patched(affinity=None)},
            GIVEN,
            id="the patch takes the affinity away",
        ),
        pytest.param(POOLS, patched(nodeName="node-7"), WITHHELD, id="the patch names a node"),
        pytest.param(POOLS, patched(**to_nodes(label("pool", "In", "x"))), WITHHELD, id="the patch has an affinity"),
        pytest.param(
            [group("a"), group("b", taints=[DEDICATED]), group("c", taints=[DEDICATED])],
            patched(tolerations=[{"operator": "Exists"}]),
            GIVEN,
            id="the patch tolerates",
        ),
        pytest.param(POOLS, to_pods(APART), GIVEN, id="apart, and there is a node for each"),
        pytest.param(POOLS[:2], to_pods(APART), WITHHELD, id="apart, and one of three waits for ever"),
        pytest.param(POOLS[:2], to_pods(APART, selector=_OTHERS), GIVEN, id="apart from others"),
        pytest.param(POOLS[:2], to_pods(APART, namespaces=["far"]), GIVEN, id="apart from another namespace's"),
        pytest.param(POOLS[:2], to_pods(APART, namespaceSelector={}), WITHHELD, id="apart in all namespaces"),
        pytest.param(POOLS[:2], to_pods(APART, selector={}), WITHHELD, id="apart from all"),
        pytest.param(
            [group("a", 3), group("b", 3)], to_pods(APART, ZONE), WITHHELD, id="apart by zone, of which are 2"
        ),
        pytest.param([group("a", 3), group("b", 3)], to_pods(APART, "rack"), GIVEN, id="apart by what no node has"),
        pytest.param(POOLS, to_pods(TOGETHER), WITHHELD, id="together on a node"),
        pytest.param([group("a"), group("b", 2)], to_pods(TOGETHER, ZONE), GIVEN, id="together in a zone of two"),
        pytest.param(POOLS, to_pods(TOGETHER, ZONE), WITHHELD, id="together in a zone of one"),
        pytest.param(POOLS, to_pods(TOGETHER, selector=_OTHERS), GIVEN, id="together with others"),
        pytest.param(
            POOLS[:2], {"replicas": 5, **strictly()}, WITHHELD, id="spread over two, the drained one included"
        ),
        pytest.param(
            POOLS[:2], {"replicas": 5, **strictly(nodeTaintsPolicy="Honor")}, GIVEN, id="spread over who takes pods"
        ),
        pytest.param(POOLS[:2], strictly(), GIVEN, id="spread over two, and a second one fits"),
        pytest.param(POOLS[:2], {"replicas": 5, **strictly(maxSkew=5)}, GIVEN, id="spread loosely"),
        pytest.param(POOLS[:2], {"replicas": 5, **strictly(selector=_OTHERS)}, GIVEN, id="spread over against others"),
        pytest.param(POOLS, strictly(minDomains=4), GIVEN, id="one for each of too few domains"),
        pytest.param(
            POOLS[:2],
            strictly(minDomains=4, nodeTaintsPolicy="Honor"),
            WITHHELD,
            id="two domains of four, and one waits",
        ),
        pytest.param(
            [group("a", 2), group("b", taints=[CONTROL_PLANE])],
            strictly(),
            WITHHELD,
            id="spread over a node that takes none, so that one waits",
        ),
        pytest.param(POOLS[:2], patched(containers=[HOST_PORT]), WITHHELD, id="a port of the node, and one waits"),
        pytest.param(POOLS, patched(containers=[HOST_PORT]), GIVEN, id="a port of the node, and a node for each"),
        pytest.param(POOLS[:2], patched(hostNetwork=True), WITHHELD, id="the nodes' network"),
    ],
)
def test_a_budget_is_withheld_where_what_is_evicted_starts_nowhere(
    groups: list[NodeGroup], nats: JsonObject, expected: bool
) -> None:
    """By the whole pod, as the scheduler reads it."""
    assert ("any-nats" in budgets(on(groups, {"nats": nats}))) == expected


@pytest.mark.parametrize(
    ("gateway", "scalers", "expected"),
    [
        pytest.param({"replicas": 1}, {}, WITHHELD, id="one for ever"),
        pytest.param({"autoscaling": {"min": 1, "max": 1}}, {}, WITHHELD, id="scaled from one to one"),
        pytest.param({"autoscaling": {"min": 1, "max": 2}}, {}, GIVEN, id="scaled from one to two"),
        pytest.param({"replicas": 1}, {"any-gateway": "keda-hpa-any"}, GIVEN, id="scaled by somebody else"),
        pytest.param(
            {"autoscaling": {"min": 1, "max": 2}, **patched(nodeName="node-7")}, {}, WITHHELD, id="scaled on one node"
        ),
    ],
)
def test_a_budget_counts_the_pods_that_there_may_be(
    gateway: JsonObject, scalers: dict[str, str], expected: bool
) -> None:
    """One that lets one pod go holds nobody up while there is one alone."""
    spec: JsonObject = {"profile": "development", "gateway": {"enabled": True, **gateway}}
    context = context_of({"metadata": {"name": "any", "namespace": "some"}, "spec": spec})
    fleet = msgspec.structs.replace(FLEET, groups=POOLS)
    assert ("any-gateway" in budgets(render(replace(context, fleet=fleet, scalers=scalers)))) == expected


def test_a_budget_comes_with_the_second_node() -> None:
    pinned: JsonObject = {"nats": to_nodes(label("pool", "In", "x"))}
    assert "any-nats" not in budgets(on(POOLS, pinned))
    assert "any-nats" in budgets(on([*POOLS, group("b", labels={"pool": "x"})], pinned))


@pytest.mark.parametrize(
    ("nats", "expected"),
    [
        pytest.param(to_nodes(label("pool", "In", "x")), GIVEN, id="a pool that may be large"),
        pytest.param(to_nodes(node_called("node-7")), WITHHELD, id="one node, whatever the fleet"),
        pytest.param(patched(nodeName="node-7"), WITHHELD, id="one node without a scheduler"),
        pytest.param(to_pods(APART), GIVEN, id="apart"),
    ],
)
def test_what_is_known_of_drains_while_the_fleet_is_not(nats: JsonObject, expected: bool) -> None:
    context = context_of({"metadata": {"name": "any", "namespace": "some"}, "spec": {"nats": nats}})
    assert ("any-nats" in budgets(render(replace(context, fleet=None)))) == expected
