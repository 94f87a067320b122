"""What a Node tells of who runs the Kubernetes cluster, and whether there is a machine behind it at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tapio_shared.json import JsonObject, objects_at, str_at, strings_at

_BY_LABEL: Final[Sequence[tuple[str, str]]] = (
    ("hypershift.openshift.io/", "hypershift"),
    ("node.openshift.io/", "openshift"),
    ("eks.amazonaws.com/", "eks"),
    ("cloud.google.com/gke-", "gke"),
    ("kubernetes.azure.com/", "aks"),
    ("doks.digitalocean.com/", "doks"),
    ("lke.linode.com/", "lke"),
    ("ibm-cloud.kubernetes.io/", "iks"),
)
"""Prefixes of labels that only the provider's own installation sets, the more telling first: hosted OpenShift nodes
carry both of its labels, and ROSA's run on AWS without EKS."""
_BY_KUBELET: Final[Sequence[tuple[str, str]]] = (
    ("-eks-", "eks"),
    ("-gke.", "gke"),
    ("+k3s", "k3s"),
    ("+rke2", "rke2"),
)
"""Marks in the kubelet's version: Fargate, Karpenter and self-managed node groups of EKS have no label of it."""

_VIRTUAL_LABELS: Final[Mapping[str, str]] = {
    "type": "virtual-kubelet",
    "eks.amazonaws.com/compute-type": "fargate",
    "liqo.io/type": "virtual-node",
}
_VIRTUAL_TAINT = "virtual-kubelet.io/provider"


def platform_of(node: JsonObject) -> str:
    """Who runs the cluster that this node is of, empty when the node does not tell."""
    labels = strings_at(node, "metadata", "labels")
    for prefix, platform in _BY_LABEL:
        if any(label.startswith(prefix) for label in labels):
            return platform
    version = str_at(node, "status", "nodeInfo", "kubeletVersion")
    return next((platform for mark, platform in _BY_KUBELET if mark in version), "")


def is_virtual(node: JsonObject) -> bool:
    """Whether pods of this node run somewhere else (Fargate, Azure Container Instances, another cluster), so that no
    agent can see a kernel of theirs. By the labels, which placement can go by too; else by virtual-kubelet's taint and
    version."""
    labels = strings_at(node, "metadata", "labels")
    if any(labels.get(label) == value for label, value in _VIRTUAL_LABELS.items()):
        return True
    tainted = any(str_at(taint, "key") == _VIRTUAL_TAINT for taint in objects_at(node, "spec", "taints"))
    return tainted or "-vk-" in str_at(node, "status", "nodeInfo", "kubeletVersion")
