"""Outside trusted namespaces no overlay reaches the node, or acts as somebody else, through any component."""

from __future__ import annotations

import pytest

from tapio_shared.api.reasons import Reason
from tapio_shared.api.trust import Trust
from tapio_shared.api.validation import validate
from tapio_shared.json import JsonObject, JsonValue

WHERE: dict[str, tuple[str, ...]] = {
    "nats": ("nats",),
    "gateway": ("gateway",),
    "neo4j": ("intelligence", "neo4j"),
    "correlation": ("intelligence", "correlation"),
    "kubernetes": ("collectors", "kubernetes"),
    "etcd": ("collectors", "etcd"),
}


def cluster(path: tuple[str, ...], template: JsonValue, namespace: str = "team") -> JsonObject:
    spec: JsonObject = {"podTemplate": template}
    for name in reversed(path):
        spec = {name: spec}
    return {"metadata": {"name": "any", "namespace": namespace}, "spec": spec}


def container(**fields: JsonValue) -> JsonObject:
    return {"spec": {"containers": [{"name": "own", **fields}]}}


REACHING: list[tuple[str, JsonObject, str]] = [
    ("host network", {"spec": {"hostNetwork": True}}, "spec.hostNetwork"),
    ("host processes", {"spec": {"hostPID": True}}, "spec.hostPID"),
    ("host ipc", {"spec": {"hostIPC": True}}, "spec.hostIPC"),
    (
        "a path of the host",
        {"spec": {"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}},
        "spec.volumes[0].hostPath",
    ),
    ("another identity", {"spec": {"serviceAccountName": "admin"}}, "spec.serviceAccountName"),
    ("a token", {"spec": {"automountServiceAccountToken": True}}, "spec.automountServiceAccountToken"),
    (
        "privilege",
        container(securityContext={"privileged": True}),
        "spec.containers[0].securityContext.privileged",
    ),
    (
        "escalation",
        container(securityContext={"allowPrivilegeEscalation": True}),
        "spec.containers[0].securityContext.allowPrivilegeEscalation",
    ),
    (
        "a capability",
        container(securityContext={"capabilities": {"add": ["SYS_ADMIN"]}}),
        "spec.containers[0].securityContext.capabilities.add",
    ),
    (
        "a port of the host",
        container(ports=[{"containerPort": 80, "hostPort": 80}]),
        "spec.containers[0].ports[0].hostPort",
    ),
    (
        "an unmasked proc",
        container(securityContext={"procMount": "Unmasked"}),
        "spec.containers[0].securityContext.procMount",
    ),
    (
        "a host process",
        {"spec": {"securityContext": {"windowsOptions": {"hostProcess": True}}}},
        "spec.securityContext.windowsOptions.hostProcess",
    ),
    (
        "an init container's privilege",
        {"spec": {"initContainers": [{"name": "first", "securityContext": {"privileged": True}}]}},
        "spec.initContainers[0].securityContext.privileged",
    ),
]


@pytest.mark.parametrize("component", WHERE)
@pytest.mark.parametrize(
    ("template", "field"), [pytest.param(template, field, id=name) for name, template, field in REACHING]
)
def test_what_reaches_the_host_is_refused(template: JsonObject, field: str, component: str) -> None:
    document = cluster(WHERE[component], template)
    found = [one for one in validate("TapioCluster", document, trust=Trust()) if one.reason is Reason.FORBIDDEN]
    assert [one.path for one in found] == [".".join(("spec", *WHERE[component], "podTemplate", field))]
    assert "namespace team is not in the operator's security.trustedNamespaces" in found[0].message


@pytest.mark.parametrize(("template", "field"), [pytest.param(one[1], one[2], id=one[0]) for one in REACHING])
def test_trusted_namespaces_may(template: JsonObject, field: str) -> None:
    document = cluster(("nats",), template, "tapio-system")
    assert field not in [one.path for one in validate("TapioCluster", document, trust=Trust())]
    assert all(one.reason is not Reason.FORBIDDEN for one in validate("TapioCluster", document, trust=Trust()))


def test_a_tapio_intelligence_is_no_way_around() -> None:
    document: JsonObject = {
        "metadata": {"name": "any", "namespace": "team"},
        "spec": {"clusterRef": {"name": "any"}, "neo4j": {"podTemplate": {"spec": {"hostPID": True}}}},
    }
    found = validate("TapioIntelligence", document, trust=Trust())
    assert [(one.path, one.reason) for one in found] == [("spec.neo4j.podTemplate.spec.hostPID", Reason.FORBIDDEN)]


def test_an_overlay_that_stays_in_its_pod_is_fine() -> None:
    template: JsonObject = {
        "metadata": {"annotations": {"note": "x"}},
        "spec": {
            "hostNetwork": False,
            "volumes": [{"name": "own", "emptyDir": {}}],
            "containers": [{"name": "nats", "securityContext": {"capabilities": {"drop": ["ALL"]}}}],
        },
    }
    assert validate("TapioCluster", cluster(("nats",), template), trust=Trust()) == ()


def test_a_node_agents_profile_is_not_its_authors_to_loosen() -> None:
    name = "container.apparmor.security.beta.kubernetes.io/cni"
    spec: JsonObject = {"collectors": {"cni": {"podAnnotations": {name: "unconfined"}}}}
    found = validate("TapioCluster", {"metadata": {"name": "a", "namespace": "team"}, "spec": spec}, trust=Trust())
    assert [one.reason for one in found] == [Reason.FORBIDDEN]
