"""What the fleet keeps of node labels and providers, and that a large fleet stays a small fact."""

from __future__ import annotations

import msgspec
import pytest

from tapio_shared.facts import FleetObserved
from tapio_shared.json import JsonObject
from tapio_watcher.fleet import fleet_of, seen_node
from tapio_watcher.node_labels import MAX_GROUPS, without_distinguishing


def node(
    labels: dict[str, str], *, kernel: str = "6.1.0", kubelet: str = "v1.31.0", taint: str = "", name: str = "n"
) -> JsonObject:
    return {
        "metadata": {"name": name, "labels": {**labels}},
        "spec": {"taints": [{"key": taint, "effect": "NoSchedule"}]} if taint else {},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {
                "kernelVersion": kernel,
                "architecture": "amd64",
                "osImage": "Debian",
                "kubeletVersion": kubelet,
                "containerRuntimeVersion": "containerd://2.0.1",
            },
        },
    }


def fleet(nodes: list[JsonObject]) -> FleetObserved:
    return fleet_of(
        [seen_node(one) for one in nodes],
        storage_classes=[],
        namespaces=[],
        priority_classes=[],
        allowed_namespaces=[],
        now=1,
    )


def test_a_large_fleet_is_a_small_fact() -> None:
    nodes = [
        node(
            {
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": f"n{number}",
                "eks.amazonaws.com/nodegroup": f"pool-{number % 40}",
                "node.kubernetes.io/instance-type": f"m{number % 40}",
                "example.org/rack": f"r{number}",
                "alpha.eksctl.io/instance-id": f"i-{number}",
                "feature.node.kubernetes.io/cpu-model.id": "7",
                "disk": "ssd" if number % 2 else "hdd",
                **{f"example.org/{number}-{index}": "" for index in range(3)},
            },
            kernel="5.4.0" if number % 40 == 7 else "6.1.0",
            name=f"n{number}",
        )
        for number in range(520)
    ]
    fact = fleet(nodes)
    assert len(fact.groups) <= 56, "40 kinds of nodes, and what is left of labels of single ones"
    assert sum(group.count for group in fact.groups) == 520
    assert len(msgspec.json.encode(fact)) < 50_000
    assert fact.dropped_labels == ["*"], "1,560 keys are too many to be named"
    assert fact.groups[0].labels.keys() >= {"disk", "eks.amazonaws.com/nodegroup", "kubernetes.io/arch"}
    assert not {"kubernetes.io/hostname", "example.org/rack"} & fact.groups[0].labels.keys()


def test_dropped_labels_are_named() -> None:
    nodes = [
        node({"kubernetes.io/hostname": f"n{number}", "rack": f"r{number}", "disk": "ssd"}) for number in range(30)
    ]
    fact = fleet(nodes)
    assert [(group.count, group.labels) for group in fact.groups] == [(30, {"disk": "ssd"})]
    assert fact.dropped_labels == ["kubernetes.io/hostname", "rack"]


def test_labels_give_way_before_groups_become_many() -> None:
    nodes = [
        {"tapio.io/rack": f"r{number}", "node.kubernetes.io/instance-type": f"t{number % 30}", "a": str(number % 9)}
        for number in range(400)
    ]
    labels, dropped = without_distinguishing(nodes)
    assert dropped == ["a", "tapio.io/rack"], "what nothing is known about first, then what has the most values"
    assert len({tuple(one.items()) for one in labels}) == 30 <= MAX_GROUPS


@pytest.mark.parametrize(
    ("one", "platform", "virtual"),
    [
        pytest.param(node({"eks.amazonaws.com/nodegroup": "a"}), "eks", False, id="EKS node group"),
        pytest.param(node({}, kubelet="v1.29.0-eks-5e0fdde"), "eks", False, id="EKS without node group"),
        pytest.param(node({"eks.amazonaws.com/compute-type": "fargate"}), "eks", True, id="Fargate"),
        pytest.param(node({"cloud.google.com/gke-nodepool": "a"}), "gke", False, id="GKE"),
        pytest.param(node({"kubernetes.azure.com/cluster": "a"}), "aks", False, id="AKS"),
        pytest.param(
            node({"type": "virtual-kubelet", "kubernetes.azure.com/cluster": "a"}), "aks", True, id="Azure containers"
        ),
        pytest.param(node({}, taint="virtual-kubelet.io/provider"), "", True, id="virtual by its taint"),
        pytest.param(node({}, kubelet="v1.19.10-vk-azure-aci-v1.4.8"), "", True, id="virtual by its version"),
        pytest.param(
            node({"hypershift.openshift.io/nodePool": "a", "node.openshift.io/os_id": "rhcos"}),
            "hypershift",
            False,
            id="hosted OpenShift",
        ),
        pytest.param(node({"node.openshift.io/os_id": "rhcos"}), "openshift", False, id="OpenShift"),
        pytest.param(node({}, kubelet="v1.30.1+k3s1"), "k3s", False, id="k3s"),
        pytest.param(node({}), "", False, id="nothing is told"),
    ],
)
def test_what_a_node_tells_of_its_platform(one: JsonObject, platform: str, virtual: bool) -> None:
    group = seen_node(one).group
    assert (group.platform, group.virtual, group.runtime) == (platform, virtual, "containerd")
