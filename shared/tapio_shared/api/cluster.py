"""The spec of a TapioCluster: the whole of one Tapio in one resource.

Fields with a static default have it here; a field whose absence the profile fills is optional, and stays absent in
storage, so that a later change of the profile still has its effect.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import ConfigDict, Field

from tapio_shared.api.base import ApiModel
from tapio_shared.api.collectors import Collectors
from tapio_shared.api.component import ResourceRequirements, SecretReference, Toleration
from tapio_shared.api.gateway import Gateway
from tapio_shared.api.intelligence import Intelligence
from tapio_shared.api.markers import rules
from tapio_shared.api.names import NODE_NAMESPACE
from tapio_shared.api.nats import Nats
from tapio_shared.api.scalars import (
    Annotations,
    Duration,
    HttpUrl,
    ImageRegistry,
    Items,
    Labels,
    NamespaceName,
    ObjectName,
    Opaque,
    Version,
)

Profile: TypeAlias = Literal["development", "production", "edge"]


class ImageSource(ApiModel):
    """Where images come from."""

    registry: ImageRegistry | None = Field(
        default=None,
        description="Registry that replaces that of every default image; absent means the operator's configuration. "
        "Outside the operator's trusted namespaces it does not apply to node agents.",
    )
    pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None, description="When images are pulled; absent means Kubernetes' own rule."
    )
    pull_secrets: Items[SecretReference] = Field(
        default=(), max_length=20, description="Secrets with which images are pulled, in the namespace of the pods."
    )


class InheritedMetadata(ApiModel):
    """What every object that the operator makes carries besides its own labels and annotations."""

    labels: Labels | None = Field(default=None, description="Labels that are added to every object.")
    annotations: Annotations | None = Field(default=None, description="Annotations that are added to every object.")


class Scheduling(ApiModel):
    """Placement of all components but the node agents, unless a component says otherwise."""

    node_selector: Labels | None = Field(
        default=None, description="Labels that a node must have; absent means any node."
    )
    tolerations: Items[Toleration] | None = Field(
        default=None, max_length=50, description="Taints that are tolerated; absent means none."
    )
    affinity: Opaque | None = Field(
        default=None, description="Affinity as in a pod; absent means that replicas are spread over hosts and zones."
    )
    priority_class_name: ObjectName | None = Field(
        default=None, description="PriorityClass of the pods; absent means the Kubernetes cluster's default."
    )


class NodeAgents(ApiModel):
    """The collectors that run on nodes, with privileges that other pods don't have."""

    namespace: NamespaceName | None = Field(
        default=None,
        description="Namespace of the node agents, one of those that the operator's configuration allows; absent means "
        f"{NODE_NAMESPACE}. Can't be changed.",
    )
    capabilities: Literal["least", "privileged"] = Field(
        default="least",
        description="least gives each node agent the Linux capabilities that it needs everywhere; privileged adds "
        "those for uprobes, processes of others, traffic control and entering network namespaces.",
    )


class Prometheus(ApiModel):
    """Scraping by Prometheus."""

    enabled: bool | None = Field(
        default=None,
        description="Whether ServiceMonitors are made where their API is served; absent means only in production.",
    )
    interval: Duration = Field(default="30s", description="Time between two scrapes, as a duration such as 30s.")
    labels: Labels | None = Field(
        default=None, description="Labels of the ServiceMonitors, by which a Prometheus selects them."
    )


class Grafana(ApiModel):
    """Dashboards."""

    enabled: bool | None = Field(
        default=None, description="Whether ConfigMaps with dashboards are made; absent means that they are not."
    )
    labels: Labels | None = Field(
        default=None,
        description="Labels of the ConfigMaps, by which Grafana's sidecar finds them; absent means "
        'grafana_dashboard: "1".',
    )


class Monitoring(ApiModel):
    """How Tapio itself is observed."""

    prometheus: Prometheus = Field(default_factory=Prometheus, description="Scraping by Prometheus.")
    grafana: Grafana = Field(default_factory=Grafana, description="Dashboards for Grafana.")
    otlp_endpoint: HttpUrl | None = Field(
        default=None,
        description="Where components send traces, such as http://otel.tracing.svc:4318; absent means nowhere.",
    )


class Autoscaling(ApiModel):
    """Autoscaling of all components."""

    horizontal: bool | None = Field(
        default=None,
        description="Whether HorizontalPodAutoscalers are made for correlation and gateway, where their own "
        "replicas are not set; absent means only in production.",
    )
    vertical: Literal["Off", "Recommend", "Auto"] = Field(
        default="Recommend",
        description="Off makes no VerticalPodAutoscaler, Recommend makes ones that only recommend, Auto ones that also "
        "resize; where their API is served.",
    )


class NetworkPolicies(ApiModel):
    """Network policies for Tapio's own pods."""

    enabled: bool = Field(default=True, description="Whether all traffic but the needed flows is denied.")
    extra_ingress: Items[Opaque] = Field(
        default=(), max_length=50, description="Ingress rules that are added to every policy, as in a NetworkPolicy."
    )
    extra_egress: Items[Opaque] = Field(
        default=(), max_length=50, description="Egress rules that are added to every policy, as in a NetworkPolicy."
    )


class TapioClusterSpec(ApiModel):
    """What one Tapio shall be."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!(has(self.highAvailability) && self.highAvailability && has(self.lightweight) && self.lightweight)",
                "spec.highAvailability and spec.lightweight can't both be true.",
            ),
            (
                # `namespace` is a reserved word of CEL; Kubernetes escapes a property of that name.
                "(has(self.nodeAgents) && has(self.nodeAgents.__namespace__) ? self.nodeAgents.__namespace__ : "
                f"'{NODE_NAMESPACE}') == (has(oldSelf.nodeAgents) && has(oldSelf.nodeAgents.__namespace__) ? "
                f"oldSelf.nodeAgents.__namespace__ : '{NODE_NAMESPACE}')",
                "spec.nodeAgents.namespace can't be changed after creation.",
            ),
            (
                "(has(self.nats) && has(self.nats.storageClassName) ? [self.nats.storageClassName] : []) == "
                "(has(oldSelf.nats) && has(oldSelf.nats.storageClassName) ? [oldSelf.nats.storageClassName] : [])",
                "spec.nats.storageClassName can't be changed after creation.",
            ),
        )
    )

    profile: Profile = Field(
        default="production",
        description="Set of defaults for everything that is not given: development, production or edge.",
    )
    version: Version | None = Field(
        default=None,
        description="Version of Tapio's own programs, such as v0.1.0; absent at creation means the operator's default "
        "version, which is then kept.",
    )
    high_availability: bool | None = Field(
        default=None,
        description="Whether components run with several replicas, spread over hosts and zones; absent means only in "
        "production. Never raises the number of Neo4j members.",
    )
    lightweight: bool | None = Field(
        default=None, description="Whether components run with the smallest footprint; absent means only on the edge."
    )
    deletion_policy: Literal["Retain", "Delete"] = Field(
        default="Retain",
        description="What happens to volumes and generated credentials when this resource is deleted.",
    )
    resources: ResourceRequirements | None = Field(
        default=None,
        description="One budget of cpu and memory for all components but the node agents, shared out among them; "
        "absent means each component's own defaults.",
    )
    image: ImageSource = Field(default_factory=ImageSource, description="Where images come from.")
    inherited_metadata: InheritedMetadata = Field(
        default_factory=InheritedMetadata, description="Labels and annotations of every object that is made."
    )
    scheduling: Scheduling = Field(
        default_factory=Scheduling, description="Placement of all components but the node agents."
    )
    node_agents: NodeAgents = Field(
        default_factory=NodeAgents, description="Where the node agents live and what they may do."
    )
    collectors: Collectors | None = Field(
        default=None,
        description="Which collectors run; absent means all in production, and kubernetes alone otherwise. Those that "
        "a present block does not name are off.",
    )
    intelligence: Intelligence | None = Field(
        default=None,
        description="Graph store and correlation; absent means those of the TapioIntelligence that names this "
        "cluster, or else the profile's.",
    )
    nats: Nats = Field(default_factory=Nats, description="The message backbone.")
    gateway: Gateway = Field(default_factory=Gateway, description="The API gateway.")
    monitoring: Monitoring = Field(default_factory=Monitoring, description="How Tapio itself is observed.")
    autoscaling: Autoscaling = Field(default_factory=Autoscaling, description="Autoscaling of all components.")
    network_policy: NetworkPolicies = Field(
        default_factory=NetworkPolicies, description="Network policies for Tapio's own pods."
    )
