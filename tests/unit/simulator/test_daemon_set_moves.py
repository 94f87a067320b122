"""On which nodes a DaemonSet runs, and how it goes from one template to the next."""

from __future__ import annotations

import pytest

from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at
from tapio_simulator.controllers.placements import moves, node_of, pinned, report_of, with_tolerations
from tapio_simulator.kubelet.nodes import build_node
from tapio_simulator.kubelet.settings import fleet
from tests.support.workloads import template, workload

OLD, NEW = "agent-old", "agent-new"


def _set(spec: JsonObject | None = None, **fields: JsonValue) -> JsonObject:
    document = workload("DaemonSet", "agent", template("agent", spec), **fields)
    object_at(document, "metadata").update({"namespace": "default", "uid": "agent", "generation": 1})
    return document


def _nodes(**taints: str) -> dict[str, JsonObject]:
    """Three nodes; `node_1="NoSchedule"` gives one a taint of that effect."""
    nodes = {shape.name: build_node(shape, index) for index, shape in enumerate(fleet(3))}
    for name, effect in taints.items():
        object_at(nodes[name.replace("_", "-")], "spec")["taints"] = [{"key": "gpu", "value": "yes", "effect": effect}]
    return nodes


def _pod(number: int, revision: str = NEW, *, ready: bool = True, **metadata: JsonValue) -> JsonObject:
    return {
        "metadata": {
            "name": f"agent-{number}",
            "namespace": "default",
            "labels": {"controller-revision-hash": revision.removeprefix("agent-")},
            "ownerReferences": [{"controller": True, "uid": "agent"}],
            **metadata,
        },
        "spec": {"nodeName": f"node-{number}"},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


ALL = [_pod(1), _pod(2), _pod(3)]
AGED = [_pod(1, OLD), _pod(2, OLD), _pod(3, OLD)]


SURGING = _set(updateStrategy={"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}})


@pytest.mark.parametrize(
    ("workload", "nodes", "pods", "create", "delete"),
    [
        pytest.param(_set(), _nodes(), [], ["node-1", "node-2", "node-3"], [], id="one on every node"),
        pytest.param(_set(), _nodes(), ALL, [], [], id="done"),
        pytest.param(
            _set({"nodeSelector": {"kubernetes.io/hostname": "node-2"}}),
            _nodes(),
            ALL,
            [],
            ["agent-1", "agent-3"],
            id="a node that does not suit any more loses its pod",
        ),
        pytest.param(_set(), _nodes(node_1="NoSchedule"), [], ["node-2", "node-3"], [], id="a taint keeps pods away"),
        pytest.param(_set(), _nodes(node_1="NoSchedule"), ALL, [], [], id="but lets those there stay"),
        pytest.param(_set(), _nodes(node_1="NoExecute"), ALL, [], ["agent-1"], id="unless it drives them away"),
        pytest.param(
            _set({"tolerations": [{"operator": "Exists"}]}),
            _nodes(node_1="NoExecute"),
            [],
            ["node-1", "node-2", "node-3"],
            [],
            id="who tolerates all taints runs everywhere",
        ),
        pytest.param(_set(), _nodes(), AGED, [], ["agent-1"], id="an update replaces one at a time"),
        pytest.param(
            _set(updateStrategy={"rollingUpdate": {"maxUnavailable": "50%"}}),
            _nodes(),
            AGED,
            [],
            ["agent-1", "agent-2"],
            id="or as many as may be away, rounded up",
        ),
        pytest.param(
            _set(), _nodes(), [_pod(1, ready=False), _pod(2, OLD), _pod(3, OLD)], [], [], id="and waits for each"
        ),
        pytest.param(
            _set(),
            _nodes(),
            [_pod(1, OLD), _pod(2, OLD, ready=False), _pod(3, OLD)],
            [],
            ["agent-2"],
            id="what is not available anyway goes first",
        ),
        pytest.param(_set(updateStrategy={"type": "OnDelete"}), _nodes(), AGED, [], [], id="on delete nothing goes"),
        pytest.param(SURGING, _nodes(), AGED, ["node-1"], [], id="with a surge the new one comes first"),
        pytest.param(
            SURGING,
            _nodes(),
            [*AGED, _pod(1, name="new-1", ready=False)],
            [],
            [],
            id="the old one stays while the new one is not available",
        ),
        pytest.param(
            SURGING, _nodes(), [*AGED, _pod(1, name="new-1")], [], ["agent-1"], id="and goes as soon as it is"
        ),
        pytest.param(
            SURGING,
            _nodes(),
            [_pod(1), _pod(2, OLD), _pod(3, OLD, ready=False)],
            ["node-3", "node-2"],
            [],
            id="beside what is not available it comes at once",
        ),
    ],
)
def test_moves(
    workload: JsonObject, nodes: dict[str, JsonObject], pods: list[JsonObject], create: list[str], delete: list[str]
) -> None:
    found = moves(workload, nodes, pods, NEW, 0)

    assert list(found.create) == create
    assert [object_at(pod, "metadata")["name"] for pod in found.delete] == delete


def test_a_pod_is_pinned_to_its_node_before_it_is_scheduled() -> None:
    spec = pinned({}, "node-2")

    assert node_of({"spec": spec}) == "node-2"
    own: JsonObject = {
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]
                }
            }
        }
    }
    required = object_at(
        pinned(own, "node-2"), "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"
    )
    assert objects_at(required, "nodeSelectorTerms") == [
        {
            "matchExpressions": [{"key": "a", "operator": "Exists"}],
            "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-2"]}],
        }
    ]


def test_every_pod_tolerates_the_troubles_of_its_node() -> None:
    keys = {str_at(one, "key") for one in objects_at(with_tolerations({}), "tolerations")}

    assert keys == {
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
        "node.kubernetes.io/disk-pressure",
        "node.kubernetes.io/memory-pressure",
        "node.kubernetes.io/pid-pressure",
        "node.kubernetes.io/unschedulable",
    }


def test_status() -> None:
    pods = [_pod(1), _pod(2, OLD), _pod(3, ready=False)]

    assert report_of(_set(), _nodes(), pods, NEW, 0).status == {
        "currentNumberScheduled": 3,
        "desiredNumberScheduled": 3,
        "numberMisscheduled": 0,
        "numberReady": 2,
        "observedGeneration": 1,
        "updatedNumberScheduled": 2,
        "numberAvailable": 2,
        "numberUnavailable": 1,
    }
