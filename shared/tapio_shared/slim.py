"""What a fact keeps of an object: everything that may matter, nothing that only ticks, and never a secret.

Unknown fields are kept: a later planner may need them. Idempotent, so a slim document may be slimmed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at

_NOISE_ANNOTATIONS = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deployment.kubernetes.io/revision",
        "control-plane.alpha.kubernetes.io/leader",
        "autoscaling.alpha.kubernetes.io/conditions",
        "autoscaling.alpha.kubernetes.io/current-metrics",
    }
)
"""Annotations that repeat the object, or that a controller writes on every round."""
_NOISE_METADATA = frozenset({"selfLink", "resourceVersion"})
_NOISE_STATUS = frozenset({"currentMetrics", "currentCPUUtilizationPercentage", "lastScaleTime"})
_NOISE_STATUS_OF = {
    "VerticalPodAutoscaler": frozenset({"recommendation"}),
    "CronJob": frozenset({"active", "lastScheduleTime", "lastSuccessfulTime"}),
}
"""What a controller computes anew every minute or with every run, and no plan needs."""
_TICKING = frozenset({"lastUpdateTime", "lastHeartbeatTime", "lastProbeTime"})
_OURS = ("tapio.io/", "applyset.kubernetes.io/")


def slim(document: Mapping[str, JsonValue], *, digest_key: bytes = b"", key_id: str = "") -> JsonObject:
    """The slim form of a Kubernetes object.

    A Secret keeps its metadata, type and a keyed digest per data key (`digests`, with `keyId`), never a value.
    """
    result: JsonObject = {name: value for name, value in document.items() if name != "metadata"}
    result["metadata"] = _metadata(object_at(document, "metadata"))
    if str_at(document, "kind") == "Secret" and str_at(document, "apiVersion") == "v1":
        return _secret(result, digest_key, key_id)
    status = document.get("status")
    if isinstance(status, dict) and not str_at(document, "apiVersion").startswith(_OURS):
        result["status"] = _status(status, _NOISE_STATUS | _NOISE_STATUS_OF.get(str_at(document, "kind"), frozenset()))
    return result


def _metadata(metadata: JsonObject) -> JsonObject:
    kept: JsonObject = {
        name: value
        for name, value in metadata.items()
        if name not in _NOISE_METADATA and name not in {"annotations", "managedFields"}
    }
    annotations = {
        name: value for name, value in object_at(metadata, "annotations").items() if name not in _NOISE_ANNOTATIONS
    }
    if annotations:
        kept["annotations"] = annotations
    managers = _managers(metadata)
    if managers:
        kept["managedFields"] = managers
    return kept


def _managers(metadata: JsonObject) -> list[JsonValue]:
    """Who wrote the object's spec and when, and who owns its replicas (a field that is handed over between owners).

    Writers of its status alone tick with every heartbeat.
    """
    found: list[JsonValue] = []
    for entry in objects_at(metadata, "managedFields"):
        if str_at(entry, "subresource") == "status":
            continue
        kept: JsonObject = {
            name: entry[name] for name in ("manager", "operation", "time", "subresource", "replicas") if name in entry
        }
        if "f:replicas" in object_at(entry, "fieldsV1", "f:spec"):
            kept["replicas"] = True
        found.append(kept)
    return found


def _status(status: JsonObject, noise: frozenset[str]) -> JsonObject:
    kept: JsonObject = {name: value for name, value in status.items() if name not in noise}
    conditions = status.get("conditions")
    if isinstance(conditions, list):
        kept["conditions"] = [
            {name: value for name, value in one.items() if name not in _TICKING} if isinstance(one, dict) else one
            for one in conditions
        ]
    return kept


def _secret(document: JsonObject, digest_key: bytes, key_id: str) -> JsonObject:
    """Tools keep copies of whole objects in annotations (kapp, Rancher, kubectl): of those only our own are kept."""
    metadata = object_at(document, "metadata")
    annotations = {name: value for name, value in object_at(metadata, "annotations").items() if name.startswith(_OURS)}
    kept: JsonObject = {
        name: document[name] for name in ("apiVersion", "kind", "type", "immutable") if name in document
    }
    own: JsonObject = {name: value for name, value in metadata.items() if name != "annotations"}
    if annotations:
        own["annotations"] = annotations
    kept["metadata"] = own
    if "digests" in document:
        return {**kept, "digests": document["digests"], "keyId": document.get("keyId", "")}  # slim already
    values = object_at(document, "data")
    kept["digests"] = {
        name: hashlib.blake2b(str(value).encode(), key=digest_key[:64], digest_size=12).hexdigest()
        for name, value in sorted(values.items())
    }
    kept["keyId"] = key_id
    return kept
