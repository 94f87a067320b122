"""The status of the three kinds. Written by the planner alone; nothing else may depend on it.

Holds no revision and no heartbeat: a status that changes without news would make the operator write for ever.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tapio_shared.api.base import ApiModel
from tapio_shared.api.markers import list_map
from tapio_shared.api.reasons import ComponentState, Phase
from tapio_shared.api.scalars import Items, Labels, word_schema


class Condition(ApiModel):
    """One condition, as metav1.Condition."""

    type: str = Field(
        min_length=1, max_length=316, description="Type of the condition, such as Ready; see docs/reasons.md."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether the condition holds.")
    observed_generation: int | None = Field(
        default=None, ge=0, description="Generation of the spec that the condition was set for."
    )
    last_transition_time: str = Field(
        json_schema_extra={"format": "date-time"}, description="When the condition's status last changed."
    )
    reason: str = Field(min_length=1, max_length=1024, description="Why, in one word; docs/reasons.md explains each.")
    message: str = Field(max_length=32768, description="Why, in whole sentences, and what to do next.")


class ObjectReference(ApiModel):
    """Names the workload of a component."""

    kind: str = Field(description="Kind of the object, such as StatefulSet.")
    namespace: str = Field(description="Namespace of the object.")
    name: str = Field(description="Name of the object.")


class ComponentStatus(ApiModel):
    """How one component is."""

    name: str = Field(min_length=1, max_length=253, description="Name of the component, such as nats.")
    ref: ObjectReference | None = Field(default=None, description="The workload that runs the component.")
    version: str | None = Field(default=None, description="Version that was asked for.")
    image: str | None = Field(default=None, description="Image that was asked for.")
    desired: int = Field(default=0, ge=0, description="Number of pods that were asked for.")
    ready: int = Field(default=0, ge=0, description="Number of pods that are ready.")
    updated: int = Field(default=0, ge=0, description="Number of pods that run the newest template.")
    state: ComponentState = Field(
        json_schema_extra=word_schema(ComponentState), description="State of the component in one word."
    )
    reason: str | None = Field(default=None, description="Why, in one word; docs/reasons.md explains each.")
    message: str | None = Field(default=None, max_length=32768, description="Why, in whole sentences.")
    since: str | None = Field(
        default=None, json_schema_extra={"format": "date-time"}, description="When the state last changed."
    )


class SkippedNodes(ApiModel):
    """Nodes on which a collector does not run, and why."""

    collector: str = Field(description="Name of the collector, such as ebpf.")
    nodes: int = Field(ge=0, description="Number of nodes that are skipped for this reason.")
    node_selector: Labels | None = Field(
        default=None, description="Labels that select the nodes, where labels can tell them apart."
    )
    reason: str = Field(description="Why, in one word; docs/reasons.md explains each.")
    message: str = Field(description="Why, in whole sentences, and what to do next.")


class Endpoints(ApiModel):
    """Where Tapio is reached."""

    gateway: str | None = Field(default=None, description="Address of the API gateway.")
    nats: str | None = Field(default=None, description="Address of NATS.")
    graph: str | None = Field(default=None, description="Address of the graph database.")


class Credentials(ApiModel):
    """Secrets that hold generated credentials."""

    graph: str | None = Field(default=None, description="Name of the Secret with Neo4j's password.")
    nats: str | None = Field(default=None, description="Name of the Secret with the credentials for NATS.")


class Status(ApiModel):
    """What the statuses of all three kinds have in common."""

    observed_generation: int | None = Field(
        default=None, ge=0, description="Generation of the spec that this status was made for."
    )
    phase: Phase | None = Field(
        default=None,
        json_schema_extra=word_schema(Phase),
        description="State in one word, for display only; wait for conditions instead.",
    )
    conditions: Items[Condition] = Field(
        default=(), json_schema_extra=list_map("type"), description="Conditions; docs/reasons.md explains each."
    )


class TapioClusterStatus(Status):
    """How one Tapio is."""

    version: str | None = Field(default=None, description="Version that runs, or is being rolled out.")
    ready_components: str | None = Field(default=None, description="Ready components of all, such as 7/8.")
    components: Items[ComponentStatus] = Field(
        default=(), json_schema_extra=list_map("name"), description="Every component and how it is."
    )
    skipped: Items[SkippedNodes] = Field(default=(), description="Nodes that collectors skip, and why.")
    endpoints: Endpoints | None = Field(default=None, description="Where Tapio is reached.")
    credentials: Credentials | None = Field(default=None, description="Secrets that hold generated credentials.")


class TapioCollectorStatus(Status):
    """How one collector is."""

    desired: int | None = Field(default=None, ge=0, description="Number of pods that were asked for.")
    ready: int | None = Field(default=None, ge=0, description="Number of pods that are ready.")
    updated: int | None = Field(default=None, ge=0, description="Number of pods that run the newest template.")
    components: Items[ComponentStatus] = Field(
        default=(), json_schema_extra=list_map("name"), description="The collector's workload and how it is."
    )
    skipped: Items[SkippedNodes] = Field(default=(), description="Nodes that the collector skips, and why.")


class TapioIntelligenceStatus(Status):
    """How graph store and correlation are."""

    store: Literal["neo4j", "embedded", "none"] | None = Field(default=None, description="Graph store that is used.")
    ready_components: str | None = Field(default=None, description="Ready components of all, such as 2/2.")
    components: Items[ComponentStatus] = Field(
        default=(), json_schema_extra=list_map("name"), description="Graph store and correlation and how they are."
    )
