"""Where node agents go on a fleet: who is left out, by which label, and that a template hardly ever changes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from tapio_reconciler.core.model import Rendered, Skipped
from tapio_shared.facts import FleetObserved, NodeGroup
from tapio_shared.json import JsonObject, list_at, object_at, objects_at, str_at, strings_at
from tests.support.planned_world import FLEET
from tests.support.rendered import objects_of, rendered

GOOD = NodeGroup(
    count=5, ready=5, architecture="amd64", kernel="6.1.0", os_image="Debian GNU/Linux 12", labels={"pool": "new"}
)


SAYS = "Can't be observed: "


def group(**changes: object) -> NodeGroup:
    return msgspec.structs.replace(GOOD, **changes)


def fleet(*groups: NodeGroup, dropped: Sequence[str] | None = ()) -> FleetObserved:
    return msgspec.structs.replace(FLEET, groups=list(groups), dropped_labels=None if dropped is None else [*dropped])


def cluster(**collectors: object) -> JsonObject:
    document: JsonObject = {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioCluster",
        "metadata": {"name": "any", "namespace": "some"},
    }
    return {**document, "spec": {"collectors": {**collectors}}}  # type: ignore[dict-item]


def agent(found: Rendered) -> JsonObject | None:
    agents = [one for one in objects_of(found) if str_at(one, "kind") == "DaemonSet"]
    return object_at(agents[0], "spec", "template") if agents else None


def excluded(found: Rendered) -> dict[str, list[object]]:
    """Label -> values that the one node agent stays away from, without what is always excluded."""
    template = agent(found)
    terms = objects_at(
        template, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
    )  # fmt: skip
    assert len(terms) == 1
    always = {"eks.amazonaws.com/compute-type", "liqo.io/type", "type", "kubernetes.io/arch"}
    return {
        str_at(one, "key"): [*list_at(one, "values")]
        for one in objects_at(terms[0], "matchExpressions")
        if str_at(one, "key") not in always and not str_at(one, "key").startswith("tapio.io/")
    }


def told(found: Rendered) -> list[tuple[str, int, dict[str, str], str]]:
    """What status.skipped says; groups of nodes are all introduced alike."""
    assert all(one.message.startswith(SAYS) for one in found.skipped if one.nodes)
    return [
        (str(one.reason), one.nodes, dict(one.node_selector), one.message.removeprefix(SAYS)) for one in found.skipped
    ]


OLD = group(count=7, kernel="5.4.0", labels={"pool": "old"})


@pytest.mark.parametrize(
    ("others", "labels", "skipped"),
    [
        pytest.param(
            [OLD],
            {"pool": ["old"]},
            [("KernelTooOld", 7, {"pool": "old"}, "7 nodes with Linux 5.4.0; eBPF collection needs 5.8 or newer.")],
            id="an old kernel, by the label of its pool",
        ),
        pytest.param(
            [group(count=1, kernel="5.4.0", labels={"pool": "new", "node.kubernetes.io/instance-type": "m4"})],
            {"node.kubernetes.io/instance-type": ["m4"]},
            [
                (
                    "KernelTooOld",
                    1,
                    {"node.kubernetes.io/instance-type": "m4"},
                    "1 node with Linux 5.4.0; eBPF collection needs 5.8 or newer.",
                )
            ],
            id="by the instance type when the pool is shared",
        ),
        pytest.param(
            [OLD, group(count=2, kernel="4.19.0", zone="b", labels={"pool": "ancient"})],
            {"pool": ["ancient", "old"]},
            [
                ("KernelTooOld", 7, {"pool": "old"}, "7 nodes with Linux 5.4.0; eBPF collection needs 5.8 or newer."),
                (
                    "KernelTooOld",
                    2,
                    {"pool": "ancient"},
                    "2 nodes with Linux 4.19.0; eBPF collection needs 5.8 or newer.",
                ),
            ],
            id="two pools",
        ),
        pytest.param(
            [group(count=2, architecture="s390x", labels={})],
            {},
            [
                (
                    "ArchitectureUnsupported",
                    2,
                    {"kubernetes.io/arch": "s390x"},
                    "2 nodes with the architecture s390x; the collector runs on amd64 and arm64 alone.",
                )
            ],
            id="an architecture",
        ),
        pytest.param(
            [group(count=3, os="windows", labels={"kubernetes.io/os": "windows"})],
            {},
            [
                (
                    "NoEligibleNodes",
                    3,
                    {"kubernetes.io/os": "windows"},
                    "3 nodes with windows; the collector runs on Linux alone.",
                )
            ],
            id="Windows",
        ),
        pytest.param(
            [group(count=9, virtual=True, labels={"eks.amazonaws.com/compute-type": "fargate"})],
            {},
            [
                (
                    "NoEligibleNodes",
                    9,
                    {"eks.amazonaws.com/compute-type": "fargate"},
                    "9 nodes without a machine of their own; their pods run elsewhere, so no agent sees "
                    "their kernel.",
                )
            ],
            id="Fargate",
        ),
        pytest.param(
            [group(count=4, btf_label="false", labels={"pool": "new", "tapio.io/btf": "false"})],
            {},
            [
                (
                    "KernelTooOld",
                    4,
                    {"tapio.io/btf": "false"},
                    "4 nodes without BTF (label tapio.io/btf), which eBPF needs.",
                )
            ],
            id="labelled as without BTF",
        ),
        pytest.param(
            [group(count=4, os_image="Home-made Linux", btf_label="true", labels={"tapio.io/btf": "true"})],
            {},
            [],
            id="labelled as with BTF",
        ),
        pytest.param(
            [group(count=4, os_image="Home-made Linux", labels={"pool": "mine"})],
            {"pool": ["mine"]},
            [
                (
                    "BtfUnknown",
                    4,
                    {"pool": "mine"},
                    "4 nodes with Linux 6.1.0 of Home-made Linux; whether it has BTF can't be told. Label them "
                    "tapio.io/btf=true to have them observed, or tapio.io/btf=false.",
                )
            ],
            id="BTF unknown",
        ),
        pytest.param(
            [group(count=4, labels={"tapio.io/ebpf": "false"})], {}, [], id="somebody's choice is not skipped"
        ),
    ],
)  # fmt: skip
def test_who_is_left_out_and_by_which_label(
    others: list[NodeGroup], labels: dict[str, list[object]], skipped: list[tuple[str, int, dict[str, str], str]]
) -> None:
    found = rendered(cluster(ebpf=True), fleet=fleet(GOOD, *others))
    assert excluded(found) == labels
    assert told(found) == skipped
    assert [one for one in found.notices if "Collector" in one.message] == []


def test_nodes_that_no_label_tells_apart_come_with_the_command_to_type() -> None:
    found = rendered(cluster(ebpf=True), fleet=fleet(GOOD, group(count=2, kernel="5.4.0-1")))
    assert excluded(found) == {}
    message = (
        "2 nodes with Linux 5.4.0-1; eBPF collection needs 5.8 or newer. Their labels are those of nodes that can be "
        "observed, so pods are started there too. Label them: kubectl get nodes -o "
        'jsonpath=\'{range .items[?(@.status.nodeInfo.kernelVersion=="5.4.0-1")]}{.metadata.name}{"\\n"}{end}\' | '
        "xargs -I NODE kubectl label node NODE tapio.io/ebpf=false"
    )
    assert told(found) == [("KernelTooOld", 2, {}, message)]
    assert [one.message for one in found.notices if one.reason == "KernelTooOld"] == [
        f"Collector ebpf: {SAYS}{message}"
    ]


def test_no_node_at_all_that_could_be_observed() -> None:
    found = rendered(cluster(ebpf=True), fleet=fleet(OLD))
    assert agent(found) is None
    assert told(found) == [
        (
            "KernelTooOld",
            7,
            {"pool": "old"},
            "7 nodes with Linux 5.4.0; eBPF collection needs 5.8 or newer.",
        )
    ]


@pytest.mark.parametrize(
    ("selector", "dropped", "runs"),
    [
        pytest.param({"pool": "new"}, [], True, id="nodes have it"),
        pytest.param({"pool": "old"}, [], False, id="only nodes that can't be observed have it"),
        pytest.param({"disk": "ssd"}, [], False, id="no node has it"),
        pytest.param({"disk": "ssd"}, ["disk"], True, id="nobody knows who has it"),
        pytest.param({"disk": "ssd"}, ["*"], True, id="too many labels to know"),
        pytest.param({"disk": "ssd"}, None, True, id="an older fact does not tell"),
        pytest.param({"pool": "other"}, None, False, id="a label that is known has another value"),
    ],
)
def test_a_node_selector_is_judged_by_what_is_known(
    selector: dict[str, str], dropped: list[str] | None, runs: bool
) -> None:
    found = rendered(cluster(ebpf={"nodeSelector": selector}), fleet=fleet(GOOD, OLD, dropped=dropped))
    assert (agent(found) is not None) is runs
    if not runs and selector != {"pool": "old"}:
        label = next(f"{key}={value}" for key, value in selector.items())
        assert told(found) == [
            (
                "NoEligibleNodes",
                0,
                {},
                f"Collector ebpf is wanted on nodes with the labels {label}, and no node on which it can work has "
                f"them. Look with: kubectl get nodes -l {label}",
            )
        ]


def test_systemd_stays_away_from_images_without_it() -> None:
    talos = group(count=3, os_image="Talos (v1.9.0)", labels={"pool": "talos"})
    found = rendered(cluster(systemd=True), fleet=fleet(GOOD, talos))
    assert excluded(found) == {"pool": ["talos"]}
    assert told(found) == [
        (
            "NoEligibleNodes",
            3,
            {"pool": "talos"},
            "3 nodes with Talos (v1.9.0), which has no systemd.",
        )
    ]


def test_many_groups_are_a_short_list() -> None:
    groups = [group(count=2, kernel=f"5.4.{number}", labels={"pool": f"old-{number}"}) for number in range(40)]
    found = rendered(cluster(ebpf=True), fleet=fleet(GOOD, *groups))
    assert len(excluded(found)["pool"]) == 40
    entries: Sequence[Skipped] = found.skipped
    assert (len(entries), sum(one.nodes for one in entries)) == (21, 80)
    assert entries[-1].message == f"{SAYS}40 nodes of smaller groups, for the same reason."


@pytest.mark.parametrize(
    ("kernel", "capabilities"),
    [
        pytest.param("6.1.0", ["BPF", "PERFMON"], id="memory is accounted to the cgroup"),
        pytest.param("5.11.0", ["BPF", "PERFMON"], id="the first such kernel"),
        pytest.param("5.10.200", ["BPF", "PERFMON", "SYS_RESOURCE"], id="memory is limited by a ulimit"),
    ],
)
def test_sys_resource_only_where_kernels_need_it(kernel: str, capabilities: list[str]) -> None:
    template = agent(rendered(cluster(ebpf=True), fleet=fleet(group(kernel=kernel))))
    container = objects_at(template, "spec", "containers")[0]
    assert list_at(container, "securityContext", "capabilities", "add") == capabilities


def test_without_any_fact_of_nodes_nobody_is_left_out_and_old_kernels_work() -> None:
    found = rendered(cluster(ebpf=True), fleet=None)
    template = agent(found)
    container = objects_at(template, "spec", "containers")[0]
    assert list_at(container, "securityContext", "capabilities", "add") == ["BPF", "PERFMON", "SYS_RESOURCE"]
    assert "tapio.io/fleet" not in strings_at(template, "metadata", "annotations")
    assert found.skipped == ()


@pytest.mark.parametrize(
    ("platform", "paths"),
    [
        pytest.param("", ["/etc/cni/net.d", "/opt/cni/bin"], id="usual"),
        pytest.param("eks", ["/etc/cni/net.d", "/opt/cni/bin"], id="EKS"),
        pytest.param("gke", ["/etc/cni/net.d", "/home/kubernetes/bin"], id="GKE, whose /opt is read-only"),
        pytest.param("openshift", ["/etc/kubernetes/cni/net.d", "/var/lib/cni/bin"], id="OpenShift"),
        pytest.param(
            "k3s", ["/var/lib/rancher/k3s/agent/etc/cni/net.d", "/var/lib/rancher/k3s/data/cni"], id="k3s"
        ),
    ],
)  # fmt: skip
def test_cni_files_are_where_the_platform_has_them(platform: str, paths: list[str]) -> None:
    template = agent(rendered(cluster(cni=True), fleet=fleet(group(platform=platform))))
    volumes = {str_at(one, "name"): str_at(one, "hostPath", "path") for one in objects_at(template, "spec", "volumes")}
    assert [volumes["cni-config"], volumes["cni-bin"]] == paths
    mounts = objects_at(template, "spec", "containers", 0, "volumeMounts")
    assert {str_at(one, "mountPath") for one in mounts} >= {"/etc/cni/net.d", "/opt/cni/bin", "/var/run/netns"}


def test_an_affinity_of_the_spec_does_not_let_left_out_nodes_in() -> None:
    terms: list[object] = [
        {"matchExpressions": [{"key": "pool", "operator": "Exists"}]},
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]},
    ]
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}},
        "podAntiAffinity": {},
    }
    template = agent(rendered(cluster(ebpf={"affinity": affinity}), fleet=fleet(GOOD, OLD)))
    found = objects_at(
        template, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
    )  # fmt: skip
    assert len(found) == 2
    for term in found:
        last = objects_at(term, "matchExpressions")[-1]
        assert last == {"key": "pool", "operator": "NotIn", "values": ["old"]}
    assert str_at(found[0], "matchExpressions", 0, "operator") == "Exists"
    assert list_at(found[1], "matchFields") == [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]
    assert object_at(template, "spec", "affinity")["podAntiAffinity"] == {}


@pytest.mark.parametrize(
    ("groups", "reason", "message"),
    [
        pytest.param(
            [group(platform="eks")],
            "ManagedControlPlane",
            "The control plane is run by the provider (Amazon EKS), so its etcd can't be reached.",
            id="EKS",
        ),
        pytest.param(
            [group(platform="hypershift")],
            "ManagedControlPlane",
            "The control plane is run by the provider (OpenShift with a hosted control plane), so its etcd can't be "
            "reached.",
            id="hosted OpenShift",
        ),
        pytest.param(
            [group()],
            "ManagedControlPlane",
            "The control plane is run by the provider (none of its nodes is to be seen), so its etcd can't be reached.",
            id="an unknown provider",
        ),
        pytest.param(
            [group(platform="openshift"), group(control_plane=True)],
            "EtcdAccessNotConfigured",
            "Collector etcd has no endpoints and no credentialsSecretRef; without them it is left out.",
            id="a control plane of one's own",
        ),
        pytest.param(
            [],
            "EtcdAccessNotConfigured",
            "Collector etcd has no endpoints and no credentialsSecretRef; without them it is left out.",
            id="no nodes yet",
        ),
    ],
)
def test_why_etcd_is_not_observed(groups: list[NodeGroup], reason: str, message: str) -> None:
    assert told(rendered(cluster(etcd=True), fleet=fleet(*groups))) == [(reason, 0, {}, message)]
