"""On which nodes a pod may run, which one is chosen, and what the scheduler says when there is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from tapio_shared.json import JsonObject, JsonValue, object_at, str_at, strings_at
from tapio_simulator.kubelet.nodes import build_node
from tapio_simulator.kubelet.placing import NodeLoad, Placed, best, candidates, explanation, requests_of
from tapio_simulator.kubelet.settings import NodeShape, fleet
from tapio_simulator.machinery.objects import controller_uid
from tapio_simulator.selectors import label_selector_matches

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"


def _nodes(count: int = 3, like: NodeShape | None = None) -> dict[str, NodeLoad]:
    return {shape.name: NodeLoad(build_node(shape, n)) for n, shape in enumerate(fleet(count, like))}


def _pod(name: str = "new", node: str = "", labels: JsonObject | None = None, **spec: JsonValue) -> JsonObject:
    own: JsonObject = {"app": "web"} if labels is None else labels
    placed: JsonObject = {"nodeName": node} if node else {}
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": own},
        "spec": {"containers": [{"name": "main"}], **placed, **spec},
    }


def _placed(others: Iterable[JsonObject] = ()) -> Placed:
    pods = list(others)

    def matching(namespace: str, selector: JsonObject) -> list[JsonObject]:
        assert namespace == "default"
        return [pod for pod in pods if label_selector_matches(selector, strings_at(pod, "metadata", "labels"))]

    return Placed(
        matching=matching,
        node_of=lambda pod: str_at(pod, "spec", "nodeName"),
        siblings=lambda node, owner: sum(
            1 for pod in pods if str_at(pod, "spec", "nodeName") == node and controller_uid(pod) == owner
        ),
    )


def _requests(**amounts: str) -> list[JsonValue]:
    return [{"name": "main", "resources": {"requests": dict[str, JsonValue](amounts)}}]


def _outcome(
    pod: JsonObject, nodes: Mapping[str, NodeLoad], others: Iterable[JsonObject] = ()
) -> tuple[list[str], str]:
    """Names of the nodes that fit, and the sentence when none does."""
    fitting, reasons = candidates(pod, nodes, _placed(others))
    return [node.name for node in fitting], "" if fitting else explanation(len(nodes), reasons)


def _node_affinity(key: str, operator: str, *values: str) -> JsonObject:
    expression: JsonObject = {"key": key, "operator": operator, "values": list(values)}
    terms: JsonObject = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def _pod_term(which: str, key: str, app: str = "web") -> JsonObject:
    term: JsonObject = {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}
    return {which: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


ALL = ["node-1", "node-2", "node-3"]
NO_MATCH = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."


@pytest.mark.parametrize(
    ("spec", "fitting", "why"),
    [
        pytest.param({}, ALL, "", id="a pod that asks for nothing"),
        pytest.param({"nodeSelector": {HOST: "node-2"}}, ["node-2"], "", id="a node selector"),
        pytest.param({"nodeSelector": {"disk": "ssd"}}, [], NO_MATCH, id="a label that no node has"),
        pytest.param(
            {"affinity": _node_affinity(ZONE, "In", "zone-a", "zone-c")},
            ["node-1", "node-3"],
            "",
            id="zones by affinity",
        ),
        pytest.param({"affinity": _node_affinity(ZONE, "NotIn", "zone-a")}, ALL[1:], "", id="every zone but one"),
        pytest.param({"affinity": _node_affinity("gpu", "Exists")}, [], NO_MATCH, id="a label that must exist"),
        pytest.param(
            {"containers": _requests(cpu="33")},
            [],
            "0/3 nodes are available: 3 Insufficient cpu.",
            id="more cpu than a node has",
        ),
        pytest.param(
            {"containers": _requests(memory="200Gi")},
            [],
            "0/3 nodes are available: 3 Insufficient memory.",
            id="more memory than a node has",
        ),
        pytest.param({"containers": _requests(cpu="32", memory="128Gi")}, ALL, "", id="exactly a node"),
        pytest.param(
            {"containers": _requests(**{"example.com/gpu": "1"})},
            [],
            "0/3 nodes are available: 3 Insufficient example.com/gpu.",
            id="a resource that nodes don't have",
        ),
    ],
)
def test_nodes_that_fit_an_empty_cluster(spec: JsonObject, fitting: list[str], why: str) -> None:
    pod = _pod()
    pod["spec"] = {**object_at(pod, "spec"), **spec}
    assert _outcome(pod, _nodes()) == (fitting, why)


@pytest.mark.parametrize(
    ("tolerations", "fits"),
    [
        pytest.param([], False, id="no toleration"),
        pytest.param([{"operator": "Exists"}], True, id="everything is tolerated"),
        pytest.param([{"key": "dedicated", "operator": "Exists"}], True, id="the key"),
        pytest.param([{"key": "dedicated", "value": "db", "effect": "NoSchedule"}], True, id="key, value and effect"),
        pytest.param([{"key": "dedicated", "value": "web"}], False, id="another value"),
        pytest.param([{"key": "dedicated", "value": "db", "effect": "NoExecute"}], False, id="another effect"),
    ],
)
def test_taints(tolerations: list[JsonValue], fits: bool) -> None:
    taint: JsonObject = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    nodes = _nodes(1, NodeShape(name="", taints=(taint,)))
    sentence = "0/1 nodes are available: 1 node(s) had untolerated taint {dedicated: db}."
    assert _outcome(_pod(tolerations=tolerations), nodes) == ((["node-1"], "") if fits else ([], sentence))


def test_a_cordoned_node_takes_only_what_tolerates_it() -> None:
    nodes = _nodes(1)
    nodes["node-1"].document = {**nodes["node-1"].document, "spec": {"unschedulable": True}}
    assert _outcome(_pod(), nodes) == ([], "0/1 nodes are available: 1 node(s) were unschedulable.")
    tolerant: JsonObject = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}
    assert _outcome(_pod(tolerations=[tolerant]), nodes) == (["node-1"], "")


def test_what_is_taken_counts() -> None:
    nodes = _nodes()
    nodes["node-1"].used["cpu"] = 31_500
    nodes["node-2"].pods = 250
    nodes["node-3"].ports["TCP", 9100] = 1
    port: JsonObject = {"containerPort": 9100, "hostPort": 9100}
    pod = _pod(containers=[{"name": "main", "resources": {"requests": {"cpu": "1"}}, "ports": [port]}])
    assert _outcome(pod, nodes) == (
        [],
        "0/3 nodes are available: 1 Insufficient cpu, 1 Too many pods, "
        "1 node(s) didn't have free ports for the requested pod ports.",
    )


@pytest.mark.parametrize(
    ("affinity", "others", "fitting"),
    [
        pytest.param(
            _pod_term("podAntiAffinity", HOST), {"a": "node-1"}, ["node-2", "node-3"], id="not beside its like"
        ),
        pytest.param(
            _pod_term("podAntiAffinity", HOST), dict(zip("abc", ALL, strict=True)), [], id="its like everywhere"
        ),
        pytest.param(_pod_term("podAntiAffinity", HOST, "db"), {"a": "node-1"}, ALL, id="anti-affinity to others"),
        pytest.param(_pod_term("podAffinity", ZONE), {"a": "node-2"}, ["node-2"], id="in the zone of its like"),
        pytest.param(_pod_term("podAffinity", ZONE), {}, ALL, id="the first of its kind"),
        pytest.param(_pod_term("podAffinity", ZONE, "db"), {"a": "node-2"}, [], id="beside others that aren't there"),
    ],
)
def test_affinity_between_pods(affinity: JsonObject, others: dict[str, str], fitting: list[str]) -> None:
    found, _ = _outcome(_pod(affinity=affinity), _nodes(), [_pod(name, node) for name, node in others.items()])
    assert found == fitting


@pytest.mark.parametrize(
    ("others", "skew", "fitting"),
    [
        pytest.param([], 1, ALL, id="nothing there"),
        pytest.param(["node-1"], 1, ["node-2", "node-3"], id="one zone is ahead"),
        pytest.param(["node-1"], 2, ALL, id="a wider skew"),
        pytest.param(["node-1", "node-2"], 1, ["node-3"], id="one zone is behind"),
        pytest.param(ALL, 1, ALL, id="even again"),
    ],
)
def test_spread_over_zones(others: list[str], skew: int, fitting: list[str]) -> None:
    constraint: JsonObject = {
        "maxSkew": skew,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    pods = [_pod(f"old-{n}", node) for n, node in enumerate(others)]
    assert _outcome(_pod(topologySpreadConstraints=[constraint]), _nodes(), pods)[0] == fitting


CONTROL_PLANE: JsonObject = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("policy", "taken_away", "fitting"),
    [
        pytest.param({}, {"taints": [CONTROL_PLANE]}, [], id="a tainted host is waited for"),
        pytest.param({"nodeTaintsPolicy": "Ignore"}, {"taints": [CONTROL_PLANE]}, [], id="as is said by Ignore"),
        pytest.param({"nodeTaintsPolicy": "Honor"}, {"taints": [CONTROL_PLANE]}, ["node-1", "node-2"], id="or not"),
        pytest.param({"nodeTaintsPolicy": "Honor"}, {"unschedulable": True}, ["node-1", "node-2"], id="nor a cordoned"),
    ],
)
def test_a_third_pod_on_two_hosts_that_take_it(policy: JsonObject, taken_away: JsonObject, fitting: list[str]) -> None:
    nodes = _nodes()
    nodes["node-3"].document = {**nodes["node-3"].document, "spec": taken_away}
    constraint: JsonObject = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
        **policy,
    }
    others = [_pod("a", "node-1"), _pod("b", "node-2")]
    assert _outcome(_pod(topologySpreadConstraints=[constraint]), nodes, others)[0] == fitting


def test_a_spread_that_may_be_broken_only_steers() -> None:
    constraint: JsonObject = {
        "maxSkew": 1,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    pod, nodes = _pod(topologySpreadConstraints=[constraint]), _nodes()
    placed = _placed([_pod("a", "node-1"), _pod("b", "node-2")])
    fitting, _ = candidates(pod, nodes, placed)
    assert [node.name for node in fitting] == ALL
    assert best(pod, fitting, nodes, placed).name == "node-3"


def test_without_a_reason_to_choose_the_least_loaded_node_is_taken() -> None:
    nodes = _nodes()
    nodes["node-1"].used["memory"] = nodes["node-3"].used["memory"] = 1000
    assert best(_pod(), list(nodes.values()), nodes, _placed()).name == "node-2"


def test_siblings_are_kept_apart() -> None:
    owner: JsonObject = {"kind": "ReplicaSet", "name": "web", "uid": "set", "controller": True}
    nodes, pod, there = _nodes(), _pod(), _pod("a", "node-1")
    for one in (pod, there):
        object_at(one, "metadata")["ownerReferences"] = [owner]
    nodes["node-2"].used["memory"] = nodes["node-3"].used["memory"] = 1000
    assert best(pod, list(nodes.values()), nodes, _placed([there])).name == "node-2"


def test_requests_are_the_containers_or_the_largest_init_container() -> None:
    pod = _pod(
        containers=[*_requests(cpu="500m", memory="1Gi"), *_requests(cpu="1")],
        initContainers=[
            {"name": "a", "resources": {"requests": {"cpu": "2"}}},
            {"name": "b", "resources": {"requests": {"memory": "512Mi"}}},
            {"name": "c", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
        ],
    )
    assert requests_of(pod) == {"cpu": 2000, "memory": 1024**3 * 1000}
