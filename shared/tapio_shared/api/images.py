"""Which image runs which component when nobody names one, and how a registry is replaced.

The whole table is here. Upstream's release images are not stable: the names of Tapio's own programs are where its
releases are meant to be, and `published` says that they must be named by the user until they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

DEFAULT_TAPIO_VERSION: Final = "v0.1.0"
"""Version of Tapio's own programs that a TapioCluster is pinned to when it is created without one."""


@dataclass(frozen=True, slots=True)
class DefaultImage:
    """The image of one component: `version` empty means the TapioCluster's version; `variant` ends the tag."""

    repository: str
    version: str = ""
    variant: str = ""
    published: bool = True


def _own(name: str) -> DefaultImage:
    return DefaultImage(f"ghcr.io/yairfalse/tapio-{name}", published=False)


NEO4J_ENTERPRISE: Final = "neo4j-enterprise"
NATS_EXPORTER: Final = "nats-exporter"
OPERATOR: Final = "operator"
"""The operator's own image: it holds every program of this project, and Jobs run one of them."""

DEFAULT_IMAGES: Final[Mapping[str, DefaultImage]] = {
    "nats": DefaultImage("docker.io/library/nats", "2.12", "-alpine"),
    NATS_EXPORTER: DefaultImage("docker.io/natsio/prometheus-nats-exporter", "0.17.3"),
    "neo4j": DefaultImage("docker.io/library/neo4j", "5.26", "-community"),
    NEO4J_ENTERPRISE: DefaultImage("docker.io/library/neo4j", "5.26", "-enterprise"),
    OPERATOR: _own("operator"),
    "correlation": _own("correlation"),
    "gateway": _own("gateway"),
    "ebpf": _own("ebpf-collector"),
    "systemd": _own("systemd-collector"),
    "cni": _own("cni-collector"),
    "kubernetes": _own("kubernetes-collector"),
    "etcd": _own("etcd-collector"),
}
"""By component; collectors by their type."""


def default_image(
    component: str,
    *,
    tapio_version: str,
    version: str | None = None,
    overrides: Mapping[str, str] | None = None,
    registry: str | None = None,
) -> str:
    """The image of `component` when its spec names none. Raises KeyError for an unknown component.

    `version` is the component's own, `tapio_version` the TapioCluster's; `overrides` are the operator's
    `images.defaults`, whose tag a given `version` replaces; `registry` replaces that of the result.
    """
    default = DEFAULT_IMAGES[component]
    override = (overrides or {}).get(component)
    if override is None:
        tag = f"{version or default.version or tapio_version}{default.variant}"
        reference = f"{default.repository}:{tag}"
    else:
        own_version = "" if default.version else tapio_version
        reference = _with_version(override, version, fallback=own_version)
    return with_registry(reference, registry) if registry else reference


def explicit_image(image: str, *, version: str | None, tapio_version: str) -> str:
    """The image that a spec names; one without tag and digest gets the component's version, or Tapio's."""
    return image if has_tag(image) else f"{image}:{version or tapio_version}"


def has_tag(image: str) -> bool:
    """Whether `image` names a tag or a digest."""
    return "@" in image or ":" in image.rpartition("/")[2]


def with_registry(image: str, registry: str) -> str:
    """`image` from `registry` instead of its own: `docker.io/library/nats:2` is `<registry>/library/nats:2`."""
    first, slash, rest = image.partition("/")
    names_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return f"{registry}/{rest if names_registry else image}"


def _with_version(image: str, version: str | None, *, fallback: str) -> str:
    if "@" in image:
        return image
    if has_tag(image):
        return f"{image.rpartition(':')[0]}:{version}" if version else image
    return f"{image}:{version or fallback}" if version or fallback else image
