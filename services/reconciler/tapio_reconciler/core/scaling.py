"""Who owns the replicas of a Deployment, and how they change hands.

Only a HorizontalPodAutoscaler that targets a Deployment of ours owns its replicas instead of us; a number that anybody
else sets (`kubectl scale`) is drift, and set back. See docs/adr/0014.
"""

from __future__ import annotations

from tapio_reconciler.core.model import Component, WantedObject
from tapio_reconciler.core.state import Observed, Seen
from tapio_shared.api.names import FIELD_MANAGER
from tapio_shared.json import JsonObject, int_at, list_at, object_at, objects_at, str_at

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


def scaled_to_nothing(wanted: WantedObject, component: Component, seen: Seen | None) -> str:
    """What is amiss with a Deployment of ours that somebody scaled to 0 below its autoscaler; empty when nothing is.

    An autoscaler does nothing while its target has no replicas, so nobody but a person or we can bring it back.
    https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#implicit-maintenance-mode-deactivation
    """
    is_left = "replicas" not in object_at(wanted.manifest, "spec")
    if not is_left or component.scaled_by or seen is None or seen.document is None:
        return ""
    if int_at(seen.document, "spec", "replicas", default=1) > 0:
        return ""
    return f"{wanted.name} was scaled to 0, from which no HorizontalPodAutoscaler scales it."


def keeping_replicas(manifest: JsonObject, seen: Seen | None, *, least: int = 0) -> JsonObject:
    """`manifest` as it is to be applied: with the replicas that it leaves to an autoscaler, while we still own them.

    An apply that no longer names a field which nobody else owns resets it, here to one replica. An autoscaler owns the
    replicas once it has changed them; until then the number that was observed stays, but no fewer than `least`.
    https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership
    """
    spec = object_at(manifest, "spec")
    if str_at(manifest, "kind") != "Deployment" or "replicas" in spec or seen is None:
        return manifest
    if int_at(seen.document, "spec", "replicas", default=1) < least:
        return {**manifest, "spec": {**spec, "replicas": least}}
    replicas = object_at(seen.document, "spec").get("replicas") if _owns_replicas(seen) else None
    return manifest if replicas is None else {**manifest, "spec": {**spec, "replicas": replicas}}


def _owns_replicas(seen: Seen) -> bool:
    return any(
        str_at(one, "manager") == FIELD_MANAGER and one.get("replicas") is True
        for one in objects_at(seen.document, "metadata", "managedFields")
    )
