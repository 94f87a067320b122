"""Names of the objects the operator makes: short, valid, and never the same for two clusters.

A name is readable where that is possible (`production-neo4j`) and carries a hash where it isn't. The *suffix* is
never cut for the cluster's sake: two objects of one cluster with a long name must stay apart, and the hash, which
covers the cluster alone, could not tell them from each other.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Final

from tapio_shared.keys import ObjectRef

MAX_CHILD_NAME: Final = 52
"""A StatefulSet's pods carry a `controller-revision-hash` label of `<name>-<10 characters>` within 63."""

NODE_NAMESPACE: Final = "tapio-nodes"
"""Where node agents live unless the TapioCluster says otherwise; shipped by deploy/ with the privileged label."""

API_GROUP: Final = "tapio.io"
API_VERSION: Final = "tapio.io/v1alpha1"
CLUSTER_KIND: Final = "TapioCluster"
COLLECTOR_KIND: Final = "TapioCollector"
INTELLIGENCE_KIND: Final = "TapioIntelligence"

NODE_COLLECTORS: Final = frozenset({"ebpf", "systemd", "cni"})
"""Types of collectors that are node agents."""

FIELD_MANAGER: Final = "tapio-operator"
"""As whom the operator applies (metadata.managedFields)."""

NATS: Final = "nats"
NATS_HEADLESS: Final = "nats-headless"
NATS_CONFIG: Final = "nats-config"
NATS_AUTH: Final = "nats-auth"
NATS_TLS: Final = "nats-tls"
STREAMS: Final = "streams"
NEO4J: Final = "neo4j"
NEO4J_AUTH: Final = "neo4j-auth"
CORRELATION: Final = "correlation"
GATEWAY: Final = "gateway"

_MAX_SUFFIX: Final = 30
_HASH_LENGTH: Final = 8
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_DNS_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_OF_RESOURCE = re.compile(r"(ebpf|systemd|cni|kubernetes|etcd)-", re.ASCII)
_NOT_ALLOWED = re.compile(r"[^a-z0-9]+", re.ASCII)


def is_dns_label(text: str) -> bool:
    """Whether `text` may name a namespace, or a part of a host's name (RFC 1123); a Service's begins with a letter."""
    return len(text) <= 63 and _DNS_1123.fullmatch(text) is not None


@lru_cache(maxsize=8_192)
def child_name(cluster: str, suffix: str, namespace: str) -> str:
    """Name of an object of `cluster` in its own namespace: `<cluster>-<suffix>`, hashed when that is no valid name.

    At most 52 characters, a DNS-1035 label. `namespace` is the TapioCluster's and only enters the hash. A suffix
    that holds a TapioCollector's name is always hashed: `a` with its collector `gateway` must not meet the gateway
    of a cluster that is called `a-kubernetes`.
    """
    plain = f"{cluster}-{suffix}"
    if len(plain) <= MAX_CHILD_NAME and _DNS_1035.fullmatch(plain) and not _OF_RESOURCE.match(suffix):
        return plain
    return _hashed(cluster, suffix, namespace)


def node_agent_name(cluster: str, suffix: str, namespace: str) -> str:
    """Name of an object of `cluster` in the node agents' namespace, which clusters share: always hashed."""
    return _hashed(cluster, suffix, namespace)


def neo4j_member_suffix(index: int) -> str:
    """Suffix of the StatefulSet of one Neo4j member; the Community edition is member 0 alone."""
    return f"{NEO4J}-{index}"


def collector_suffix(collector_type: str, resource: str | None = None) -> str:
    """Suffix of a collector's objects: the type, and the TapioCollector's name when it comes from one."""
    return collector_type if resource is None else f"{collector_type}-{resource}"


def nats_copy_suffix(collector_type: str) -> str:
    """Suffix of the Secret with which node agents of one type reach NATS."""
    return f"{NATS}-{collector_type}"


def cluster_scoped_name(namespace: str, cluster: str, component: str) -> str:
    """Name of a cluster-scoped object (ClusterRole, ClusterRoleBinding): `tapio:<namespace>:<name>:<component>`."""
    return f"tapio:{namespace}:{cluster}:{component}"


def cluster_ref(namespace: str, name: str) -> ObjectRef:
    """The TapioCluster itself, as the log names it."""
    return ObjectRef(API_GROUP, CLUSTER_KIND, namespace, name)


def short_hash(text: str) -> str:
    """8 hexadecimal digits that stand for `text` in a name."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]


def _hashed(cluster: str, suffix: str, namespace: str) -> str:
    tail, covered = suffix, f"{namespace}/{cluster}"
    if len(suffix) > _MAX_SUFFIX or _sanitised(suffix) != suffix or _OF_RESOURCE.match(suffix):
        # The suffix holds a TapioCollector's name; it enters the hash, since it may have to be cut.
        tail, covered = _sanitised(suffix)[:_MAX_SUFFIX].rstrip("-"), f"{namespace}/{cluster}/{suffix}"
    end = f"-{tail}-{short_hash(covered)}" if tail else f"-{short_hash(covered)}"
    start = _sanitised(cluster)
    if not start[:1].isalpha():
        start = f"t{start}"
    return start[: MAX_CHILD_NAME - len(end)].rstrip("-") + end


def _sanitised(text: str) -> str:
    return _NOT_ALLOWED.sub("-", text.lower()).strip("-")
