"""What is rendered: golden files, schemas, references between objects, and the Pod Security level of every pod."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import cast

import kubernetes_validate  # pyright: ignore[reportMissingTypeStubs]
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapio_reconciler.core.objects.kubernetes_rbac import GRANTED_RULES
from tapio_shared.api.budget import BudgetTooSmall
from tapio_shared.api.kinds import MANAGED_KINDS
from tapio_shared.api.labels import APPLYSET_PART_OF, CLUSTER, CLUSTER_NAMESPACE, MANAGED_BY
from tapio_shared.json import JsonObject, JsonValue, at, list_at, object_at, objects_at, str_at, strings_at
from tests.support.planned_world import discovery, example
from tests.support.rendered import context_of, objects_of, rendered, rendered_in
from tests.unit.objects.golden import EXAMPLES, FOLDER, rendering

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
CUSTOM = ("monitoring.coreos.com", "gateway.networking.k8s.io", "autoscaling.k8s.io")


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_rendering_is_the_golden_one(name: str) -> None:
    assert rendering(name) == (FOLDER / f"{name}.yaml").read_text(), "read the diff; then `make golden`"


def some(fields: Mapping[str, Sequence[object]]) -> st.SearchStrategy[JsonObject]:
    """Objects that hold any of `fields`, each with one of its values."""
    optional = {name: st.sampled_from(list(values)) for name, values in fields.items()}
    return cast("st.SearchStrategy[JsonObject]", st.fixed_dictionaries({}, optional=optional))


OVERRIDES: dict[str, Sequence[object]] = {
    "image": ["example.org/own:1"],
    "args": [["--verbose"]],
    "env": [[{"name": "A", "value": "b"}]],
    "podLabels": [{"team": "x"}],
    "podAnnotations": [{"note": "y"}],
    "probes": [{"liveness": "none"}],
    "priorityClassName": ["high"],
    "nodeSelector": [{"disk": "ssd"}],
    "tolerations": [[{"key": "a", "operator": "Exists"}]],
    "podTemplate": [{"metadata": {"annotations": {"z": "1"}}, "spec": {"hostname": "h"}}],
}
NEO4J: dict[str, Sequence[object]] = {
    "replicas": [1, 2, 3, 5],
    "storage": ["20Gi", "500Gi"],
    "acceptLicenseAgreement": ["yes", "eval"],
    "plugins": [["apoc"]],
}
OIDC = {"issuerURL": "https://id.example.org", "audiences": ["tapio"], "caSecretRef": {"name": "ca"}}
GATEWAYS: Sequence[object] = [
    {"exposure": {"type": "Ingress", "host": "t.example.org"}, "tls": {"secretRef": {"name": "tls"}}},
    {"auth": {"oidc": OIDC}},
    {"autoscaling": {"min": 2, "max": 5}},
]
COLLECTORS: Sequence[object] = [
    {"all": True},
    {"kubernetes": {"namespaces": ["a", "b"]}, "cni": {"enabled": True}},
    {"etcd": {"endpoints": ["https://10.0.0.1:2379"], "credentialsSecretRef": {"name": "etcd"}}},
]
CLUSTER_FIELDS: dict[str, Sequence[object]] = {
    "profile": ["development", "production", "edge"],
    "version": ["v0.2.0"],
    "monitoring": [{"prometheus": {"enabled": True}, "grafana": {"enabled": True}}],
    "scheduling": [{"nodeSelector": {"pool": "tapio"}, "priorityClassName": "high"}],
    "inheritedMetadata": [{"labels": {"owner": "me"}, "annotations": {"cost": "1"}}],
    "image": [{"registry": "mirror.local", "pullPolicy": "Always", "pullSecrets": [{"name": "pull"}]}],
    "networkPolicy": [{"enabled": False}],
}


@st.composite
def specs(draw: st.DrawFn) -> JsonObject:
    """Valid specs over profiles, flags, replicas and overrides."""
    spec = draw(some(CLUSTER_FIELDS))
    overrides = some(OVERRIDES)
    flag = draw(st.sampled_from(["", "highAvailability", "lightweight"]))
    if flag:
        spec[flag] = draw(st.booleans())
    if draw(st.booleans()):
        given: JsonObject = {"ebpf": draw(overrides), "kubernetes": draw(overrides)}
        spec["collectors"] = draw(st.sampled_from([*cast("list[JsonObject]", list(COLLECTORS)), given]))
    if draw(st.booleans()):
        embedded: JsonObject = {"embedded": True}
        graph: JsonObject = {"neo4j": draw(some(NEO4J)), "correlation": draw(some({"replicas": [1, 2, 4]}))}
        spec["intelligence"] = draw(st.sampled_from([embedded, graph]))
    external: JsonObject = {"external": {"url": "nats://elsewhere:4222"}}
    spec["nats"] = draw(st.one_of(st.just(external), some({"replicas": [1, 3]}), overrides))
    spec["gateway"] = draw(st.one_of(overrides, cast("st.SearchStrategy[JsonObject]", st.sampled_from(list(GATEWAYS)))))
    return spec


def cluster(spec: JsonObject) -> JsonObject:
    return {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioCluster",
        "metadata": {"name": "any", "namespace": "some"},
        "spec": spec,
    }


quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(specs())
def test_every_object_is_valid_and_refers_to_what_exists(spec: JsonObject) -> None:
    try:
        objects = objects_of(rendered(cluster(spec), monitoring=True))
    except BudgetTooSmall:
        return
    for document in objects:
        validate(document)
        check_labels(document)
    check_references(objects)
    assert objects == objects_of(rendered(cluster(copy.deepcopy(spec)), monitoring=True))


@pytest.mark.parametrize("version", ["1.25", "1.37"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_valid_strictly(name: str, version: str) -> None:
    server = discovery(version=f"v{version}.0")
    for document in objects_of(rendered_in(context_of(example(name), discovered=server))):
        validate(document, version)


def validate(document: JsonObject, version: str = "1.31") -> None:
    if str_at(document, "apiVersion").partition("/")[0] in CUSTOM:
        return
    kubernetes_validate.validate(copy.deepcopy(document), version, strict=True)


def check_labels(document: JsonObject) -> None:
    labels = strings_at(document, "metadata", "labels")
    assert labels[MANAGED_BY] == "tapio-operator"
    assert (labels[CLUSTER_NAMESPACE], labels[CLUSTER]) == ("some", "any")
    assert labels[APPLYSET_PART_OF].startswith("applyset-")
    group = str_at(document, "apiVersion").rpartition("/")[0]
    kinds = {(kind.group, kind.kind) for kind in MANAGED_KINDS} | {("", "Secret")}
    assert (group, str_at(document, "kind")) in kinds
    owners = at(document, "metadata", "ownerReferences")
    own_namespace = str_at(document, "metadata", "namespace") == "some"
    assert (owners is not None) is (own_namespace and str_at(document, "kind") != "Secret")


def check_references(objects: list[JsonObject]) -> None:
    """Services, volumes, autoscalers, budgets, policies and bindings name what is there."""
    names = {
        (str_at(one, "kind"), str_at(one, "metadata", "namespace"), str_at(one, "metadata", "name")) for one in objects
    }
    assert len(names) == len(objects), "no two objects share a name"
    workloads = [one for one in objects if str_at(one, "kind") in WORKLOADS]
    for workload in workloads:
        check_pod(workload, names)
    for document in objects:
        namespace = str_at(document, "metadata", "namespace")
        match str_at(document, "kind"):
            case "Service":
                pods = selected(workloads, namespace, strings_at(document, "spec", "selector"))
                assert pods, document
                for port in objects_at(document, "spec", "ports"):
                    assert all(str_at(port, "targetPort") in ports_of(pod) for pod in pods), document
            case "PodDisruptionBudget":
                assert selected(workloads, namespace, strings_at(document, "spec", "selector", "matchLabels"))
            case "NetworkPolicy":
                selector = strings_at(document, "spec", "podSelector", "matchLabels")
                assert selector, "never an empty selector"
                assert selected(workloads, namespace, selector)
            case "HorizontalPodAutoscaler":
                target = object_at(document, "spec", "scaleTargetRef")
                assert (str_at(target, "kind"), namespace, str_at(target, "name")) in names
                scaled = [one for one in workloads if str_at(one, "metadata", "name") == str_at(target, "name")]
                assert "replicas" not in object_at(scaled[0], "spec")
            case "RoleBinding" | "ClusterRoleBinding":
                role = str_at(document, "roleRef", "kind")
                assert str_at(document, "kind") == f"{role}Binding"
                assert (role, namespace, str_at(document, "roleRef", "name")) in names
                for subject in objects_at(document, "subjects"):
                    assert ("ServiceAccount", str_at(subject, "namespace"), str_at(subject, "name")) in names
            case "ClusterRole" | "Role":
                assert all(is_granted(rule) for rule in objects_at(document, "rules"))
            case _:
                pass


def is_granted(rule: JsonObject) -> bool:
    """Whether the operator holds a rule (ADR 0004), and it names everything."""
    return any(
        list_at(rule, "apiGroups") == list_at(one, "apiGroups")
        and {str(name) for name in list_at(rule, "resources")} <= {str(name) for name in list_at(one, "resources")}
        and list_at(rule, "verbs") == ["get", "list", "watch"]
        for one in GRANTED_RULES
    )


def check_pod(workload: JsonObject, names: set[tuple[str, str, str]]) -> None:
    namespace, pod = str_at(workload, "metadata", "namespace"), object_at(workload, "spec", "template", "spec")
    labels = strings_at(workload, "spec", "template", "metadata", "labels")
    assert strings_at(workload, "spec", "selector", "matchLabels").items() <= labels.items()
    assert ("ServiceAccount", namespace, str_at(pod, "serviceAccountName")) in names
    volumes = {str_at(one, "name") for one in objects_at(pod, "volumes")}
    volumes |= {str_at(one, "metadata", "name") for one in objects_at(workload, "spec", "volumeClaimTemplates")}
    for volume in objects_at(pod, "volumes"):
        config = str_at(volume, "configMap", "name")
        assert not config or ("ConfigMap", namespace, config) in names
    for container in objects_at(pod, "containers"):
        assert {str_at(one, "name") for one in objects_at(container, "volumeMounts")} <= volumes
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            for action in ("httpGet", "tcpSocket"):
                port = str_at(container, probe, action, "port")
                assert not port or port in {str_at(one, "name") for one in objects_at(container, "ports")}
    if str_at(workload, "kind") == "StatefulSet":
        assert ("Service", namespace, str_at(workload, "spec", "serviceName")) in names


def selected(workloads: list[JsonObject], namespace: str, selector: dict[str, str]) -> list[JsonObject]:
    return [
        one
        for one in workloads
        if str_at(one, "metadata", "namespace") == namespace
        and selector.items() <= strings_at(one, "spec", "template", "metadata", "labels").items()
    ]


def ports_of(workload: JsonObject) -> set[str]:
    containers = objects_at(workload, "spec", "template", "spec", "containers")
    return {str_at(port, "name") for container in containers for port in objects_at(container, "ports")}


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_selects_pods_and_claims_never_holds_what_may_change(name: str) -> None:
    for one in objects_of(rendered(example(name))):
        for label in strings_at(one, "spec", "selector", "matchLabels"):
            assert label in {
                "app.kubernetes.io/name",
                "app.kubernetes.io/instance",
                "app.kubernetes.io/component",
                "tapio.io/member",
            }
        for claim in objects_at(one, "spec", "volumeClaimTemplates"):
            assert "app.kubernetes.io/version" not in strings_at(claim, "metadata", "labels")


def test_the_budget_of_the_production_example_is_shared_out_within_itself() -> None:
    found = objects_of(rendered(example("production")))
    total = 0
    for one in found:
        if str_at(one, "kind") not in {"Deployment", "StatefulSet"} or "kubernetes" in str_at(one, "metadata", "name"):
            continue
        replicas = at(one, "spec", "replicas") or 2
        container = objects_at(one, "spec", "template", "spec", "containers")[0]
        memory = str_at(container, "resources", "requests", "memory")
        size = int(memory[:-2]) * (1024 if memory.endswith("Gi") else 1)
        total += size * (replicas if isinstance(replicas, int) else 2)
    assert 15.9 * 1024 <= total <= 16 * 1024


def test_configuration_files_hold_what_the_programs_read() -> None:
    found = {str_at(one, "metadata", "name"): one for one in objects_of(rendered(example("quickstart")))}
    document: JsonValue = yaml.safe_load(str_at(found["production-correlation-config"], "data", "config.yaml"))
    assert at(document, "nats", "url") == "tls://correlation:${NATS_PASSWORD}@production-nats.tapio-system.svc:4222"
    assert at(document, "graph", "url") == "bolt://production-neo4j.tapio-system.svc:7687"
    assert at(document, "engines", "rootCause", "enabled") is True
