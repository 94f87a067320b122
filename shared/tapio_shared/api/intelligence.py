"""Neo4j (or the embedded store) and the correlation service, inline in a TapioCluster or as a TapioIntelligence."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from tapio_shared.api.base import ApiModel
from tapio_shared.api.collectors import ClusterReference
from tapio_shared.api.component import Component
from tapio_shared.api.markers import rules
from tapio_shared.api.scalars import CronSchedule, Items, ObjectName, Opaque, PluginName, Size, TimeZone


class BackupVolume(ApiModel):
    """A volume of its own for backups."""

    size: Size | None = Field(
        default=None, description="Size of the volume, which can only grow; absent means the size of Neo4j's storage."
    )
    storage_class_name: ObjectName | None = Field(
        default=None, description="StorageClass of the volume; absent means the Kubernetes cluster's default."
    )


class BackupDestination(ApiModel):
    """Where backups go."""

    pvc: BackupVolume | None = Field(default=None, description="Backups go to a PersistentVolumeClaim of their own.")


class Backup(ApiModel):
    """Scheduled backups of Neo4j."""

    enabled: bool = Field(default=False, description="Whether backups are made.")
    schedule: CronSchedule | None = Field(
        default=None, description='When backups are made, as five cron fields such as "0 2 * * *".'
    )
    time_zone: TimeZone | None = Field(
        default=None, description="Time zone of the schedule, such as Europe/Helsinki; absent means UTC."
    )
    retention: int = Field(default=7, ge=1, le=1000, description="Number of backups that are kept.")
    destination: BackupDestination | None = Field(
        default=None, description="Where backups go; absent means a volume of their own."
    )


class Neo4j(Component):
    """The graph database."""

    replicas: int = Field(
        default=1,
        ge=1,
        le=9,
        description="Number of members. More than one needs the Enterprise edition and its accepted licence; see "
        "onUnlicensed for what happens otherwise.",
    )
    storage: Size | None = Field(
        default=None,
        description="Size of each member's volume, which can only grow; absent means 100Gi in production and 10Gi "
        "in development.",
    )
    storage_class_name: ObjectName | None = Field(
        default=None,
        description="StorageClass of the volumes; absent means the Kubernetes cluster's default. Can't be changed.",
    )
    edition: Literal["Auto", "Community", "Enterprise"] = Field(
        default="Auto",
        description="Edition of Neo4j; Auto means Enterprise when its licence is accepted, otherwise Community.",
    )
    accept_license_agreement: Literal["", "yes", "eval"] = Field(
        default="",
        description='Your acceptance of Neo4j\'s Enterprise licence: "yes" when you have one, "eval" to evaluate; '
        "empty means not accepted. The operator never sets it.",
    )
    on_unlicensed: Literal["RunOne", "Refuse"] = Field(
        default="RunOne",
        description="What happens when several members are asked for without an accepted licence: RunOne runs one "
        "Community member and says so in the condition Degraded, Refuse runs none.",
    )
    plugins: Items[PluginName] | None = Field(
        default=None, max_length=20, description='Neo4j plugins that are installed at start, such as "apoc".'
    )
    backup: Backup | None = Field(default=None, description="Scheduled backups; absent means none.")


class Engine(ApiModel):
    """One engine of the correlation service."""

    enabled: bool = Field(default=True, description="Whether the engine runs.")
    config: Opaque | None = Field(
        default=None, description="Settings that are merged over the engine's part of the configuration file."
    )


class Engines(ApiModel):
    """The engines of the correlation service."""

    pattern_detection: Engine = Field(default_factory=Engine, description="The engine that finds recurring patterns.")
    event_correlation: Engine = Field(
        default_factory=Engine, description="The engine that joins events of different sources."
    )
    root_cause: Engine = Field(default_factory=Engine, description="The engine that looks for root causes.")


class Correlation(Component):
    """The correlation service."""

    replicas: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Number of pods; absent means 2 in production and 1 otherwise. Always 1 with the embedded store, "
        "whose graph is on one pod's volume. Not set on the Deployment while an autoscaler owns it.",
    )
    engines: Engines = Field(default_factory=Engines, description="The engines of the correlation service.")


_STORE_RULES = (
    (
        "!(has(self.embedded) && self.embedded && has(self.neo4j))",
        "embedded and neo4j exclude each other: remove one of them.",
    ),
    (
        "!has(self.neo4j) || !has(oldSelf.neo4j) || "
        "(has(self.neo4j.storageClassName) ? [self.neo4j.storageClassName] : []) == "
        "(has(oldSelf.neo4j.storageClassName) ? [oldSelf.neo4j.storageClassName] : [])",
        "neo4j.storageClassName can't be changed after creation.",
    ),
)


class Intelligence(ApiModel):
    """Graph store and correlation."""

    model_config = ConfigDict(json_schema_extra=rules(*_STORE_RULES))

    embedded: bool | None = Field(
        default=None,
        description="Whether the correlation service's embedded graph store is used instead of Neo4j; absent means "
        "only on the edge, unless neo4j is given.",
    )
    neo4j: Neo4j | None = Field(
        default=None, description="The graph database; absent means the profile's, unless embedded is true."
    )
    correlation: Correlation = Field(default_factory=Correlation, description="The correlation service.")


class TapioIntelligenceSpec(Intelligence):
    """Graph store and correlation of the TapioCluster that it names, used whole."""

    model_config = ConfigDict(json_schema_extra=rules(*_STORE_RULES))

    cluster_ref: ClusterReference = Field(
        description="The TapioCluster that this belongs to, in the same namespace; must not set spec.intelligence."
    )
