"""The operator's own configuration: the key `config.yaml` of the ConfigMap `tapio-operator-config`.

Parses and judges; keeping the last good configuration, and telling people that the newest is not, is the caller's.
Refuses YAML anchors: a configuration needs none, and nested ones can grow without bound.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from copy import deepcopy
from datetime import timedelta
from functools import cache
from typing import Annotated, Final, TypeAlias, cast

import yaml
from pydantic import AfterValidator, Field, ValidationError

from tapio_shared.api.base import ApiModel
from tapio_shared.api.duration import parse_duration
from tapio_shared.api.fields import field_problems
from tapio_shared.api.images import DEFAULT_IMAGES
from tapio_shared.api.names import NODE_NAMESPACE
from tapio_shared.api.problems import Problem, one_answer
from tapio_shared.api.scalars import (
    Duration,
    HostName,
    HttpUrl,
    ImageReference,
    ImageRegistry,
    Items,
    NamespaceName,
    ObjectName,
    refusal,
)
from tapio_shared.api.schema import model_schema
from tapio_shared.api.trust import Trust
from tapio_shared.errors import InvalidSettings
from tapio_shared.installation import NAMESPACE
from tapio_shared.json import JsonObject, JsonValue
from tapio_shared.yaml_keys import refuse_keys_that_stand_twice

CONFIG_MAP: Final = "tapio-operator-config"
CONFIG_KEY: Final = "config.yaml"
MIN_RECONCILE_INTERVAL: Final = timedelta(seconds=1)
MAX_CHARACTERS: Final = 256 * 1024


def _known(component: str) -> str:
    if component not in DEFAULT_IMAGES:
        raise refusal(f"one of {', '.join(DEFAULT_IMAGES)}")
    return component


ImageComponent: TypeAlias = Annotated[str, AfterValidator(_known)]


def _not_too_short(text: str) -> str:
    if parse_duration(text) < MIN_RECONCILE_INTERVAL:
        raise refusal("at least 1s")
    return text


class Webhooks(ApiModel):
    """The admission webhooks."""

    enabled: bool = Field(default=True, description="Whether the webhook service registers itself with the API server.")


class Listener(ApiModel):
    """A port that every service listens on."""

    port: int = Field(ge=1, le=65535, description="TCP port; a change takes a restart.")


class OperatorNodeAgents(ApiModel):
    """Where node agents may live."""

    allowed_namespaces: Items[NamespaceName] = Field(
        default=(NODE_NAMESPACE,), description="Namespaces that spec.nodeAgents.namespace may name."
    )


class Security(ApiModel):
    """Whom the operator trusts."""

    trusted_namespaces: Items[NamespaceName] = Field(
        default=(NAMESPACE,),
        description="Namespaces whose resources may override image, command, args, env, podTemplate and capabilities "
        "of node agents: whoever may write there is root on the nodes.",
    )


class Images(ApiModel):
    """Images that components run when their spec names none."""

    defaults: dict[ImageComponent, ImageReference] = Field(
        default_factory=dict[str, str],
        description="Image by component, instead of the operator's own table.",
    )
    registry: ImageRegistry | None = Field(
        default=None, description="Registry that replaces that of every default image, such as a mirror."
    )


def _without_credentials(url: str) -> str:
    if "@" in url:
        raise refusal("without credentials: this configuration is no secret")
    return url


def _domain(text: str) -> str:
    if "*" in text:
        raise refusal("a domain such as cluster.local")
    return text


ProxyUrl: TypeAlias = Annotated[HttpUrl, AfterValidator(_without_credentials)]


class Proxy(ApiModel):
    """The HTTP proxy through which components reach what is outside the Kubernetes cluster."""

    url: ProxyUrl | None = Field(
        default=None, description="Address such as http://proxy.example.com:3128; absent means no proxy."
    )
    no_proxy: Items[str] = Field(
        default=(),
        max_length=100,
        description="Hosts, domains and address blocks that are reached directly, such as the pods' and the Services' "
        "address blocks. Names of the Kubernetes cluster and its API server always are.",
    )


class CertificateAuthorities(ApiModel):
    """A ConfigMap with certificates of authorities, in the namespace of every pod that trusts them."""

    name: ObjectName = Field(description="Name of the ConfigMap.")
    key: str = Field(
        default="ca.crt", pattern=r"^[-._a-zA-Z0-9]{1,253}$", description="Key that holds the certificates, as PEM."
    )


class Network(ApiModel):
    """What components must know of the network that they run in."""

    cluster_domain: Annotated[HostName, AfterValidator(_domain)] = Field(
        default="cluster.local", description="Domain of the Kubernetes cluster's own names."
    )
    proxy: Proxy = Field(default_factory=Proxy, description="The way outside, where there is no direct one.")
    ca_config_map: CertificateAuthorities | None = Field(
        default=None,
        description="Authorities that Tapio's programs trust besides those of their images; absent means no others.",
    )


class Limits(ApiModel):
    """How much one Kubernetes cluster is asked to do at once, by each process of the operator."""

    concurrent_clusters: int = Field(
        default=32, ge=1, le=1000, description="TapioClusters of one Kubernetes cluster that a worker acts on at once."
    )
    concurrent_requests: int = Field(
        default=64,
        ge=1,
        le=1000,
        description="Requests to one API server under way at once, watches excepted.",
    )
    requests_per_second: float | None = Field(
        default=None,
        ge=1,
        description="Requests to one API server that leave in a second, twice as many at once after a rest; absent "
        "means no limit of ours: API servers have their own, which are heeded.",
    )


class TargetLimits(ApiModel):
    """What differs from `limits` for one target."""

    concurrent_clusters: int | None = Field(default=None, ge=1, le=1000, description="Instead of that of limits.")
    concurrent_requests: int | None = Field(default=None, ge=1, le=1000, description="Instead of that of limits.")
    requests_per_second: float | None = Field(default=None, ge=1, description="Instead of that of limits.")


class OperatorConfig(ApiModel):
    """The operator's configuration; every field has a default."""

    reconcile_interval: Annotated[Duration, AfterValidator(_not_too_short)] = Field(
        default="30s", description="Time between two comparisons with the API server's own list, at least 1s."
    )
    leader_election: bool = Field(
        default=True, description="Whether watchers elect a leader; without, exactly one replica may run."
    )
    webhooks: Webhooks = Field(default_factory=Webhooks, description="The admission webhooks.")
    metrics: Listener = Field(default=Listener(port=8080), description="Where Prometheus metrics are served.")
    health: Listener = Field(default=Listener(port=8081), description="Where health and readiness are served.")
    node_agents: OperatorNodeAgents = Field(
        default_factory=OperatorNodeAgents, description="Where node agents may live."
    )
    security: Security = Field(default_factory=Security, description="Whom the operator trusts.")
    images: Images = Field(default_factory=Images, description="Images that components run by default.")
    planner_logic: int = Field(
        default=1,
        ge=1,
        description="Revision of the rules of order and of retries by which the planner decides. A release that does "
        "not know it decides by its newest; CHANGELOG.md says what each brings.",
    )
    limits: Limits = Field(
        default_factory=Limits, description="How much one Kubernetes cluster is asked to do, whichever it is."
    )
    target_limits: dict[ObjectName, TargetLimits] = Field(
        default_factory=dict[str, TargetLimits],
        description="What differs from limits, by name of the target; the operator's own cluster is named local.",
    )
    network: Network = Field(default_factory=Network, description="What components must know of the network.")

    @classmethod
    def recorded(cls, document: JsonObject) -> OperatorConfig:
        """What this version knows of a configuration that any version recorded: a newer one has further fields."""
        try:
            return cls.from_document(document)
        except ValidationError as err:
            unknown = [one["loc"] for one in err.errors() if one["type"] == "extra_forbidden"]
            if not unknown:
                raise
        known = deepcopy(document)
        for location in unknown:
            inner = known
            for step in location[:-1]:
                inner = cast("JsonObject", inner[str(step)])
            del inner[str(location[-1])]
        return cls.from_document(known)

    def limits_of(self, target: str) -> Limits:
        """The limits for one target."""
        own = self.target_limits.get(target)
        if own is None:
            return self.limits
        return self.limits.model_copy(update={name: value for name, value in own if value is not None})

    @property
    def interval(self) -> timedelta:
        """`reconcile_interval` as a span."""
        return parse_duration(self.reconcile_interval)

    @property
    def trust(self) -> Trust:
        """What the validation of resources needs to know."""
        return Trust(self.security.trusted_namespaces, self.node_agents.allowed_namespaces)

    @property
    def image_overrides(self) -> Mapping[str, str]:
        """`images.defaults` as default_image() takes it."""
        return self.images.defaults


def parse_operator_config(text: str) -> OperatorConfig:
    """The configuration that `text` (YAML) holds. Raises InvalidSettings, which names all that is wrong."""
    problems, document = _judged(text)
    if problems:
        raise InvalidSettings(f"ConfigMap {CONFIG_MAP}, key {CONFIG_KEY}: {one_answer(problems)}")
    return OperatorConfig.from_document(document)


def operator_config_problems(text: str) -> tuple[Problem, ...]:
    """All that is wrong with a configuration; empty when it can be used. Total."""
    return _judged(text)[0]


def _judged(text: str) -> tuple[tuple[Problem, ...], JsonValue]:
    if len(text) > MAX_CHARACTERS:
        too_long = f"{CONFIG_KEY} holds {len(text)} characters; it must hold at most {MAX_CHARACTERS}."
        return (Problem(CONFIG_KEY, None, too_long),), None
    try:
        document = _json(yaml.load(text, Loader=_PlainLoader))  # noqa: S506 - a SafeLoader; it refuses anchors and keys that stand twice
    except (yaml.YAMLError, ValueError, RecursionError) as err:
        lines = " ".join(str(err).split()) or type(err).__name__
        return (Problem(CONFIG_KEY, None, f"{CONFIG_KEY} is not valid YAML: {lines}."),), None
    document = _without_null({} if document is None else document)
    if not isinstance(document, dict):
        return (
            Problem(CONFIG_KEY, document, f"{CONFIG_KEY} must hold an object, such as reconcileInterval: 30s."),
        ), None
    return tuple(field_problems(OperatorConfig, _schema(), document, ())), document


@cache
def _schema() -> JsonObject:
    return model_schema(OperatorConfig)


class _PlainLoader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("anchors and aliases are not allowed in it")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        refuse_keys_that_stand_twice(node)
        return super().construct_mapping(node, deep=deep)


def _json(value: object) -> JsonValue:
    """What YAML holds as JSON; dates and other types of its own become texts, for the validator to refuse."""
    if isinstance(value, dict):
        return {str(key): _json(child) for key, child in cast("dict[object, object]", value).items()}
    if isinstance(value, list):
        return [_json(child) for child in cast("list[object]", value)]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _without_null(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _without_null(child) for key, child in value.items() if child is not None}
    return value
