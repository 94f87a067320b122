"""Who owns the replicas of a Deployment, and how they change hands.

Only a HorizontalPodAutoscaler that targets a Deployment of ours owns its replicas instead of us; a number that anybody
else sets (`kubectl scale`) is drift, and set back. See docs/adr/0014.
"""

from __future__ import annotations

from tapio_reconciler.core.state import Observed, Seen
from tapio_shared.api.names import FIELD_MANAGER
from tapio_shared.json import JsonObject, list_at, object_at, objects_at, str_at

_OF_DEPLOYMENT = "Deployment-"


def other_scalers(seen: Observed, namespace: str) -> dict[str, str]:
    """Deployment -> somebody else's HorizontalPodAutoscalers that scale it (see tapio_watcher.scalers)."""
    found: dict[str, str] = {}
    for one in seen.of_kind("Scaler"):
        ref = one.ref
        if ref.group == "tapio.io" and ref.namespace == namespace and one.document is not None:
            names = ", ".join(str(name) for name in list_at(one.document, "autoscalers"))
            found[ref.name.removeprefix(_OF_DEPLOYMENT)] = names
    return found


def keeping_replicas(manifest: JsonObject, seen: Seen | None) -> JsonObject:
    """`manifest` as it is to be applied: with the replicas that it leaves to an autoscaler, while we still own them.

    An apply that no longer names a field which nobody else owns resets it, here to one replica. An autoscaler owns the
    replicas once it has changed them; until then the number that was observed stays.
    https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership
    """
    spec = object_at(manifest, "spec")
    if str_at(manifest, "kind") != "Deployment" or "replicas" in spec or seen is None or not _owns_replicas(seen):
        return manifest
    replicas = object_at(seen.document, "spec").get("replicas")
    return manifest if replicas is None else {**manifest, "spec": {**spec, "replicas": replicas}}


def _owns_replicas(seen: Seen) -> bool:
    return any(
        str_at(one, "manager") == FIELD_MANAGER and one.get("replicas") is True
        for one in objects_at(seen.document, "metadata", "managedFields")
    )
