"""Merging overrides into what the operator would render: objects deeply, lists by the keys that Kubernetes merges by.

`merged_template` follows Kubernetes' strategic merge patch for a pod template, its directive `$patch` included: the
keys are those of the types' `patchMergeKey` (k8s.io/api/core/v1/types.go), and a list without one is replaced whole.
It differs in one place: of fields that exclude each other (a volume's source, a probe's handler, a variable's value)
those of the patch win, where the API server would refuse what `kubectl patch` leaves behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tapio_shared.api.shapes import DIRECTIVE
from tapio_shared.json import JsonObject, JsonValue

_MERGE_KEYS: Final[Mapping[str, str]] = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
}
"""Field -> the key its entries are merged by. `tolerations`, `envFrom`, `command`, `args` and all others are atomic."""

_HANDLERS = frozenset({"httpGet", "tcpSocket", "exec", "grpc", "sleep"})
_PROBES = frozenset({"startupProbe", "readinessProbe", "livenessProbe", "preStop", "postStart"})


def merged(base: JsonObject, override: JsonObject) -> JsonObject:
    """`override` over `base`: objects are merged, everything else is replaced, null takes a field away."""
    result: JsonObject = dict(base)
    for name, value in override.items():
        known = result.get(name)
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict) and isinstance(known, dict):
            result[name] = merged(known, value)
        else:
            result[name] = value
    return result


def merged_template(base: JsonObject, patch: JsonObject) -> JsonObject:
    """A pod template patched strategically; null takes a field away."""
    return _merged_object(base, patch, "")


def merged_by_name(base: Sequence[JsonObject], override: Sequence[JsonObject]) -> list[JsonObject]:
    """`base` with the entries of the same name replaced, and the others of `override` added behind."""
    replaced = {str(one.get("name")): one for one in override}
    kept = [replaced.pop(str(one.get("name")), one) for one in base]
    return [*kept, *(one for one in override if str(one.get("name")) in replaced)]


def _merged_object(base: JsonObject, patch: JsonObject, field: str) -> JsonObject:
    if patch.get(DIRECTIVE) == "replace":
        return _without_directives(patch)
    result = _without_excluded(base, patch, field)
    for name, value in patch.items():
        known = result.get(name)
        key = _MERGE_KEYS.get(name)
        if name == DIRECTIVE:
            continue
        if value is None or (isinstance(value, dict) and value.get(DIRECTIVE) == "delete"):
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = _merged_object(known if isinstance(known, dict) else {}, value, name)
        elif key is not None and isinstance(value, list):
            result[name] = _merged_list(known if isinstance(known, list) else [], value, key, name)
        else:
            result[name] = value
    return result


def _merged_list(base: Sequence[JsonValue], patch: Sequence[JsonValue], key: str, field: str) -> list[JsonValue]:
    if any(isinstance(entry, dict) and entry.get(DIRECTIVE) == "replace" for entry in patch):
        # As in Kubernetes: the entry that carries the directive says so for the whole list.
        return [entry for entry in patch if not (isinstance(entry, dict) and DIRECTIVE in entry)]
    result: list[JsonValue] = list(base)
    for entry in patch:
        if not isinstance(entry, dict):
            result.append(entry)
            continue
        place = next(
            (index for index, one in enumerate(result) if isinstance(one, dict) and one.get(key) == entry.get(key)),
            None,
        )
        known = None if place is None else result[place]
        if entry.get(DIRECTIVE) == "delete":
            if place is not None:
                del result[place]
        elif place is not None and isinstance(known, dict):
            result[place] = _merged_object(known, entry, field)
        else:
            result.append(_merged_object({}, entry, field))
    return result


def _without_excluded(base: JsonObject, patch: JsonObject, field: str) -> JsonObject:
    """`base` without what a field of `patch` excludes: a volume has one source, a probe one handler."""
    result: JsonObject = dict(base)
    given = {name for name, value in patch.items() if value is not None}
    if field == "volumes" and given - {"name", DIRECTIVE}:
        return {name: value for name, value in result.items() if name in given or name == "name"}
    if field in _PROBES and given & _HANDLERS:
        return {name: value for name, value in result.items() if name in given or name not in _HANDLERS}
    if field == "env" and "valueFrom" in given:
        result.pop("value", None)
        source, known = patch.get("valueFrom"), result.get("valueFrom")
        if isinstance(source, dict) and isinstance(known, dict) and not source.keys() & known.keys():
            result.pop("valueFrom")
    elif field == "env" and "value" in given:
        result.pop("valueFrom", None)
    return result


def _without_directives(patch: JsonObject) -> JsonObject:
    return {name: value for name, value in patch.items() if name != DIRECTIVE}
