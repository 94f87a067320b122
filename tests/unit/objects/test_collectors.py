"""The objects of collectors: what they may, what they see of a node, and how they are replaced."""

from __future__ import annotations

from typing import cast

import pytest

from tapio_reconciler.core.model import Component
from tapio_shared.json import JsonObject, JsonValue, at, list_at, object_at, objects_at, str_at, strings_at
from tests.support.planned_world import discovery
from tests.support.rendered import context_of, rendered_in

ETCD: JsonObject = {"endpoints": ["https://10.0.0.1:2379"], "credentialsSecretRef": {"name": "etcd-client"}}


def collector(kind: str, fields: JsonObject | None = None, *, version: str = "v1.31.0", **spec: object) -> Component:
    """One collector of a TapioCluster in a trusted namespace."""
    own: JsonObject = {**(ETCD if kind == "etcd" else {}), **(fields or {})}
    document: JsonObject = {
        "metadata": {"name": "c", "namespace": "tapio-system"},
        "spec": {**cast("JsonObject", spec), "collectors": {kind: own}},
    }
    found = rendered_in(context_of(document, discovered=discovery(version=version)))
    return next(one for one in found.components if one.name == kind)


def of_kind(component: Component, *kinds: str) -> list[JsonObject]:
    return [one for one in component.objects if str_at(one, "kind") in kinds]


def workload(component: Component) -> JsonObject:
    return of_kind(component, "DaemonSet", "Deployment")[0]


def pod(component: Component) -> JsonObject:
    return object_at(workload(component), "spec", "template", "spec")


def container(component: Component) -> JsonObject:
    return objects_at(pod(component), "containers")[0]


@pytest.mark.parametrize(
    ("kind", "level", "capabilities"),
    [
        pytest.param("ebpf", "least", ["BPF", "PERFMON"], id="eBPF"),
        pytest.param(
            "ebpf", "privileged", ["BPF", "PERFMON", "SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN"], id="eBPF, all of it"
        ),
        pytest.param("systemd", "least", [], id="systemd"),
        pytest.param("systemd", "privileged", ["DAC_READ_SEARCH"], id="systemd, all of it"),
        pytest.param("cni", "least", [], id="CNI"),
        pytest.param("cni", "privileged", ["NET_ADMIN", "SYS_ADMIN"], id="CNI, all of it"),
    ],
)
def test_capabilities(kind: str, level: str, capabilities: list[str]) -> None:
    security = object_at(container(collector(kind, nodeAgents={"capabilities": level})), "securityContext")
    assert list_at(security, "capabilities", "drop") == ["ALL"]
    assert list_at(security, "capabilities", "add") == capabilities
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert "privileged" not in security


@pytest.mark.parametrize(
    ("kind", "paths", "host"),
    [
        pytest.param(
            "ebpf",
            {
                "/sys/kernel/btf": ("Directory", True),
                "/sys/fs/bpf": ("Directory", False),
                "/sys/kernel/tracing": ("Directory", True),
                "/sys/fs/cgroup": ("Directory", True),
                "/proc": ("Directory", True),
            },
            {"hostPID": True},
            id="eBPF",
        ),
        pytest.param(
            "systemd",
            {
                "/run/systemd": ("Directory", True),
                "/run/dbus": ("DirectoryOrCreate", True),
                "/run/log/journal": ("DirectoryOrCreate", True),
                "/var/log": ("Directory", True),
                "/etc/machine-id": ("File", True),
            },
            {},
            id="systemd",
        ),
        pytest.param(
            "cni",
            {
                "/etc/cni/net.d": ("DirectoryOrCreate", True),
                "/opt/cni/bin": ("DirectoryOrCreate", True),
                "/var/run/netns": ("DirectoryOrCreate", True),
            },
            {},
            id="CNI",
        ),
    ],
)
def test_what_an_agent_sees_of_its_node(
    kind: str, paths: dict[str, tuple[str, bool]], host: dict[str, JsonValue]
) -> None:
    found = collector(kind)
    mounts = {str_at(one, "name"): one for one in objects_at(container(found), "volumeMounts")}
    seen = {
        str_at(one, "hostPath", "path"): (
            str_at(one, "hostPath", "type"),
            mounts[str_at(one, "name")].get("readOnly") is True,
        )
        for one in objects_at(pod(found), "volumes")
        if "hostPath" in one
    }
    assert seen == paths
    asked = {name: pod(found)[name] for name in ("hostPID", "hostNetwork", "hostIPC") if name in pod(found)}
    assert asked == host
    assert all(str_at(one, "mountPropagation") in {"", "HostToContainer"} for one in mounts.values())


def test_nothing_is_made_on_the_disk_of_a_host() -> None:
    for kind in ("ebpf", "systemd"):
        for volume in objects_at(pod(collector(kind)), "volumes"):
            made = str_at(volume, "hostPath", "type") == "DirectoryOrCreate"
            assert not made or str_at(volume, "hostPath", "path").startswith("/run/")


@pytest.mark.parametrize("kind", ["ebpf", "systemd", "cni"])
def test_every_node_agent(kind: str) -> None:
    found = collector(kind)
    spec = pod(found)
    assert list_at(spec, "tolerations") == [{"operator": "Exists"}]
    assert spec["priorityClassName"] == "system-node-critical"
    assert spec["automountServiceAccountToken"] is False
    assert spec["terminationGracePeriodSeconds"] == 30
    assert at(spec, "securityContext", "seccompProfile", "type") == "RuntimeDefault"
    assert strings_at(spec, "nodeSelector") == {"kubernetes.io/os": "linux"}
    names = [str_at(one, "name") for one in objects_at(container(found), "env")]
    assert "NODE_NAME" in names
    assert ("HOST_PROC" in names) is (kind == "ebpf")
    assert "tapio.io/config-hash" in strings_at(workload(found), "spec", "template", "metadata", "annotations")
    assert str_at(workload(found), "metadata", "namespace") == "tapio-nodes"
    assert of_kind(found, "PodDisruptionBudget", "Role", "ClusterRole") == []


ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"


@pytest.mark.parametrize(
    ("kind", "version", "annotated", "by_field"),
    [
        pytest.param("ebpf", "v1.29.9", True, False, id="the annotation before 1.30"),
        pytest.param("ebpf", "v1.30.0-eks-1", False, True, id="the field from 1.30 on"),
        pytest.param("systemd", "v1.31.0", False, True, id="the host's bus"),
        pytest.param("cni", "v1.31.0", False, False, id="what reads files stays confined"),
        pytest.param("ebpf", "", True, False, id="an unknown version"),
    ],
)
def test_app_armor_lets_what_must_speak_to_the_host(kind: str, version: str, annotated: bool, by_field: bool) -> None:
    found = collector(kind, version=version)
    annotations = strings_at(workload(found), "spec", "template", "metadata", "annotations")
    assert (annotations.get(f"{ANNOTATION}{kind}") == "unconfined") is annotated
    assert (at(container(found), "securityContext", "appArmorProfile") == {"type": "Unconfined"}) is by_field


@pytest.mark.parametrize(
    ("given", "strategy"),
    [
        pytest.param(None, {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}}, id="default"),
        pytest.param(
            {"type": "RollingUpdate"}, {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}}, id="type"
        ),
        pytest.param({"type": "OnDelete"}, {"type": "OnDelete"}, id="by hand"),
        pytest.param(
            {"rollingUpdate": {"maxUnavailable": 3}},
            {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 3}},
            id="nodes at once",
        ),
        pytest.param(
            {"rollingUpdate": {"maxSurge": "5%"}},
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "5%", "maxUnavailable": 0}},
            id="a surge alone, beside which nothing may be unavailable",
        ),
    ],
)
def test_how_node_agents_are_replaced(given: JsonObject | None, strategy: JsonObject) -> None:
    found = collector("ebpf", {"updateStrategy": given} if given else {})
    assert object_at(workload(found), "spec", "updateStrategy") == strategy


@pytest.mark.parametrize(
    ("given", "strategy"),
    [
        pytest.param(None, {"type": "Recreate"}, id="the old one goes first"),
        pytest.param(
            {"type": "RollingUpdate"},
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            id="asked for",
        ),
        pytest.param(
            {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            id="the new one first",
        ),
    ],
)
def test_how_collectors_that_run_once_are_replaced(given: JsonObject | None, strategy: JsonObject) -> None:
    found = collector("kubernetes", {"updateStrategy": given} if given else {})
    assert object_at(workload(found), "spec", "strategy") == strategy
    assert at(workload(found), "spec", "replicas") == 1


def test_a_pod_in_the_hosts_network_still_resolves_services() -> None:
    host: JsonObject = {"podTemplate": {"spec": {"hostNetwork": True}}}
    assert pod(collector("cni", host))["dnsPolicy"] == "ClusterFirstWithHostNet"
    own: JsonObject = {"podTemplate": {"spec": {"hostNetwork": True, "dnsPolicy": "Default"}}}
    assert pod(collector("cni", own))["dnsPolicy"] == "Default"
    assert "dnsPolicy" not in pod(collector("cni"))


def test_credentials_of_etcd_are_files_for_the_collector_alone() -> None:
    found = collector("etcd")
    volume = next(one for one in objects_at(pod(found), "volumes") if str_at(one, "name") == "etcd")
    keys: list[JsonValue] = [{"key": key, "path": key} for key in ("ca.crt", "tls.crt", "tls.key")]
    assert volume["secret"] == {"secretName": "etcd-client", "defaultMode": 0o400, "items": keys}
    assert at(pod(found), "securityContext", "fsGroup") == 65532
    assert pod(found)["automountServiceAccountToken"] is False
    text = str_at(of_kind(found, "ConfigMap")[0], "data", "config.yaml")
    assert "https://10.0.0.1:2379" in text
    assert "/etc/tapio-etcd/tls.key" in text


def test_the_kubernetes_collector_reads_the_whole_cluster_by_one_role() -> None:
    found = collector("kubernetes")
    roles = of_kind(found, "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    assert [str_at(one, "kind") for one in roles] == ["ClusterRole", "ClusterRoleBinding"]
    assert {str_at(one, "metadata", "name") for one in roles} == {"tapio:tapio-system:c:kubernetes"}
    assert _resources(roles[0]) >= {"pods", "nodes", "namespaces"}
    assert "secrets" not in _resources(roles[0])
    assert pod(found)["automountServiceAccountToken"] is True


def test_limited_to_namespaces_it_reads_nothing_of_the_cluster() -> None:
    found = collector("kubernetes", {"namespaces": ["shop", "tapio-system", "shop"]})
    roles = of_kind(found, "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    assert [(str_at(one, "kind"), str_at(one, "metadata", "namespace")) for one in roles] == [
        ("Role", "shop"),
        ("RoleBinding", "shop"),
        ("Role", "tapio-system"),
        ("RoleBinding", "tapio-system"),
    ]
    assert "pods" in _resources(roles[0])
    assert not {"nodes", "namespaces", "persistentvolumes", "storageclasses"} & _resources(roles[0])
    reference: JsonObject = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": at(roles[0], "metadata", "name"),
    }
    account = str_at(of_kind(found, "ServiceAccount")[0], "metadata", "name")
    for binding in (roles[1], roles[3]):
        assert binding["roleRef"] == reference
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "tapio-system"}]
    assert "ownerReferences" not in object_at(roles[0], "metadata")
    assert "ownerReferences" in object_at(roles[2], "metadata")


@pytest.mark.parametrize("namespaces", [[], ["shop"]], ids=["everywhere", "in namespaces"])
def test_secrets_are_read_only_when_asked_for(namespaces: list[str]) -> None:
    limits: JsonObject = {"namespaces": [*namespaces]} if namespaces else {}
    without, asked = collector("kubernetes", limits), collector("kubernetes", {**limits, "watchSecrets": True})
    kind = "Role" if namespaces else "ClusterRole"
    assert _resources(of_kind(asked, kind)[0]) - _resources(of_kind(without, kind)[0]) == {"secrets"}
    for rule in objects_at(of_kind(asked, kind)[0], "rules"):
        assert list_at(rule, "verbs") == ["get", "list", "watch"]
        assert "*" not in [*list_at(rule, "resources"), *list_at(rule, "apiGroups")]


def _resources(role: JsonObject) -> set[JsonValue]:
    return {str(name) for rule in objects_at(role, "rules") for name in list_at(rule, "resources")}
