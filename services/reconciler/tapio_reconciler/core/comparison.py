"""Whether an observed object still holds what we want of it.

Only desired fields are compared, and semantically: the API server fills in defaults, drops empty values, rewrites
quantities (`1000m` becomes `1`) and keeps lists that are maps by a key in any order. Fields we do not name belong to
others (an HPA's replicas, `kubectl rollout restart`'s annotation) and are never looked at. What this can't settle is
settled by the server itself: see `OutcomeRecorded.settled`.

Atomic fields belong to their owner as a whole, and an apply sets all of them back: a list that is no map by a key, with
everything in its entries, a selector, a reference. `whole` looks at what others add there too; only what the server
itself fills in is theirs. Of Kubernetes' own kinds alone: which defaults a custom resource has in an entry depends on
the version of its definition.

Source: the Kubernetes API reference (`x-kubernetes-list-map-keys`, `x-kubernetes-list-type`, `x-kubernetes-map-type`).
Until Kubernetes 1.21 no map was atomic: there an apply takes nothing out of one, and what it leaves is settled.
"""

from __future__ import annotations

from collections.abc import Mapping

from tapio_shared.api.labels import DESIRED_HASH, REVISION
from tapio_shared.api.quantity import parse_quantity
from tapio_shared.codec import digest
from tapio_shared.json import JsonObject, JsonValue, object_at, str_at

_MAP_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "hostAliases": ("ip",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "conditions": ("type",),
}
_ATOMIC = frozenset(
    {
        "configMapKeyRef",
        "dataSource",
        "fieldRef",
        "fileKeyRef",
        "imagePullSecrets",
        "labelSelector",
        "namespaceSelector",
        "nodePublishSecretRef",
        "nodeSelector",
        "ownerReferences",
        "podSelector",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "resourceFieldRef",
        "roleRef",
        "secretKeyRef",
        "selector",
    }
)
"""Objects, and entries of lists that are maps, that are owned as a whole. `secretRef` is one of volumes alone, where
nothing is added to it."""
_FILLED_IN: Mapping[tuple[str, str], JsonValue] = {
    ("fieldRef", "apiVersion"): "v1",
    ("ports", "protocol"): "TCP",
    ("resourceFieldRef", "divisor"): "0",
    ("roleRef", "apiGroup"): "rbac.authorization.k8s.io",
    ("serviceAccountToken", "expirationSeconds"): 3600,
    ("spec", "volumeMode"): "Filesystem",
    ("subjects", "apiGroup"): "rbac.authorization.k8s.io",
    ("volumeClaimTemplates", "apiVersion"): "v1",
    ("volumeClaimTemplates", "kind"): "PersistentVolumeClaim",
    ("volumeClaimTemplates", "status"): {"phase": "Pending"},
}
"""(List or object, field of it) -> what the API server puts there when it is left out, of what is atomic or in it.
https://github.com/kubernetes/kubernetes/tree/master/pkg/apis (each group's `defaults.go`)."""
_MAPS = frozenset({"annotations", "labels", "limits", "matchLabels", "nodeSelector", "requests"})
"""Objects that are dropped when they are empty; an empty one of other names is a choice, such as of all namespaces."""
_KUBERNETES = frozenset(
    {
        "",
        "apps",
        "autoscaling",
        "batch",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
    }
)
"""API groups whose kinds are Kubernetes' own."""
_QUANTITIES = frozenset({"requests", "limits", "capacity", "minAllowed", "maxAllowed", "hard"})
_QUANTITY_FIELDS = frozenset({"sizeLimit", "averageValue", "value", "divisor"})
_FOREIGN_ANNOTATIONS = frozenset({DESIRED_HASH, REVISION})


def holds(observed: JsonObject, desired: JsonObject, *, whole: bool = False) -> bool:
    """Whether every field of `desired` is in `observed` with an equal meaning; `whole`: and nothing else in what is
    owned as a whole."""
    group = str_at(desired, "apiVersion").rpartition("/")[0]
    return _holds_fields(observed, desired, (), whole and group in _KUBERNETES)


def settled_digest(observed: JsonObject) -> str:
    """Digest of what an object's writers decide: everything but status and the server's own metadata."""
    body = {name: value for name, value in observed.items() if name not in {"status", "metadata"}}
    metadata = object_at(observed, "metadata")
    annotations = {
        name: value for name, value in object_at(metadata, "annotations").items() if name not in _FOREIGN_ANNOTATIONS
    }
    return digest(
        {
            "body": body,
            "labels": metadata.get("labels"),
            "annotations": annotations,
            "owners": metadata.get("ownerReferences"),
        }
    )


def _is_zero(value: JsonValue) -> bool:
    """Values that Go's `omitempty` drops; a number is kept, since 0 replicas is not "no replicas said"."""
    return value is None or value is False or value == "" or value == [] or value == {}


def _holds_fields(observed: JsonObject, desired: JsonObject, path: tuple[str, ...], whole: bool) -> bool:
    for name, value in desired.items():  # A loop, since a generator costs as much as the comparison itself.
        there = observed.get(name)
        if isinstance(value, str) and there == value:
            continue
        if not _holds_field(name, there, value, path, whole):
            return False
    return True


def _holds_field(name: str, observed: JsonValue, desired: JsonValue, path: tuple[str, ...], whole: bool) -> bool:
    if name == REVISION and path == ("metadata", "annotations"):
        return True
    if observed is None and _is_zero(desired):
        return True
    if isinstance(desired, dict):  # No match: its patterns take twice as long, and this is asked of every field.
        if whole and name in _ATOMIC:
            return _is_same(name, observed, desired, path)
        return isinstance(observed, dict) and _holds_fields(observed, desired, (*path, name), whole)
    if isinstance(desired, list):
        return isinstance(observed, list) and _holds_list(name, observed, desired, path, whole)
    return _same_scalar(name, observed, desired, path)


def _holds_list(
    name: str, observed: list[JsonValue], desired: list[JsonValue], path: tuple[str, ...], whole: bool
) -> bool:
    keys = _map_keys(name, path)
    if not keys:
        if len(observed) != len(desired):
            return False
        for there, wanted in zip(observed, desired, strict=True):
            if isinstance(wanted, str) and there == wanted:
                continue
            if not (_is_same(name, there, wanted, path) if whole else _holds_field(name, there, wanted, path, whole)):
                return False
        return True
    by_key = {_key_of(entry, keys): entry for entry in observed if isinstance(entry, dict)}
    for wanted in desired:
        if not isinstance(wanted, dict):
            return False
        there = by_key.get(_key_of(wanted, keys))
        if there is None or not _holds_field(name, there, wanted, path, whole):
            return False
    return True


def _is_same(name: str, observed: JsonValue, desired: JsonValue, path: tuple[str, ...]) -> bool:
    """Whether what is owned as a whole is as it was wanted, but for what the API server leaves out or fills in."""
    if isinstance(desired, dict):
        if observed is None:
            return not desired and name in _MAPS
        inside = (*path, name)
        return (
            isinstance(observed, dict)
            and all(_is_same(key, observed.get(key), value, inside) for key, value in desired.items())
            and all(_is_unsaid(name, key, value) for key, value in observed.items() if key not in desired)
        )
    if observed is None:
        return _is_zero(desired)
    if isinstance(desired, list):
        return (
            isinstance(observed, list)
            and len(observed) == len(desired)
            and all(_is_same(name, there, wanted, path) for there, wanted in zip(observed, desired, strict=True))
        )
    return _same_scalar(name, observed, desired, path)


def _is_unsaid(name: str, key: str, value: JsonValue) -> bool:
    """Whether a field says the same as if it were not there. An empty object does not: it may mean all there are."""
    return (_is_zero(value) and value != {}) or ((name, key) in _FILLED_IN and _FILLED_IN[name, key] == value)


def _map_keys(name: str, path: tuple[str, ...]) -> tuple[str, ...]:
    if name == "ports" and "ingress" not in path and "egress" not in path:
        return (
            ("containerPort", "protocol") if "containers" in path or "initContainers" in path else ("port", "protocol")
        )
    return _MAP_KEYS.get(name, ())


def _key_of(entry: JsonObject, keys: tuple[str, ...]) -> str | tuple[str, ...]:
    if len(keys) == 1:
        return str(entry.get(keys[0], ""))
    return tuple(str(entry.get(key, "TCP" if key == "protocol" else "")) for key in keys)


def _same_scalar(name: str, observed: JsonValue, desired: JsonValue, path: tuple[str, ...]) -> bool:
    if type(observed) is type(desired) and observed == desired:
        return True
    if isinstance(observed, bool) or isinstance(desired, bool):
        return False
    if isinstance(observed, int | float) and isinstance(desired, int | float):
        return observed == desired
    in_quantities = bool(path) and path[-1] in _QUANTITIES
    if (
        (in_quantities or name in _QUANTITY_FIELDS)
        and isinstance(observed, str | int)
        and isinstance(desired, str | int)
    ):
        try:
            return parse_quantity(str(observed)) == parse_quantity(str(desired))
        except ValueError:
            return False
    return False
