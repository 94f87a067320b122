"""Who owns the replicas of a Deployment, and how they change hands.

Only a HorizontalPodAutoscaler that targets a Deployment of ours owns its replicas instead of us; a number that anybody
else sets (`kubectl scale`) is drift, and set back. See docs/adr/0014.
"""

from __future__ import annotations

from dataclasses import replace

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


def with_least_replicas(wanted: WantedObject, component: Component) -> WantedObject:
    """`wanted` with at least one replica, if it is a Deployment that an autoscaler of ours scales.

    An autoscaler does nothing while its target has no replicas, so nobody but a person or we can bring it back.
    https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#implicit-maintenance-mode-deactivation
    """
    is_left = wanted.ref.kind == "Deployment" and "replicas" not in object_at(wanted.manifest, "spec")
    return replace(wanted, least_replicas=1) if is_left and not component.scaled_by else wanted


def has_too_few_replicas(wanted: WantedObject, seen: Seen) -> bool:
    """Whether somebody scaled it below what an autoscaler needs to go on from."""
    return int_at(seen.document, "spec", "replicas", default=1) < wanted.least_replicas


def keeping_replicas(wanted: WantedObject, seen: Seen | None) -> JsonObject:
    """The manifest as it is to be applied: with the replicas that it leaves to an autoscaler, while we still own them.

    An apply that no longer names a field which nobody else owns resets it, here to one replica. An autoscaler owns the
    replicas once it has changed them; until then the number that was observed stays, if it isn't too small.
    https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership
    """
    manifest, spec = wanted.manifest, object_at(wanted.manifest, "spec")
    if wanted.ref.kind != "Deployment" or "replicas" in spec or seen is None:
        return manifest
    if has_too_few_replicas(wanted, seen):
        return {**manifest, "spec": {**spec, "replicas": wanted.least_replicas}}
    replicas = object_at(seen.document, "spec").get("replicas") if _owns_replicas(seen) else None
    return manifest if replicas is None else {**manifest, "spec": {**spec, "replicas": replicas}}


def _owns_replicas(seen: Seen) -> bool:
    return any(
        str_at(one, "manager") == FIELD_MANAGER and one.get("replicas") is True
        for one in objects_at(seen.document, "metadata", "managedFields")
    )
