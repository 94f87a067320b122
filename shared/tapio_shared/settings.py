"""Settings of every service, read once from the environment, in `__main__`.

All problems are told at once. Each setting says its unit, its default and why that is the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from tapio_shared.api.names import is_dns_label
from tapio_shared.errors import InvalidSettings
from tapio_shared.installation import NAMESPACE, NATS_PORT, NATS_SERVICE, OWN_TARGET
from tapio_shared.keys import DEFAULT_PARTITIONS, MAX_PARTITIONS

Port = Annotated[int, Field(ge=0, le=65_535)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lambda text: str(text).lower())]
_PREFIX = "TAPIO_"
_NATS_SCHEMES = ("nats", "tls", "ws", "wss")


class Settings(BaseModel):
    """Settings that the services share; each variable is the field's name in capitals after `TAPIO_`."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    nats_url: str = Field(
        default=f"nats://{NATS_SERVICE}.{NAMESPACE}.svc:{NATS_PORT}",
        min_length=1,
        description="Addresses of the operator's NATS servers, separated by commas.",
    )
    nats_credentials: str = Field(
        default="",
        description='Path of a NATS credentials file, or of one with {"user": …, "password": …}, read again with each '
        "connection; empty means none.",
    )
    nats_ca: str = Field(
        default="", description="Path of the CA of the NATS servers' certificates; empty means no TLS."
    )
    nats_replicas: Annotated[Literal[1, 3, 5], BeforeValidator(int)] = Field(
        default=1, description="Replicas of each stream: 1 on a single NATS server, 3 on three or more."
    )
    log_max_bytes: int = Field(
        default=2 << 30,
        ge=1 << 20,
        lt=1 << 63,
        description="Bytes the log may take, uncompressed; 2 GiB suits some 1,000 clusters.",
    )
    log_max_age_days: float = Field(
        default=30, gt=0, le=36_500, description="Days a message is kept unless it is swept onward."
    )
    kubeconfig: str = Field(
        default="", description="Path of a kubeconfig; empty means the pod's own service account, never ~/.kube/config."
    )
    kube_context: str = Field(default="", description="Context in the kubeconfig; empty means its current one.")
    target: str = Field(default=OWN_TARGET, min_length=1, max_length=63, description="Name of this Kubernetes cluster.")
    partitions: int = Field(
        default=DEFAULT_PARTITIONS,
        ge=1,
        le=MAX_PARTITIONS,
        description="Partitions of the log; fixed when the stream is made.",
    )
    namespace: str = Field(default=NAMESPACE, min_length=1, description="The operator's own namespace.")
    name: str = Field(default="", description="Name of this process among its peers; empty means the host's name.")
    log_level: LogLevel = Field(
        default="info", description="debug, info, warning or error; info writes one line per reconcile."
    )
    bind_address: str = Field(
        default="0.0.0.0",  # noqa: S104 - probes and scrapes come from outside the pod
        description="Address of the health, metrics and webhook ports; 0.0.0.0 means all of IPv4 and of IPv6.",
    )
    health_port: Port | None = Field(
        default=None, description="Port of /healthz and /readyz; 0 takes any free one, empty the ConfigMap's (8081)."
    )
    metrics_port: Port | None = Field(
        default=None, description="Port of /metrics; 0 takes any free one, empty the ConfigMap's (8080)."
    )
    webhook_port: Port = Field(default=9443, description="TLS port of the webhook; 0 takes any free one.")
    webhook_url: str = Field(
        default="", description="URL at which API servers reach the webhook; empty means its Service, as in a cluster."
    )
    ports_file: str = Field(
        default="", description="File that the ports in use are written to as JSON, for `make run`; empty means none."
    )

    @field_validator("target")
    @classmethod
    def _is_label(cls, text: str) -> str:
        if not is_dns_label(text):
            raise ValueError("it must be a lower-case DNS label, such as local, since a Lease is named after it")
        return text

    @field_validator("nats_url")
    @classmethod
    def _is_addresses(cls, text: str) -> str:
        for one in text.split(","):
            address = urlsplit(one.strip())
            if address.scheme not in _NATS_SCHEMES or not address.hostname:
                allowed = ", ".join(f"{scheme}://" for scheme in _NATS_SCHEMES)
                raise ValueError(f"every address must begin with one of {allowed} and name a host")
            _ = address.port  # ValueError where that is none
        return text

    @model_validator(mode="after")
    def _is_consistent(self) -> Settings:
        if self.kube_context and not self.kubeconfig:
            raise ValueError("TAPIO_KUBE_CONTEXT names a context, but TAPIO_KUBECONFIG no file that holds it")
        return self

    @property
    def nats_servers(self) -> list[str]:
        return [one.strip() for one in self.nats_url.split(",") if one.strip()]


def variable(field: str) -> str:
    """The environment variable that a field of Settings is read from: `log_level` from `TAPIO_LOG_LEVEL`."""
    return f"{_PREFIX}{field.upper()}"


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings in `environment`. `InvalidSettings` names every variable that is wrong, and what is allowed.

    Variables that start with `TAPIO_` and are none of ours are left alone: Kubernetes injects some for Services.
    """
    found = {
        name: environment[variable(name)] for name in Settings.model_fields if environment.get(variable(name), "") != ""
    }
    try:
        return Settings.model_validate(found)
    except ValidationError as err:
        problems = "; ".join(_problem(one["loc"], one["input"], one["msg"]) for one in err.errors())
        raise InvalidSettings(f"These settings are not allowed: {problems}.") from err


def _problem(location: tuple[int | str, ...], found: object, message: str) -> str:
    what = message.removeprefix("Value error, ")
    if not location:
        return what
    return f"{variable(str(location[0]))} is {found!r}: {what}"
