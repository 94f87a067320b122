"""Where replicas are let, and what holds a drain up: by the nodes that there are, not by their state of the moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest

from tapio_reconciler.core.model import Rendered, Served
from tapio_reconciler.core.rendering import render
from tapio_shared.api.reasons import Reason
from tapio_shared.facts import NodeGroup
from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at
from tests.support.planned_world import FLEET
from tests.support.rendered import context_of, objects_of

CONTROL_PLANE = "node-role.kubernetes.io/control-plane=:NoSchedule"
DEDICATED = "dedicated=tapio:NoSchedule"


def group(zone: str, count: int = 1, *, ready: int | None = None, **more: JsonValue) -> NodeGroup:
    document = {"count": count, "ready": count if ready is None else ready, "architecture": "amd64", "zone": zone}
    return msgspec.convert({**document, "kernel": "6.1.0", **more}, NodeGroup)


def on(groups: list[NodeGroup], spec: JsonObject | None = None, *, version: str = "v1.31.0") -> Rendered:
    document: JsonObject = {"metadata": {"name": "any", "namespace": "some"}, "spec": spec or {}}
    context = context_of(document)
    # What counts Ready nodes at this moment must decide nothing.
    fleet = msgspec.structs.replace(FLEET, groups=groups, hosts=0, zones=[])
    return render(replace(context, fleet=fleet, served=Served(context.served.all(), version)))


def spreads(rendered: Rendered) -> Iterator[JsonObject]:
    for one in objects_of(rendered):
        yield from objects_at(one, "spec", "template", "spec", "topologySpreadConstraints")


def strictness(rendered: Rendered, workload: str, kind: str = "StatefulSet") -> dict[str, str]:
    """Topology key -> what is done when it can't be."""
    found = next(
        one
        for one in objects_of(rendered)
        if str_at(one, "kind") == kind and str_at(one, "metadata", "name") == workload
    )
    constraints = objects_at(found, "spec", "template", "spec", "topologySpreadConstraints")
    return {str_at(one, "topologyKey").rpartition("/")[2]: str_at(one, "whenUnsatisfiable") for one in constraints}


STRICT, SOFT = "DoNotSchedule", "ScheduleAnyway"


@pytest.mark.parametrize(
    ("groups", "spec", "hosts", "zones"),
    [
        pytest.param([group("a"), group("b"), group("c")], {}, STRICT, STRICT, id="a host and a zone for each"),
        pytest.param([group("a", 3)], {}, STRICT, SOFT, id="one zone"),
        pytest.param(
            [group("a", taints=[CONTROL_PLANE]), group("b"), group("c")], {}, SOFT, SOFT, id="one takes no pods"
        ),
        pytest.param(
            [group("a", ready=0), group("b"), group("c")], {}, STRICT, STRICT, id="one is not ready for a while"
        ),
        pytest.param([group("a", virtual=True), group("b"), group("c")], {}, SOFT, SOFT, id="one is no machine"),
        pytest.param([group("a", os="windows"), group("b"), group("c")], {}, SOFT, SOFT, id="one runs Windows"),
        pytest.param(
            [group("a", taints=[f"{DEDICATED[:-10]}PreferNoSchedule"]), group("b"), group("c")],
            {},
            STRICT,
            STRICT,
            id="a taint that keeps nothing away",
        ),
        pytest.param(
            [group(zone, taints=[DEDICATED]) for zone in "abc"],
            {"scheduling": {"tolerations": [{"key": "dedicated", "value": "tapio", "effect": "NoSchedule"}]}},
            STRICT,
            STRICT,
            id="nodes of our own",
        ),
        pytest.param(
            [group(zone, taints=[DEDICATED]) for zone in "abc"],
            {"scheduling": {"tolerations": [{"key": "dedicated", "value": "other", "effect": "NoSchedule"}]}},
            SOFT,
            SOFT,
            id="nodes of somebody else",
        ),
        pytest.param(
            [group("a", labels={"pool": "x"}), group("b", labels={"pool": "y"}), group("c", labels={"pool": "y"})],
            {"scheduling": {"nodeSelector": {"pool": "y"}}},
            SOFT,
            SOFT,
            id="a selector that leaves two",
        ),
    ],
)
def test_three_replicas_are_spread_strictly_where_three_nodes_take_them(
    groups: list[NodeGroup], spec: JsonObject, hosts: str, zones: str
) -> None:
    rendered = on(groups, spec)
    assert strictness(rendered, "any-nats") == {"hostname": hosts, "zone": zones}
    reasons = {notice.reason for notice in rendered.notices}
    assert (Reason.TOO_FEW_ZONES in reasons) == (SOFT in {hosts, zones})


@pytest.mark.parametrize(
    ("version", "groups", "policy", "hosts"),
    [
        pytest.param("v1.26.0", [group("a", 3), group("b", taints=[CONTROL_PLANE])], "Honor", STRICT, id="1.26"),
        pytest.param("v1.25.16", [group("a", 3), group("b", taints=[CONTROL_PLANE])], "", SOFT, id="1.25 counts it"),
        pytest.param("v1.25.16", [group("a", 3)], "", STRICT, id="1.25 where every node takes pods"),
        pytest.param("", [group("a", 3), group("b", taints=[CONTROL_PLANE])], "", SOFT, id="unknown"),
    ],
)
def test_a_node_that_takes_no_pod_never_keeps_one_pending(
    version: str, groups: list[NodeGroup], policy: str, hosts: str
) -> None:
    rendered = on(groups, version=version)
    assert {str_at(one, "nodeTaintsPolicy") for one in spreads(rendered)} == {policy}
    assert strictness(rendered, "any-nats")["hostname"] == hosts


@pytest.mark.parametrize(
    ("version", "most", "hosts"),
    [
        pytest.param("v1.25.16", 3, STRICT, id="1.25, one for each host at most"),
        pytest.param("v1.25.16", 4, SOFT, id="1.25, and two on one"),
        pytest.param("v1.26.0", 4, STRICT, id="1.26, where a cordoned node does not count"),
    ],
)
def test_what_an_autoscaler_may_make_counts_where_a_cordoned_node_does(version: str, most: int, hosts: str) -> None:
    gateway: JsonObject = {"enabled": True, "replicas": 2, "autoscaling": {"max": most}}
    rendered = on([group("a", 3)], {"gateway": gateway}, version=version)
    assert strictness(rendered, "any-gateway", "Deployment")["hostname"] == hosts
    budget = next(
        one
        for one in objects_of(rendered)
        if str_at(one, "kind") == "PodDisruptionBudget" and str_at(one, "metadata", "name") == "any-gateway"
    )
    assert object_at(budget, "spec")["maxUnavailable"] == 1


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


def budgets(rendered: Rendered) -> set[str]:
    """Names of the PodDisruptionBudgets."""
    found = objects_of(rendered)
    return {str_at(one, "metadata", "name") for one in found if str_at(one, "kind") == "PodDisruptionBudget"}


POOLS = [group("a", labels={"pool": "x"}), group("b", labels={"pool": "y"}), group("c", labels={"pool": "y"})]
NEO4J: JsonObject = {"neo4j": {"replicas": 3, "acceptLicenseAgreement": "eval"}}
ALL = {"any-nats", "any-neo4j", "any-correlation", "any-gateway"}


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


HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
_OWN: JsonObject = {"matchLabels": {"app.kubernetes.io/component": "nats"}}
_OTHERS: JsonObject = {"matchLabels": {"app.kubernetes.io/component": "loud"}}


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


def patched(**pod: JsonValue) -> JsonObject:
    return {"podTemplate": {"spec": pod}}


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


APART, TOGETHER = "podAntiAffinity", "podAffinity"
HOST_PORT: JsonObject = {"name": "nats", "ports": [{"containerPort": 4222, "hostPort": 4222}]}
GIVEN, WITHHELD = True, False


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


def test_replicas_are_spread_over_the_nodes_that_a_patch_leaves() -> None:
    rendered = on(POOLS, {"nats": patched(nodeSelector={"pool": "y"})})
    assert strictness(rendered, "any-nats") == {"hostname": SOFT, "zone": SOFT}


@pytest.mark.parametrize(
    ("component", "strict"),
    [
        pytest.param({"nodeSelector": {"pool": "y"}}, (SOFT, SOFT), id="a selector of its own"),
        pytest.param({"tolerations": []}, (SOFT, SOFT), id="no toleration of its own"),
        pytest.param({"priorityClassName": "high"}, (STRICT, STRICT), id="those of all"),
    ],
)
def test_a_component_is_spread_over_the_nodes_that_take_its_own_pods(
    component: JsonObject, strict: tuple[str, str]
) -> None:
    groups = [msgspec.structs.replace(one, taints=[DEDICATED] * (one.zone == "a")) for one in POOLS]
    tolerated: JsonObject = {"tolerations": [{"key": "dedicated", "value": "tapio"}]}
    rendered = on(groups, {"scheduling": tolerated, "nats": component})
    assert strictness(rendered, "any-nats") == dict(zip(("hostname", "zone"), strict, strict=True))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param({}, "spread 3 replicas, and 2 hosts in 2 zones", id="NATS"),
        pytest.param(
            {"nats": {"nodeSelector": {"pool": "x"}}}, "spread 3 replicas, and 1 host in 1 zone", id="NATS on a pool"
        ),
        pytest.param({"nats": {"external": {"url": "nats://a:4222"}}}, None, id="two are enough for the rest"),
        pytest.param(
            {
                "nats": {"external": {"url": "nats://a:4222"}},
                "intelligence": {"neo4j": {"enabled": False}, "correlation": {"enabled": False, "replicas": 9}},
            },
            None,
            id="what is switched off",
        ),
        pytest.param({"nats": {"affinity": {}}}, None, id="what has an affinity given is not spread"),
        pytest.param({"scheduling": {"affinity": {}}}, None, id="an affinity for all"),
    ],
)
def test_what_is_said_of_too_few_places(spec: JsonObject, message: str | None) -> None:
    notices = on(POOLS[:2], spec).notices
    found = [notice.message for notice in notices if str(notice.reason) == "TooFewZones"]
    rest = " can take them; replicas are spread as well as it goes. Add nodes in other zones."
    assert found == ([] if message is None else [f"High availability would {message}{rest}"])


PRODUCTION: JsonObject = {"profile": "production", "collectors": {"all": True}}


def pods(rendered: Rendered) -> dict[str, JsonObject]:
    """Kind/name -> pod, of everything that makes pods."""
    found: dict[str, JsonObject] = {}
    for one in objects_of(rendered):
        kind = str_at(one, "kind")
        template = object_at(one, "spec", "jobTemplate") if kind == "CronJob" else one
        pod = object_at(template, "spec", "template", "spec")
        if pod:
            found[f"{kind}/{str_at(one, 'metadata', 'name')}"] = pod
    return found


@pytest.mark.parametrize("own", [pytest.param({}, id="nothing else"), pytest.param({"pool": "big"}, id="a pool")])
def test_no_pod_goes_to_a_node_with_windows(own: dict[str, JsonValue]) -> None:
    found = pods(on([group("a", 3)], {**PRODUCTION, "scheduling": {"nodeSelector": own}}))
    assert len(found) > 8
    for name, pod in found.items():
        elsewhere = {} if name.startswith("DaemonSet/") else own
        assert object_at(pod, "nodeSelector") == {"kubernetes.io/os": "linux", **elsewhere}, name


@pytest.mark.parametrize(
    ("version", "hook"),
    [
        pytest.param("v1.29.4", None, id="the kubelet can't sleep"),
        pytest.param("v1.30.0", {"preStop": {"sleep": {"seconds": 5}}}, id="it can"),
    ],
)
def test_the_gateway_answers_until_nobody_asks_it_any_more(version: str, hook: JsonObject | None) -> None:
    (gateway,) = [one for name, one in pods(on([group("a", 3)], PRODUCTION, version=version)).items() if "gate" in name]
    (container,) = objects_at(gateway, "containers")
    assert container.get("lifecycle") == hook
    assert gateway["terminationGracePeriodSeconds"] == 30


@pytest.mark.parametrize(
    ("grace", "hook"),
    [
        pytest.param(60, {"preStop": {"sleep": {"seconds": 5}}}, id="longer than it answers"),
        pytest.param(4, {"preStop": {"sleep": {"seconds": 3}}}, id="shorter"),
        pytest.param(1, None, id="at once"),
    ],
)
def test_the_gateway_answers_no_longer_than_its_pod_has_to_end(grace: int, hook: JsonObject | None) -> None:
    """The API server refuses a sleep that is longer."""
    spec: JsonObject = {**PRODUCTION, "gateway": patched(terminationGracePeriodSeconds=grace)}
    (gateway,) = [one for name, one in pods(on([group("a", 3)], spec)).items() if "gate" in name]
    (container,) = objects_at(gateway, "containers")
    assert (container.get("lifecycle"), gateway["terminationGracePeriodSeconds"]) == (hook, grace)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        pytest.param({"memory": "1Gi"}, "921MiB", id="nine tenths of the limit"),
        pytest.param({"cpu": "2"}, None, id="no limit"),
        pytest.param({"memory": "1M"}, None, id="a limit of less than Go can keep below"),
    ],
)
def test_nats_collects_garbage_before_it_is_killed(limits: JsonObject, expected: str | None) -> None:
    nats: JsonObject = {"resources": {"requests": {"cpu": "1m"}, "limits": limits}}
    pod = pods(on([group("a", 3)], {"nats": nats}))["StatefulSet/any-nats"]
    values = {str_at(one, "name"): one.get("value") for one in objects_at(objects_at(pod, "containers")[0], "env")}
    assert values.get("GOMEMLIMIT") == expected


def test_a_slow_answer_of_nats_is_waited_for() -> None:
    container = objects_at(pods(on([group("a", 3)]))["StatefulSet/any-nats"], "containers")[0]
    probes = [object_at(container, name) for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert [one.get("timeoutSeconds") for one in probes] == [5, 5, 5]


def test_metrics_that_are_slow_take_no_server_of_nats_out_of_its_service() -> None:
    """Ready are pods of which all containers are."""
    exporter = objects_at(pods(on([group("a", 3)]))["StatefulSet/any-nats"], "containers")[1]
    assert [exporter[name] for name in ("readinessProbe", "livenessProbe")] == [
        {"tcpSocket": {"port": "metrics"}, "periodSeconds": 30}
    ] * 2
