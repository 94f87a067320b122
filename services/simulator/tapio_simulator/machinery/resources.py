"""Which collections controllers and the kubelet talk to; how those behave is the API server's business."""

from __future__ import annotations

from dataclasses import dataclass

from tapio_shared.kubernetes import object_path


@dataclass(frozen=True, slots=True)
class Collection:
    """One collection of an API server, under one version."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        return object_path(
            self.group, self.version, self.plural, namespace if self.namespaced else "", name, subresource
        )


CONFIG_MAPS = Collection("", "v1", "ConfigMap", "configmaps")
ENDPOINTS = Collection("", "v1", "Endpoints", "endpoints")
EVENTS = Collection("", "v1", "Event", "events")
NAMESPACES = Collection("", "v1", "Namespace", "namespaces", namespaced=False)
NODES = Collection("", "v1", "Node", "nodes", namespaced=False)
CLAIMS = Collection("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
VOLUMES = Collection("", "v1", "PersistentVolume", "persistentvolumes", namespaced=False)
PODS = Collection("", "v1", "Pod", "pods")
SECRETS = Collection("", "v1", "Secret", "secrets")
SERVICES = Collection("", "v1", "Service", "services")
SERVICE_ACCOUNTS = Collection("", "v1", "ServiceAccount", "serviceaccounts")
REVISIONS = Collection("apps", "v1", "ControllerRevision", "controllerrevisions")
DAEMON_SETS = Collection("apps", "v1", "DaemonSet", "daemonsets")
DEPLOYMENTS = Collection("apps", "v1", "Deployment", "deployments")
REPLICA_SETS = Collection("apps", "v1", "ReplicaSet", "replicasets")
STATEFUL_SETS = Collection("apps", "v1", "StatefulSet", "statefulsets")
JOBS = Collection("batch", "v1", "Job", "jobs")
AUTOSCALERS = Collection("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
BUDGETS = Collection("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
LEASES = Collection("coordination.k8s.io", "v1", "Lease", "leases")
SLICES = Collection("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
CLASSES = Collection("storage.k8s.io", "v1", "StorageClass", "storageclasses", namespaced=False)
