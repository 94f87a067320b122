"""Which Secrets of its namespace a resource depends on, so that the watcher can watch those and no others; and which
ConfigMaps of certificate authorities.

A Secret that only a pod's environment or an overlay names is not among them: Kubernetes itself says when it is
missing, and the operator has no business in its content.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from tapio_shared.api import names
from tapio_shared.api.names import NODE_COLLECTORS
from tapio_shared.json import JsonValue, objects_at, str_at

AUTHORITIES_GROUP, AUTHORITIES_KIND = "tapio.io", "Authorities"
"""Under which kind the log tells of such a ConfigMap: of its keys alone (tapio_watcher.authorities)."""
_CLUSTERS = 256
"""TapioClusters whose Secrets' names are remembered: each is asked for six times, once for each Secret."""


def referenced_secrets(kind: str, document: Mapping[str, JsonValue], namespace: str) -> tuple[str, ...]:
    """Names of the Secrets in `namespace` that `document`, a resource of `kind`, names or makes; sorted.

    Includes the generated credentials, which are named after the TapioCluster. Total: what has another type than
    expected is left out.
    """
    match kind:
        case names.CLUSTER_KIND:
            secrets = _cluster(document, namespace)
        case names.COLLECTOR_KIND:
            secrets = [str_at(document, "spec", "credentialsSecretRef", "name")]
        case names.INTELLIGENCE_KIND:
            cluster = str_at(document, "spec", "clusterRef", "name")
            secrets = [names.child_name(cluster, names.NEO4J_AUTH, namespace)] if cluster else []
        case _:
            secrets = []
    return tuple(sorted({secret for secret in secrets if secret}))


def _cluster(document: Mapping[str, JsonValue], namespace: str) -> list[str]:
    secrets = [str_at(entry, "name") for entry in objects_at(document, "spec", "image", "pullSecrets")]
    secrets += [
        str_at(document, "spec", "collectors", "etcd", "credentialsSecretRef", "name"),
        str_at(document, "spec", "nats", "external", "credentialsSecretRef", "name"),
        str_at(document, "spec", "gateway", "tls", "secretRef", "name"),
        str_at(document, "spec", "gateway", "auth", "oidc", "caSecretRef", "name"),
    ]
    cluster = str_at(document, "metadata", "name")
    if cluster:
        secrets += made_secrets(cluster, namespace)
    return secrets


@lru_cache(_CLUSTERS)
def made_secrets(cluster: str, namespace: str) -> tuple[str, ...]:
    """Names of the Secrets that the operator makes for a TapioCluster in its own namespace."""
    return tuple(
        names.child_name(cluster, suffix, namespace) for suffix in (names.NEO4J_AUTH, names.NATS_AUTH, names.NATS_TLS)
    )


@lru_cache(_CLUSTERS)
def copied_secrets(cluster: str, namespace: str) -> tuple[str, ...]:
    """Names of the Secrets that the operator copies for it into the node agents' namespace."""
    return tuple(
        names.node_agent_name(cluster, names.nats_copy_suffix(kind), namespace) for kind in sorted(NODE_COLLECTORS)
    )


def referenced_elsewhere(kind: str, document: Mapping[str, JsonValue], namespace: str) -> tuple[tuple[str, str], ...]:
    """(namespace, name) of the Secrets outside `namespace` that `document`, a resource of `kind`, brings forth."""
    cluster = str_at(document, "metadata", "name")
    if kind != names.CLUSTER_KIND or not cluster:
        return ()
    elsewhere = str_at(document, "spec", "nodeAgents", "namespace") or names.NODE_NAMESPACE
    return tuple((elsewhere, name) for name in copied_secrets(cluster, namespace))


class Trust(NamedTuple):
    """The part of a TapioCluster that says which ConfigMaps of authorities it wants."""

    named: str
    """The name of the one that its gateway names; empty for none."""
    elsewhere: str
    """Namespace of its node agents."""


def trust_of(cluster: Mapping[str, JsonValue]) -> Trust:
    """What a TapioCluster says of them."""
    return Trust(
        named=str_at(cluster, "spec", "gateway", "tls", "caConfigMapRef", "name"),
        elsewhere=str_at(cluster, "spec", "nodeAgents", "namespace") or names.NODE_NAMESPACE,
    )


def trusted_config_maps(namespace: str, trust: Trust, trusted: str) -> tuple[tuple[str, str], ...]:
    """(namespace, name) of the ConfigMaps whose authorities the pods, or the gateway's route, of a TapioCluster in
    `namespace` trust; sorted.

    `trusted` is the name in the operator's configuration, which holds in every namespace with pods; empty for none.
    """
    found = {(namespace, trust.named), (namespace, trusted), (trust.elsewhere, trusted)}
    return tuple(sorted(one for one in found if one[1]))
