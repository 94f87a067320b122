"""What an API server of a given Kubernetes version serves, of the kinds that the operator knows, without asking one.

For rendering without a cluster. The operator itself never guesses: it asks the API server (`kubernetes.discover`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from tapio_shared.api.kinds import ALL_KINDS, BACKLOG_METRIC, DISCOVERED_KINDS
from tapio_shared.api.names import API_GROUP
from tapio_shared.errors import InvalidSettings
from tapio_shared.facts import DiscoveryObserved, ServedResource

OLDEST: Final = (1, 20)
NEWEST: Final = "1.31"
"""The version that is meant when none is named."""

_KINDS: Final = (*ALL_KINDS, *DISCOVERED_KINDS)
_BUILT_IN: Final = frozenset(
    {
        "",
        "apps",
        "autoscaling",
        "batch",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
        API_GROUP,
    }
)
_SINCE: Final[Mapping[tuple[str, str], tuple[int, int]]] = {
    ("autoscaling", "v2"): (1, 23),
    ("batch/CronJob", "v1"): (1, 21),
    ("policy", "v1"): (1, 21),
}
_REMOVED_IN: Final[Mapping[tuple[str, str], tuple[int, int]]] = {
    ("autoscaling", "v2beta2"): (1, 26),
    ("batch/CronJob", "v1beta1"): (1, 25),
    ("networking.k8s.io", "v1beta1"): (1, 22),
    ("policy", "v1beta1"): (1, 25),
}
"""By a group (or `group/Kind`) and a version; https://kubernetes.io/docs/reference/using-api/deprecation-guide/"""
_VERSION = re.compile(r"v?(\d{1,3})\.(\d{1,3})(?:[.+-].*)?", re.ASCII)


def assumed_discovery(kubernetes: str = NEWEST, further: Sequence[str] = ()) -> DiscoveryObserved:
    """What an API server of version `kubernetes` (1.29, v1.29.3) serves, with the `further` group/versions.

    Raises InvalidSettings with a whole sentence for a version or a group/version that the operator does not know.
    """
    version = _parsed(kubernetes)
    unknown = [one for one in further if one not in further_groups()]
    if unknown:
        raise InvalidSettings(
            f"The operator makes no objects of {', '.join(unknown)}; what may be served besides Kubernetes' own APIs, "
            f"and makes a difference, is {', '.join(further_groups())}."
        )
    return DiscoveryObserved(
        version=f"v{version[0]}.{version[1]}.0",
        resources=[
            ServedResource(
                group=kind.group,
                version=one,
                kind=kind.kind,
                plural=kind.plural or BACKLOG_METRIC,
                namespaced=kind.namespaced,
            )
            for kind in _KINDS
            for one in kind.versions
            if _is_built_in(kind.group, kind.kind, one, version) or f"{kind.group}/{one}" in further
        ],
        observed_at=0,
    )


def further_groups() -> tuple[str, ...]:
    """Every group/version that the operator can use and that Kubernetes itself does not bring."""
    return tuple(
        sorted({f"{kind.group}/{one}" for kind in _KINDS for one in kind.versions if kind.group not in _BUILT_IN})
    )


def _is_built_in(group: str, kind: str, version: str, kubernetes: tuple[int, int]) -> bool:
    if group not in _BUILT_IN:
        return False
    names = ((group, version), (f"{group}/{kind}", version))
    since = max(_SINCE.get(name, OLDEST) for name in names)
    removed = [_REMOVED_IN[name] for name in names if name in _REMOVED_IN]
    return since <= kubernetes and all(kubernetes < one for one in removed)


def _parsed(text: str) -> tuple[int, int]:
    found = _VERSION.fullmatch(text)
    if found is None:
        raise InvalidSettings(f"{text!r} is no Kubernetes version; write it like {NEWEST} or v{NEWEST}.2.")
    version = int(found[1]), int(found[2])
    if version < OLDEST or version[0] != OLDEST[0]:
        raise InvalidSettings(f"Kubernetes {text} is not supported; the oldest supported version is 1.{OLDEST[1]}.")
    return version
