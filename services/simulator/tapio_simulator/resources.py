"""The closed list of builtin resources that the simulator serves, and how each is named and behaves.

Custom resources join at run time (crd.py). Whatever is not here is answered 501 with its name: a test that needs
more than this list needs a real API server.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Resource:
    """One served resource.

    `storage_key` is shared by every version of one resource; `generation` says which changes bump
    `metadata.generation`: "none", "spec" (changes outside metadata and status) or "always-one".
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    schema: str = ""
    """Name of the definition in data/openapi.json; empty for custom resources, whose schema is in their CRD."""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    status: bool = False
    scale: bool = False
    generation: bool = False
    singular: str = ""
    list_kind: str = ""
    custom: bool = False
    scale_paths: tuple[str, str, str] = ("", "", "")
    """Custom resources: JSON paths of spec replicas, status replicas and label selector."""
    storage_key: str = field(default="")

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """`deployments.apps`, as error messages name it; core resources have no suffix."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def prefix(self) -> str:
        """Path of the API version: `/api/v1`, `/apis/apps/v1`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def listed_as(self) -> str:
        return self.list_kind or f"{self.kind}List"


def _resource(
    group: str,
    version: str,
    kind: str,
    plural: str,
    package: str,
    *short_names: str,
    namespaced: bool = True,
    status: bool = False,
    scale: bool = False,
    generation: bool = False,
    every_get_all: bool = False,
) -> Resource:
    return Resource(
        group=group,
        version=version,
        kind=kind,
        plural=plural,
        namespaced=namespaced,
        schema=f"io.k8s.{package}.{version}.{kind}",
        short_names=short_names,
        categories=("all",) if every_get_all else (),
        status=status,
        scale=scale,
        generation=generation,
        singular=kind.lower(),
        storage_key=f"{plural}.{group}" if group else plural,
    )


_CORE, _APPS, _BATCH = "api.core", "api.apps", "api.batch"
_CRD_PACKAGE = "apiextensions-apiserver.pkg.apis.apiextensions"
_RBAC, _ADMISSION = "rbac.authorization.k8s.io", "admissionregistration.k8s.io"

BUILTIN: tuple[Resource, ...] = (
    _resource("", "v1", "ConfigMap", "configmaps", _CORE, "cm"),
    _resource("", "v1", "Endpoints", "endpoints", _CORE, "ep"),
    _resource("", "v1", "Event", "events", _CORE, "ev"),
    _resource("", "v1", "LimitRange", "limitranges", _CORE, "limits"),
    _resource("", "v1", "Namespace", "namespaces", _CORE, "ns", namespaced=False, status=True),
    _resource("", "v1", "Node", "nodes", _CORE, "no", namespaced=False, status=True),
    _resource("", "v1", "PersistentVolume", "persistentvolumes", _CORE, "pv", namespaced=False, status=True),
    _resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", _CORE, "pvc", status=True),
    _resource("", "v1", "Pod", "pods", _CORE, "po", status=True, generation=True, every_get_all=True),
    _resource("", "v1", "ResourceQuota", "resourcequotas", _CORE, "quota", status=True),
    _resource("", "v1", "Secret", "secrets", _CORE),
    _resource("", "v1", "Service", "services", _CORE, "svc", status=True, every_get_all=True),
    _resource("", "v1", "ServiceAccount", "serviceaccounts", _CORE, "sa"),
    _resource("apps", "v1", "ControllerRevision", "controllerrevisions", _APPS),
    _resource("apps", "v1", "DaemonSet", "daemonsets", _APPS, "ds", status=True, generation=True, every_get_all=True),
    _resource(
        "apps",
        "v1",
        "Deployment",
        "deployments",
        _APPS,
        "deploy",
        status=True,
        scale=True,
        generation=True,
        every_get_all=True,
    ),
    _resource(
        "apps",
        "v1",
        "ReplicaSet",
        "replicasets",
        _APPS,
        "rs",
        status=True,
        scale=True,
        generation=True,
        every_get_all=True,
    ),
    _resource(
        "apps",
        "v1",
        "StatefulSet",
        "statefulsets",
        _APPS,
        "sts",
        status=True,
        scale=True,
        generation=True,
        every_get_all=True,
    ),
    _resource("batch", "v1", "CronJob", "cronjobs", _BATCH, "cj", status=True, generation=True, every_get_all=True),
    _resource("batch", "v1", "Job", "jobs", _BATCH, status=True, generation=True, every_get_all=True),
    _resource(
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "api.autoscaling",
        "hpa",
        status=True,
        every_get_all=True,
    ),
    _resource(
        "policy",
        "v1",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        "api.policy",
        "pdb",
        status=True,
        generation=True,
    ),
    _resource("networking.k8s.io", "v1", "Ingress", "ingresses", "api.networking", "ing", status=True, generation=True),
    _resource(
        "networking.k8s.io",
        "v1",
        "IngressClass",
        "ingressclasses",
        "api.networking",
        namespaced=False,
        generation=True,
    ),
    _resource(
        "networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "api.networking", "netpol", generation=True
    ),
    _resource(_RBAC, "v1", "ClusterRole", "clusterroles", "api.rbac", namespaced=False),
    _resource(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", "api.rbac", namespaced=False),
    _resource(_RBAC, "v1", "Role", "roles", "api.rbac"),
    _resource(_RBAC, "v1", "RoleBinding", "rolebindings", "api.rbac"),
    _resource("coordination.k8s.io", "v1", "Lease", "leases", "api.coordination"),
    _resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "api.discovery", generation=True),
    _resource("storage.k8s.io", "v1", "StorageClass", "storageclasses", "api.storage", "sc", namespaced=False),
    _resource(
        "scheduling.k8s.io",
        "v1",
        "PriorityClass",
        "priorityclasses",
        "api.scheduling",
        "pc",
        namespaced=False,
        generation=True,
    ),
    _resource(
        _ADMISSION,
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        "api.admissionregistration",
        namespaced=False,
        generation=True,
    ),
    _resource(
        _ADMISSION,
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        "api.admissionregistration",
        namespaced=False,
        generation=True,
    ),
    _resource(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        _CRD_PACKAGE,
        "crd",
        "crds",
        namespaced=False,
        status=True,
        generation=True,
    ),
)

EXTRA_DEFINITIONS = (
    "io.k8s.api.autoscaling.v1.Scale",
    "io.k8s.api.authentication.v1.SelfSubjectReview",
    "io.k8s.api.authentication.v1.TokenRequest",
    "io.k8s.api.authentication.v1.TokenReview",
    "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    "io.k8s.api.authorization.v1.SubjectAccessReview",
    "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
)
"""Definitions that no stored object needs but calls and clients do."""
