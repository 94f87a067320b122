"""Every kind that the operator makes or watches, so that watcher, planner and RBAC agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tapio_shared.api.names import API_GROUP, CLUSTER_KIND, COLLECTOR_KIND, INTELLIGENCE_KIND

WORKLOADS: Final = frozenset({"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"})
"""Kinds whose objects have pods made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind. `versions` are those the operator can write, the most preferred first."""

    group: str
    kind: str
    plural: str
    versions: tuple[str, ...]
    namespaced: bool = True


def _core(kind: str, plural: str) -> Kind:
    return Kind(group="", kind=kind, plural=plural, versions=("v1",))


MANAGED_KINDS: Final[tuple[Kind, ...]] = (
    _core("ConfigMap", "configmaps"),
    _core("Service", "services"),
    _core("ServiceAccount", "serviceaccounts"),
    Kind(group="apps", kind="DaemonSet", plural="daemonsets", versions=("v1",)),
    Kind(group="apps", kind="Deployment", plural="deployments", versions=("v1",)),
    Kind(group="apps", kind="StatefulSet", plural="statefulsets", versions=("v1",)),
    Kind(group="batch", kind="CronJob", plural="cronjobs", versions=("v1", "v1beta1")),
    Kind(group="batch", kind="Job", plural="jobs", versions=("v1",)),
    Kind(
        group="autoscaling",
        kind="HorizontalPodAutoscaler",
        plural="horizontalpodautoscalers",
        versions=("v2", "v2beta2"),
    ),
    Kind(group="monitoring.coreos.com", kind="PodMonitor", plural="podmonitors", versions=("v1",)),
    Kind(group="monitoring.coreos.com", kind="PrometheusRule", plural="prometheusrules", versions=("v1",)),
    Kind(group="monitoring.coreos.com", kind="ServiceMonitor", plural="servicemonitors", versions=("v1",)),
    Kind(group="networking.k8s.io", kind="Ingress", plural="ingresses", versions=("v1",)),
    Kind(group="networking.k8s.io", kind="NetworkPolicy", plural="networkpolicies", versions=("v1",)),
    Kind(group="gateway.networking.k8s.io", kind="HTTPRoute", plural="httproutes", versions=("v1", "v1beta1")),
    Kind(
        group="gateway.networking.k8s.io",
        kind="BackendTLSPolicy",
        plural="backendtlspolicies",
        versions=("v1", "v1alpha3"),
    ),
    Kind(group="policy", kind="PodDisruptionBudget", plural="poddisruptionbudgets", versions=("v1", "v1beta1")),
    Kind(group="rbac.authorization.k8s.io", kind="Role", plural="roles", versions=("v1",)),
    Kind(group="rbac.authorization.k8s.io", kind="RoleBinding", plural="rolebindings", versions=("v1",)),
    Kind(
        group="rbac.authorization.k8s.io",
        kind="ClusterRole",
        plural="clusterroles",
        versions=("v1",),
        namespaced=False,
    ),
    Kind(
        group="rbac.authorization.k8s.io",
        kind="ClusterRoleBinding",
        plural="clusterrolebindings",
        versions=("v1",),
        namespaced=False,
    ),
    Kind(group="autoscaling.k8s.io", kind="VerticalPodAutoscaler", plural="verticalpodautoscalers", versions=("v1",)),
)
"""What the operator writes by server-side apply and the watcher finds by label."""

OBSERVED_KINDS: Final[tuple[Kind, ...]] = (
    _core("PersistentVolumeClaim", "persistentvolumeclaims"),
    _core("Pod", "pods"),
)
"""What the operator's workloads bring forth; found by label, never written."""

SECRET: Final = _core("Secret", "secrets")
"""Never listed: the watcher reads single ones by name."""

FLEET_KINDS: Final[tuple[Kind, ...]] = (
    Kind(group="", kind="Node", plural="nodes", versions=("v1",), namespaced=False),
    Kind(group="", kind="Namespace", plural="namespaces", versions=("v1",), namespaced=False),
    Kind(group="storage.k8s.io", kind="StorageClass", plural="storageclasses", versions=("v1",), namespaced=False),
    Kind(group="scheduling.k8s.io", kind="PriorityClass", plural="priorityclasses", versions=("v1",), namespaced=False),
)


BACKLOG_METRIC: Final = "jetstream_consumer_num_pending"
"""What prometheus-nats-exporter calls the messages that a consumer has not been given yet."""

DISCOVERED_KINDS: Final[tuple[Kind, ...]] = (
    Kind(
        group="external.metrics.k8s.io",
        kind="ExternalMetricValueList",
        plural="",
        versions=("v1beta1",),
    ),
)
"""What is only asked for: each resource of this group is a metric. An aggregated API, which may be away at any time."""


def _resource(kind: str, plural: str) -> Kind:
    return Kind(group=API_GROUP, kind=kind, plural=plural, versions=("v1alpha1",))


RESOURCE_KINDS: Final[tuple[Kind, ...]] = (
    _resource(CLUSTER_KIND, "tapioclusters"),
    _resource(COLLECTOR_KIND, "tapiocollectors"),
    _resource(INTELLIGENCE_KIND, "tapiointelligences"),
)
"""The three custom resources."""

ALL_KINDS: Final[tuple[Kind, ...]] = (*RESOURCE_KINDS, *MANAGED_KINDS, *OBSERVED_KINDS, SECRET, *FLEET_KINDS)
