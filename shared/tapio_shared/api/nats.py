"""The message backbone of a TapioCluster: a NATS of its own with JetStream, or an external one."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field

from tapio_shared.api.base import ApiModel
from tapio_shared.api.component import Component, SecretReference
from tapio_shared.api.markers import rules
from tapio_shared.api.scalars import Duration, NatsUrl, ObjectName, Opaque, Size

USABLE_SHARE = Decimal("0.95")
"""Of a server's volume, so that the file system never fills up before JetStream's own limit is reached."""


class Observations(ApiModel):
    """Limits of the stream OBSERVATIONS, which holds what collectors publish."""

    max_age: Duration = Field(
        default="24h", description="How long observations are kept, as a duration such as 24h or 90m."
    )
    max_bytes: Size | None = Field(
        default=None,
        description="Bytes of observations that are kept before the oldest are dropped; absent means 1Gi in "
        "development, 10Gi in production and 512Mi on the edge.",
    )


class ExternalNats(ApiModel):
    """A NATS that somebody else runs."""

    url: NatsUrl = Field(
        description="Address of the servers, such as tls://nats.example.com:4222; several with commas between them."
    )
    credentials_secret_ref: SecretReference | None = Field(
        default=None,
        description="Secret with the key nats.creds, or with username and password; absent means no credentials.",
    )


class Nats(Component):
    """The NATS of a TapioCluster."""

    replicas: int | None = Field(
        default=None,
        ge=1,
        le=9,
        json_schema_extra=rules(("self % 2 == 1", "The number of NATS servers must be odd, so that they can vote.")),
        description="Number of servers, which must be odd; absent means 3 in production and 1 otherwise.",
    )
    config: Opaque | None = Field(
        default=None,
        description="Settings that are merged over the servers' own configuration file, with the same structure. One "
        "that NATS does not know keeps every server from starting.",
    )
    storage: Size | None = Field(
        default=None,
        description="Size of each server's volume, which can only grow; absent means 2Gi in development, 20Gi in "
        "production and 1Gi on the edge.",
    )
    storage_class_name: ObjectName | None = Field(
        default=None,
        description="StorageClass of the volumes; absent means the Kubernetes cluster's default. Can't be changed.",
    )
    tls: bool | None = Field(
        default=None,
        description="Whether clients and servers, and servers among themselves, speak TLS with certificates that the "
        "operator makes and renews; absent means only in production. Has no effect on an external NATS.",
    )
    observations: Observations = Field(
        default_factory=Observations, description="Limits of the stream that holds the observations."
    )
    external: ExternalNats | None = Field(
        default=None, description="A NATS that somebody else runs; when set, none is installed."
    )
