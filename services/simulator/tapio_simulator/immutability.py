"""What may not change once an object exists, in Kubernetes' words."""

from __future__ import annotations

from tapio_shared.json import JsonObject, at, list_at, object_at, objects_at, str_at
from tapio_simulator.errors import Cause
from tapio_simulator.names import shown
from tapio_simulator.quantities import amount

_IMMUTABLE = "field is immutable"
_STATEFUL_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_STATEFUL_TEXT = (
    "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
    "'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def changed_causes(kind: str, document: JsonObject, live: JsonObject) -> list[Cause]:
    match kind:
        case "Deployment" | "DaemonSet" | "ReplicaSet":
            return _same(document, live, ("spec", "selector"))
        case "StatefulSet":
            spec, old = object_at(document, "spec"), object_at(live, "spec")
            if any(spec.get(name) != old.get(name) for name in (spec.keys() | old.keys()) - set(_STATEFUL_MUTABLE)):
                return [Cause("spec", _STATEFUL_TEXT, "FieldValueForbidden")]
            return []
        case "Job":
            return [
                *_same(document, live, ("spec", "selector")),
                *_same(document, live, ("spec", "completions")),
                *_same(document, live, ("spec", "template")),
                *_same(document, live, ("spec", "completionMode")),
            ]
        case "Service":
            had, has = at(live, "spec", "clusterIP"), at(document, "spec", "clusterIP")
            if had and has != had and at(document, "spec", "type") != "ExternalName" != at(live, "spec", "type"):
                value = shown([has] if has else None)
                return [Cause("spec.clusterIPs[0]", f"Invalid value: {value}: may not change once set")]
            return []
        case "Secret" | "ConfigMap":
            return _immutable_data(kind, document, live)
        case "RoleBinding" | "ClusterRoleBinding":
            if document.get("roleRef") != live.get("roleRef"):
                value = shown(document.get("roleRef"))
                return [Cause("roleRef", f"Invalid value: {value}: cannot change roleRef")]
            return []
        case "StorageClass":
            names = ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode")
            return [
                Cause(name, f"Forbidden: updates to {name} are forbidden.", "FieldValueForbidden")
                for name in names
                if document.get(name) != live.get(name)
            ]
        case "Pod":
            return _pod_update(document, live)
        case _:
            return []


def finalizer_causes(document: JsonObject, live: JsonObject) -> list[Cause]:
    """Finalizers may only go once an object is being deleted."""
    if not str_at(live, "metadata", "deletionTimestamp"):
        return []
    known = list_at(live, "metadata", "finalizers")
    added = [name for name in list_at(document, "metadata", "finalizers") if name not in known]
    if not added:
        return []
    text = "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "
    listed = "[]string{" + ", ".join(shown(name) for name in added) + "}"
    return [Cause("metadata.finalizers", text + listed, "FieldValueForbidden")]


def _same(document: JsonObject, live: JsonObject, path: tuple[str, ...]) -> list[Cause]:
    new, old = at(document, *path), at(live, *path)
    if new == old:
        return []
    return [Cause(".".join(path), f"Invalid value: {shown(new)}: {_IMMUTABLE}")]


def _immutable_data(kind: str, document: JsonObject, live: JsonObject) -> list[Cause]:
    causes: list[Cause] = []
    if kind == "Secret":
        causes += _same(document, live, ("type",))
    if live.get("immutable") is True:
        if document.get("immutable") is not True:
            causes.append(
                Cause("immutable", "Forbidden: field is immutable when `immutable` is set", "FieldValueForbidden")
            )
        causes += [
            Cause(name, "Forbidden: field is immutable when `immutable` is set", "FieldValueForbidden")
            for name in ("data", "binaryData")
            if document.get(name) != live.get(name)
        ]
    return causes


def _pod_update(document: JsonObject, live: JsonObject) -> list[Cause]:
    mutable = {"activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates"}

    def frozen(pod: JsonObject) -> JsonObject:
        spec = {name: value for name, value in object_at(pod, "spec").items() if name not in mutable}
        for group in ("containers", "initContainers"):
            spec[group] = [
                {name: value for name, value in container.items() if name != "image"}
                for container in objects_at(spec, group)
            ]
        return spec

    if frozen(document) == frozen(live):
        return []
    return [
        Cause(
            "spec",
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
            "existing "
            "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
            "FieldValueForbidden",
        )
    ]


def claim_causes(document: JsonObject, live: JsonObject) -> list[Cause]:
    new, old = object_at(document, "spec"), object_at(live, "spec")
    fixed = (new.keys() | old.keys()) - {"resources", "volumeAttributesClassName", "volumeName"}
    if "storageClassName" not in old:  # A default class that came later may still be named (since Kubernetes 1.26).
        fixed -= {"storageClassName"}
    if any(new.get(name) != old.get(name) for name in fixed) or (
        old.get("volumeName") and new.get("volumeName") != old.get("volumeName")
    ):
        return [
            Cause(
                "spec",
                "Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName "
                "for "
                "bound claims",
                "FieldValueForbidden",
            )
        ]
    asked = amount(str_at(new, "resources", "requests", "storage"))
    have = amount(str_at(old, "resources", "requests", "storage"))
    if asked is None or have is None or asked == have:
        return []
    if asked < have:
        return [
            Cause(
                "spec.resources.requests.storage",
                "Forbidden: field can not be less than previous value",
                "FieldValueForbidden",
            )
        ]
    if str_at(live, "status", "phase") != "Bound":
        return [
            Cause(
                "spec",
                "Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName "
                "for "
                "bound claims",
                "FieldValueForbidden",
            )
        ]
    return []
