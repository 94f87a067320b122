"""The collectors of a TapioCluster, and the TapioCollector that configures one of them on its own.

Three run on every eligible node (ebpf, systemd, cni), two once per Kubernetes cluster (kubernetes, etcd).
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from pydantic import ConfigDict, Field

from tapio_shared.api.base import ApiModel
from tapio_shared.api.component import Component, SecretReference, UpdateStrategy
from tapio_shared.api.markers import immutable, rules, shorthand
from tapio_shared.api.scalars import EtcdEndpoint, Items, NamespaceName, ObjectName

CollectorType: TypeAlias = Literal["ebpf", "systemd", "cni", "kubernetes", "etcd"]

COLLECTOR_TYPES: Final[tuple[CollectorType, ...]] = ("ebpf", "systemd", "cni", "kubernetes", "etcd")
NODE_COLLECTOR_TYPES: Final[tuple[CollectorType, ...]] = ("ebpf", "systemd", "cni")
"""Those that run as node agents (DaemonSets in the node agents' namespace)."""

_ENABLED = "Whether the collector runs; absent means that it does, since it is named."
_NAMESPACES = "Namespaces whose objects are observed, at least one; absent means all."
_WATCH_SECRETS = "Whether metadata of Secrets is observed too; needs the optional ClusterRole of deploy/."
_ENDPOINTS = "Client endpoints of etcd, such as https://10.0.0.1:2379; needed before the collector can run."
_CREDENTIALS = (
    "Secret with the keys ca.crt, tls.crt and tls.key of an etcd client; needed before the collector can run."
)


class Collector(Component):
    """One collector."""

    enabled: bool | None = Field(default=None, description=_ENABLED)
    update_strategy: UpdateStrategy | None = Field(
        default=None, description="How the collector's pods are replaced; absent means 10 percent at a time."
    )


class KubernetesCollector(Collector):
    """The collector of Kubernetes objects and events."""

    namespaces: Items[NamespaceName] | None = Field(default=None, min_length=1, max_length=200, description=_NAMESPACES)
    watch_secrets: bool = Field(default=False, description=_WATCH_SECRETS)


class EtcdCollector(Collector):
    """The collector of etcd's metrics and health."""

    endpoints: Items[EtcdEndpoint] | None = Field(default=None, max_length=20, description=_ENDPOINTS)
    credentials_secret_ref: SecretReference | None = Field(default=None, description=_CREDENTIALS)


class Collectors(ApiModel):
    """Which collectors run. Those that a present block does not name are off."""

    all: bool = Field(
        default=False,
        description="Whether all collectors run that can work here; one that is explicitly false stays off, and etcd "
        "runs only when it has credentials.",
    )
    ebpf: Collector | None = Field(
        default=None,
        json_schema_extra=shorthand(),
        description="The eBPF collector of kernel events, on every eligible node; true, false or its settings.",
    )
    systemd: Collector | None = Field(
        default=None,
        json_schema_extra=shorthand(),
        description="The systemd collector of service events, on every eligible node; true, false or its settings.",
    )
    cni: Collector | None = Field(
        default=None,
        json_schema_extra=shorthand(),
        description="The CNI collector of network events, on every eligible node; true, false or its settings.",
    )
    kubernetes: KubernetesCollector | None = Field(
        default=None,
        json_schema_extra=shorthand(),
        description="The collector of Kubernetes objects, once per Kubernetes cluster; true, false or its settings.",
    )
    etcd: EtcdCollector | None = Field(
        default=None,
        json_schema_extra=shorthand(),
        description="The etcd collector, once per Kubernetes cluster; true, false or its settings.",
    )


class ClusterReference(ApiModel):
    """Names the TapioCluster that a resource belongs to."""

    name: ObjectName = Field(
        max_length=63,
        json_schema_extra=immutable("spec.clusterRef.name"),
        description="Name of the TapioCluster, in the same namespace as this resource; can't be changed.",
    )


class TapioCollectorSpec(Collector):
    """One collector, configured on its own and possibly for some nodes only."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.type == 'kubernetes' || (!has(self.namespaces) && !has(self.watchSecrets))",
                "spec.namespaces and spec.watchSecrets are for collectors of the type kubernetes.",
            ),
            (
                "self.type == 'etcd' || (!has(self.endpoints) && !has(self.credentialsSecretRef))",
                "spec.endpoints and spec.credentialsSecretRef are for collectors of the type etcd.",
            ),
        )
    )

    cluster_ref: ClusterReference = Field(
        description="The TapioCluster that this collector belongs to, in the same namespace."
    )
    type: CollectorType = Field(
        json_schema_extra=immutable("spec.type"), description="What is collected; can't be changed."
    )
    namespaces: Items[NamespaceName] | None = Field(
        default=None, min_length=1, max_length=200, description=f"For the type kubernetes alone. {_NAMESPACES}"
    )
    watch_secrets: bool | None = Field(
        default=None, description=f"For the type kubernetes alone; absent means false. {_WATCH_SECRETS}"
    )
    endpoints: Items[EtcdEndpoint] | None = Field(
        default=None, max_length=20, description=f"For the type etcd alone. {_ENDPOINTS}"
    )
    credentials_secret_ref: SecretReference | None = Field(
        default=None, description=f"For the type etcd alone. {_CREDENTIALS}"
    )
    allow_overlap: bool = Field(
        default=False,
        description="Whether this collector may run on nodes where another one of its type runs already.",
    )
