"""What every component of Tapio can be told: image, command, resources, placement, and an overlay for the pod.

Upstream's images and entry points are not stable, so every component takes an override for each of them. All fields
are optional here: what an absent one means depends on the profile and is resolved by the planner, never stored.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from tapio_shared.api.base import ApiModel
from tapio_shared.api.markers import list_map, opaque
from tapio_shared.api.scalars import (
    AmountOrPercent,
    Annotations,
    EnvName,
    ImageReference,
    Items,
    LabelKey,
    Labels,
    LabelValue,
    ObjectName,
    Opaque,
    ProbeChoice,
    Quantities,
    Version,
)


class SecretReference(ApiModel):
    """Names a Secret in the namespace of the resource; there is no way to name another namespace."""

    name: ObjectName = Field(description="Name of the Secret, in the same namespace as this resource.")


class ConfigMapReference(ApiModel):
    """Names a ConfigMap in the namespace of the resource."""

    name: ObjectName = Field(description="Name of the ConfigMap, in the same namespace as this resource.")


class ResourceRequirements(ApiModel):
    """Requests and limits, as Kubernetes has them for containers."""

    requests: Quantities | None = Field(
        default=None, description='What is reserved, by resource name: cpu in cores ("500m"), memory in bytes ("1Gi").'
    )
    limits: Quantities | None = Field(
        default=None, description="What may at most be used, by resource name, in the same units as requests."
    )


class Toleration(ApiModel):
    """A Kubernetes toleration."""

    key: LabelKey | None = Field(default=None, description="Key of the taint; absent with operator Exists: all keys.")
    operator: Literal["Exists", "Equal"] | None = Field(
        default=None, description="How the taint's value is compared; absent means Equal."
    )
    value: LabelValue | None = Field(default=None, description="Value of the taint that is tolerated.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint that is tolerated; absent means all."
    )
    toleration_seconds: int | None = Field(
        default=None, description="Seconds that a NoExecute taint is tolerated; absent means for ever."
    )


class EnvVar(ApiModel):
    """An environment variable."""

    name: EnvName = Field(description="Name of the variable; one of the same name that the operator sets is replaced.")
    value: str | None = Field(default=None, description="Value of the variable; absent means empty.")
    value_from: Opaque | None = Field(
        default=None,
        description="Where the value comes from instead: one of fieldRef, resourceFieldRef, configMapKeyRef and "
        "secretKeyRef, as in a pod.",
    )


class Probes(ApiModel):
    """Probes that replace a component's own."""

    model_config = ConfigDict(json_schema_extra=opaque())

    startup: ProbeChoice | None = Field(default=None, description='The startup probe, or "none" for no such probe.')
    readiness: ProbeChoice | None = Field(default=None, description='The readiness probe, or "none" for no such probe.')
    liveness: ProbeChoice | None = Field(default=None, description='The liveness probe, or "none" for no such probe.')


class ComponentAutoscaling(ApiModel):
    """Bounds and metrics of the HorizontalPodAutoscaler of one component."""

    min: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Smallest number of replicas; absent means the component's replicas, and no more than max.",
    )
    max: int | None = Field(
        default=None, ge=1, le=100, description="Largest number of replicas; absent means four times the smallest."
    )
    metrics: Items[Opaque] | None = Field(
        default=None,
        max_length=10,
        description="Metrics as in autoscaling/v2; absent means 75 percent of the requested CPU, and for "
        "correlation the messages that wait in its stream, where the external metrics API serves them.",
    )


class Component(ApiModel):
    """Overrides that every component takes."""

    enabled: bool | None = Field(
        default=None,
        description="Whether the component runs; absent means that it does where the profile includes it.",
    )
    image: ImageReference | None = Field(
        default=None,
        description="Image to run, with its tag or digest; absent means the operator's default image for the version.",
    )
    version: Version | None = Field(
        default=None,
        description="Version of this component alone, used as the tag of its default image; absent means spec.version "
        "for Tapio's own programs and the operator's default for NATS and Neo4j.",
    )
    command: Items[str] | None = Field(
        default=None, max_length=100, description="Entry point of the container; absent means the image's own."
    )
    args: Items[str] | None = Field(
        default=None, max_length=100, description="Arguments of the entry point; absent means the component's own."
    )
    env: Items[EnvVar] | None = Field(
        default=None,
        max_length=200,
        json_schema_extra=list_map("name"),
        description="Environment variables that are added to the component's own.",
    )
    config: Opaque | None = Field(
        default=None,
        description="Settings that are merged over the component's own configuration file, with the same structure.",
    )
    probes: Probes | None = Field(
        default=None,
        description="Probes that replace the component's own (startup, readiness, liveness), each a probe or none.",
    )
    resources: ResourceRequirements | None = Field(
        default=None,
        description="Requests and limits of the main container; absent means its share of spec.resources, or the "
        "profile's.",
    )
    node_selector: Labels | None = Field(
        default=None, description="Labels that a node must have; absent means spec.scheduling.nodeSelector."
    )
    tolerations: Items[Toleration] | None = Field(
        default=None, max_length=50, description="Taints that are tolerated; absent means spec.scheduling.tolerations."
    )
    affinity: Opaque | None = Field(
        default=None, description="Affinity as in a pod; absent means spec.scheduling.affinity, or the operator's own."
    )
    priority_class_name: ObjectName | None = Field(
        default=None, description="PriorityClass of the pods; absent means spec.scheduling.priorityClassName."
    )
    pod_labels: Labels | None = Field(default=None, description="Labels that are added to the pods.")
    pod_annotations: Annotations | None = Field(default=None, description="Annotations that are added to the pods.")
    pod_template: Opaque | None = Field(
        default=None,
        description="A pod template (metadata and spec) that is merged over the operator's own, containers by name.",
    )
    autoscaling: ComponentAutoscaling | None = Field(
        default=None, description="Horizontal autoscaling of this component; absent means spec.autoscaling decides."
    )


class RollingUpdate(ApiModel):
    """How many pods are replaced at once."""

    max_unavailable: AmountOrPercent | None = Field(
        default=None,
        description='Pods that may be missing during an update, as a number or percentage; absent means "10%".',
    )
    max_surge: AmountOrPercent | None = Field(
        default=None, description="Pods that may be added during an update, as a number or percentage; absent means 0."
    )


class UpdateStrategy(ApiModel):
    """How the pods of a collector are replaced."""

    type: Literal["RollingUpdate", "OnDelete"] | None = Field(
        default=None,
        description="RollingUpdate replaces the pods step by step, OnDelete only those that are deleted; absent means "
        "RollingUpdate.",
    )
    rolling_update: RollingUpdate | None = Field(
        default=None, description="Size of the steps of a rolling update; absent means 10 percent at a time."
    )
