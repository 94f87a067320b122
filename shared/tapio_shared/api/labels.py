"""Labels and annotations on everything the operator makes, and how an object leads back to its TapioCluster.

Selectors use name, instance and component only: they can't change after creation, so nothing that may change
(version, UID) enters them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from tapio_shared.api.names import API_GROUP, CLUSTER_KIND, short_hash
from tapio_shared.json import JsonObject, JsonValue, at, object_at, str_at

MAX_LABEL_VALUE: Final = 63

NAME: Final = "app.kubernetes.io/name"
INSTANCE: Final = "app.kubernetes.io/instance"
COMPONENT: Final = "app.kubernetes.io/component"
PART_OF: Final = "app.kubernetes.io/part-of"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
VERSION: Final = "app.kubernetes.io/version"

CLUSTER: Final = "tapio.io/cluster"
CLUSTER_NAMESPACE: Final = "tapio.io/cluster-namespace"
CLUSTER_UID: Final = "tapio.io/cluster-uid"
COLLECTOR: Final = "tapio.io/collector"
BTF: Final = "tapio.io/btf"
"""On Nodes, set by people: "true" or "false", whether the kernel has BTF."""
NODE_POOLS: Final = (
    "eks.amazonaws.com/nodegroup",
    "cloud.google.com/gke-nodepool",
    "kubernetes.azure.com/agentpool",
    "karpenter.sh/nodepool",
    "karpenter.sh/provisioner-name",
    "hypershift.openshift.io/nodePool",
    "machine.openshift.io/cluster-api-machineset",
    "kops.k8s.io/instancegroup",
    "doks.digitalocean.com/node-pool",
    "lke.linode.com/pool-id",
    "ibm-cloud.kubernetes.io/worker-pool-name",
)
"""On Nodes, set by who makes them: the pool. Nodes of one pool have one image, and so one kernel."""

EDITION: Final = "tapio.io/edition"
"""On volume claims, "enterprise": Neo4j's Enterprise edition made the databases on it, which Community can't read."""

TARGET: Final = "tapio.io/target"
"""On Secrets of the operator's namespace, "true": it holds the kubeconfig of a target named as the Secret is."""

APPLYSET_PART_OF: Final = "applyset.kubernetes.io/part-of"
APPLYSET_ID: Final = "applyset.kubernetes.io/id"
APPLYSET_IS_PARENT_TYPE: Final = "applyset.kubernetes.io/is-parent-type"
APPLYSET_TOOLING: Final = "applyset.kubernetes.io/tooling"
APPLYSET_GROUP_KINDS: Final = "applyset.kubernetes.io/contains-group-kinds"

FORCE_RECONCILE: Final = "tapio.io/force-reconcile"
PAUSED: Final = "tapio.io/paused"
ADOPT: Final = "tapio.io/adopt"
DESIRED_HASH: Final = "tapio.io/desired-hash"
CONFIG_HASH: Final = "tapio.io/config-hash"
REVISION: Final = "tapio.io/revision"
FLEET: Final = "tapio.io/fleet"
"""On the pod templates of node agents: what of the fleet the template was made for (placement.py)."""
RENEW_AT: Final = "tapio.io/renew-at"
"""On Secrets with certificates: when they are renewed, milliseconds; their content need not be read to know."""
COPY: Final = "tapio.io/copy"
"""On Secrets that hold nothing but copies: they go with what uses them, whatever `deletionPolicy` says."""

TEARDOWN_FINALIZER: Final = "tapio.io/teardown"

PART_OF_TAPIO: Final = "tapio"
MANAGED_BY_OPERATOR: Final = "tapio-operator"
MANAGED_SELECTOR: Final = f"{MANAGED_BY}={MANAGED_BY_OPERATOR},{CLUSTER}"
"""The label selector under which people find every managed object, and the watcher what workloads bring forth."""
MADE_SELECTOR: Final = CLUSTER_UID
"""The label selector under which the watcher finds what the operator made. One label that nobody has a use for: who
hands an object to another tool by `managed-by`, or to another TapioCluster, hides it from nobody."""

RESERVED_PREFIXES: Final = ("tapio.io/", "applyset.kubernetes.io/")
RESERVED_KEYS: Final = (NAME, INSTANCE, COMPONENT, PART_OF, MANAGED_BY, VERSION)
"""What `inheritedMetadata`, `podLabels` and `podAnnotations` may not set, besides keys of RESERVED_PREFIXES."""


def selector_labels(*, name: str, instance: str, component: str) -> dict[str, str]:
    """What selects one component's pods; fixed for the component's life."""
    return {NAME: name, INSTANCE: instance, COMPONENT: component}


def managed_labels(
    *,
    cluster: str,
    namespace: str,
    uid: str,
    name: str,
    component: str,
    version: str = "",
    collector: str = "",
    instance: str = "",
) -> dict[str, str]:
    """All labels of one managed object, its selector labels included.

    `cluster`, `namespace` and `uid` are the TapioCluster's; `name` is the program (`nats`, `neo4j`, ...) and
    `component` its part in Tapio. `version` and `collector` are left out when empty; `instance` is the cluster's
    name unless given (`node_instance` for objects in the node agents' namespace).
    """
    labels = selector_labels(name=name, instance=instance or cluster, component=component) | {
        PART_OF: PART_OF_TAPIO,
        MANAGED_BY: MANAGED_BY_OPERATOR,
        CLUSTER: cluster,
        CLUSTER_NAMESPACE: namespace,
        CLUSTER_UID: uid,
        APPLYSET_PART_OF: applyset_id(cluster, namespace),
    }
    if version:
        labels[VERSION] = label_value(version)
    if collector:
        labels[COLLECTOR] = collector
    return labels


def node_instance(cluster: str, namespace: str) -> str:
    """The instance label in the node agents' namespace, where two clusters of one name may meet: always hashed."""
    tail = f"-{short_hash(f'{namespace}/{cluster}')}"
    return cluster[: MAX_LABEL_VALUE - len(tail)] + tail


def label_value(text: str) -> str:
    """`text` as a valid label value: an image tag may be longer than a label, or end in `-`."""
    kept = "".join(char if char.isascii() and (char.isalnum() or char in "-_.") else "-" for char in text)
    return kept[:MAX_LABEL_VALUE].strip("-_.")


@lru_cache(maxsize=4_096)
def applyset_id(cluster: str, namespace: str) -> str:
    """The ApplySet ID of a TapioCluster (KEP-3659): the label that its parts carry."""
    subject = f"{cluster}.{namespace}.{CLUSTER_KIND}.{API_GROUP}"
    digest = base64.urlsafe_b64encode(hashlib.sha256(subject.encode()).digest()).rstrip(b"=").decode()
    return f"applyset-{digest}-v1"


def key_of_object(labels: Mapping[str, JsonValue]) -> tuple[str, str] | None:
    """(namespace, name) of the TapioCluster that an object with these labels belongs to; None when it isn't ours."""
    if labels.get(MANAGED_BY) != MANAGED_BY_OPERATOR:
        return None
    namespace, name = str_at(labels, CLUSTER_NAMESPACE), str_at(labels, CLUSTER)
    return (namespace, name) if namespace and name else None


def key_of_made(document: JsonObject) -> tuple[str, str] | None:
    """(namespace, name) of the TapioCluster that an object was made for, whatever somebody has relabelled since.

    What wears our hash belongs to the TapioCluster that controls it. Where it can have no controller (other namespace,
    cluster scope) it belongs to the one that its labels name, whoever is said to manage it.
    """
    labels = object_at(document, "metadata", "labels")
    by_labels = key_of_object(labels)
    if not isinstance(at(document, "metadata", "annotations", DESIRED_HASH), str):
        return by_labels
    owners = at(document, "metadata", "ownerReferences")
    if isinstance(owners, list) and owners:
        for owner in owners:
            name = str_at(owner, "name")
            if name and str_at(owner, "kind") == CLUSTER_KIND and at(owner, "controller") is True:
                return str_at(document, "metadata", "namespace"), name
        return by_labels
    namespace, name = str_at(labels, CLUSTER_NAMESPACE), str_at(labels, CLUSTER)
    has_uid = isinstance(labels.get(CLUSTER_UID), str)
    return by_labels or ((namespace, name) if namespace and name and has_uid else None)
