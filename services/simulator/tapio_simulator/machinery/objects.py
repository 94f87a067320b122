"""Reading Kubernetes objects as controllers do: keys, owners, conditions, readiness, minimal patches. All pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import cast

import msgspec

from tapio_shared.json import JsonObject, JsonValue, at, list_at, object_at, objects_at, str_at
from tapio_simulator.stamps import parse_timestamp

Key = tuple[str, str]
"""(namespace, name); cluster-scoped objects have an empty namespace."""

_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_HASH_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' safe alphabet for generated names: no vowels, so no words."""


def key_of(document: JsonObject) -> Key:
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        return "", ""
    namespace, name = metadata.get("namespace"), metadata.get("name")
    return namespace if isinstance(namespace, str) else "", name if isinstance(name, str) else ""


def uid_of(document: JsonObject) -> str:
    return str_at(document, "metadata", "uid")


def clone(document: JsonObject) -> JsonObject:
    """A deep copy that may be changed freely."""
    return cast("JsonObject", msgspec.json.decode(msgspec.json.encode(document)))


def is_terminating(document: JsonObject) -> bool:
    return "deletionTimestamp" in object_at(document, "metadata")


def controller_of(document: JsonObject) -> JsonObject:
    """The owner reference that is the controller, or an empty object."""
    for owner in objects_at(document, "metadata", "ownerReferences"):
        if owner.get("controller") is True:
            return owner
    return {}


def controller_uid(document: JsonObject) -> str:
    return str_at(controller_of(document), "uid")


def owner_reference(owner: JsonObject, api_version: str, kind: str) -> JsonObject:
    """The controller reference that a dependent of `owner` carries."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": str_at(owner, "metadata", "name"),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def short_hash(value: JsonValue, length: int = 10) -> str:
    """A name part that stands for `value`; the same in every process."""
    number = int.from_bytes(hashlib.blake2b(_encode_sorted(value), digest_size=16).digest(), "big")
    letters: list[str] = []
    for _ in range(length):
        number, index = divmod(number, len(_HASH_ALPHABET))
        letters.append(_HASH_ALPHABET[index])
    return "".join(letters)


# --- conditions ----------------------------------------------------------------------------------------------------


def condition(document: JsonObject, kind: str) -> JsonObject:
    """The condition of type `kind` in the status, or an empty object."""
    for entry in objects_at(document, "status", "conditions"):
        if entry.get("type") == kind:
            return entry
    return {}


def is_true(document: JsonObject, kind: str) -> bool:
    return condition(document, kind).get("status") == "True"


def with_condition(conditions: Iterable[JsonObject], new: JsonObject) -> list[JsonObject]:
    """`conditions` with `new` in its place; `lastTransitionTime` is kept when the status did not change."""
    result: list[JsonObject] = []
    found = False
    for entry in without_nulls(conditions):
        if entry.get("type") != new["type"]:
            result.append(entry)
            continue
        found = True
        same = entry.get("status") == new.get("status")
        result.append({**new, "lastTransitionTime": entry["lastTransitionTime"]} if same and _moved(entry) else new)
    if not found:
        result.append(new)
    return result


def without_nulls(entries: Iterable[JsonObject]) -> list[JsonObject]:
    """`entries` without null fields: API servers differ in whether they keep them (`lastProbeTime: null`)."""
    return [{name: value for name, value in entry.items() if value is not None} for entry in entries]


def _moved(entry: JsonObject) -> bool:
    return "lastTransitionTime" in entry


# --- pods ----------------------------------------------------------------------------------------------------------


def phase_of(pod: JsonObject) -> str:
    return str_at(pod, "status", "phase", default="Pending")


def is_finished(pod: JsonObject) -> bool:
    return phase_of(pod) in ("Succeeded", "Failed")


def is_active(pod: JsonObject) -> bool:
    """Whether a pod counts: neither finished nor on its way out."""
    return not is_finished(pod) and not is_terminating(pod)


def is_ready(pod: JsonObject) -> bool:
    return is_true(pod, "Ready")


def available_in(pod: JsonObject, min_ready_seconds: int, now: int) -> float | None:
    """Seconds until a ready pod counts as available (0: it does); None while it is not ready. `now` in ms."""
    if not is_ready(pod):
        return None
    if min_ready_seconds <= 0:
        return 0.0
    since = parse_timestamp(str_at(condition(pod, "Ready"), "lastTransitionTime")) or 0.0
    return max(0.0, since + min_ready_seconds - now / 1000)


# --- numbers and patches -------------------------------------------------------------------------------------------


def share_of(value: JsonValue, total: int, *, round_up: bool, default: int = 0) -> int:
    """An IntOrString (`1`, `"25%"`) as a number out of `total`."""
    if isinstance(value, str) and value.endswith("%") and value[:-1].isdigit():
        product = total * int(value[:-1])
        return -(-product // 100) if round_up else product // 100
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def merge_patch(old: Mapping[str, JsonValue], new: Mapping[str, JsonValue]) -> JsonObject:
    """The smallest JSON merge patch (RFC 7386) that makes `old` into `new`; empty when they are equal."""
    patch: JsonObject = {}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = merge_patch(before, value)
            if inner:
                patch[name] = inner
        elif value != before or name not in old:
            patch[name] = value
    for name in old:
        if name not in new:
            patch[name] = None
    return patch


def without_zeros(status: JsonObject) -> JsonObject:
    """`status` as Go's `omitempty` writes it: no zero, no empty text, no empty list, no null."""
    return {name: value for name, value in status.items() if value not in (0, "", None) and value != [] and value != {}}


def is_paused(document: JsonObject) -> bool:
    return at(document, "spec", "paused") is True


def finalizers_of(document: JsonObject) -> list[str]:
    return [entry for entry in list_at(document, "metadata", "finalizers") if isinstance(entry, str)]
