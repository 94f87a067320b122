"""TapioClusters for end-to-end tests, and the objects that the operator made of them, as kubectl lists them."""

from __future__ import annotations

from tapio_shared.api.labels import MANAGED_SELECTOR
from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at
from tests.support.e2e_kubernetes import Kubernetes

_KINDS = (
    "deployments,statefulsets,daemonsets,jobs,cronjobs,services,serviceaccounts,configmaps,secrets,roles,rolebindings,"
    "clusterroles,clusterrolebindings,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers"
)


def small_cluster(name: str, **spec: JsonValue) -> JsonObject:
    """The smallest Tapio: NATS, the embedded graph store, the Kubernetes collector. `spec` adds to it."""
    return {
        "apiVersion": "tapio.io/v1alpha1",
        "kind": "TapioCluster",
        "metadata": {"name": name},
        "spec": {"profile": "edge", "collectors": {"kubernetes": True}, **spec},
    }


def selector_of(name: str, namespace: str) -> str:
    """The label selector of everything that belongs to a TapioCluster."""
    return f"tapio.io/cluster={name},tapio.io/cluster-namespace={namespace}"


async def managed_objects(kubernetes: Kubernetes, name: str, namespace: str, *, kinds: str = _KINDS) -> set[str]:
    """`Kind/namespace/name` of everything the operator itself made for a TapioCluster, in all namespaces."""
    return await kubernetes.names(kinds, "-l", selector_of(name, namespace))


async def all_managed(kubernetes: Kubernetes, namespace: str) -> list[JsonObject]:
    """The same for every TapioCluster of a namespace, as documents; what a CronJob makes of them is not among them.

    Nor is when a CronJob last ran: that is the clock's doing.
    """
    selector = f"{MANAGED_SELECTOR},tapio.io/cluster-namespace={namespace}"
    found = objects_at(await kubernetes.kubectl.document("get", _KINDS, "-A", "-l", selector), "items")
    return [_without_runs(one) if str_at(one, "kind") == "CronJob" else one for one in found]


def _without_runs(cron_job: JsonObject) -> JsonObject:
    metadata = {
        name: value
        for name, value in object_at(cron_job, "metadata").items()
        if name not in {"resourceVersion", "managedFields"}
    }
    return {
        "metadata": metadata,
        **{name: value for name, value in cron_job.items() if name not in {"status", "metadata"}},
    }


async def left_of(kubernetes: Kubernetes, name: str, namespace: str) -> set[str]:
    """The same with what workloads made: pods, their volumes, revisions."""
    kinds = f"{_KINDS},pods,persistentvolumeclaims,replicasets,controllerrevisions"
    return await managed_objects(kubernetes, name, namespace, kinds=kinds)
