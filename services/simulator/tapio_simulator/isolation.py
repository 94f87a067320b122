"""What a write may not do: change system metadata, cross from object to status, ignore preconditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from tapio_shared.json import JsonObject, JsonValue, object_at, str_at
from tapio_simulator.calls import clone
from tapio_simulator.errors import MODIFIED, Cause, StatusError, bad_request, conflict, forbidden, invalid
from tapio_simulator.managed import Managed, read_managed
from tapio_simulator.registry import Place

_TEMPLATE: JsonObject = {"metadata": {}, "spec": {"containers": []}}
_SKELETONS: Mapping[str, JsonObject] = {
    "CronJob": {"metadata": {}, "spec": {"jobTemplate": {"metadata": {}, "spec": {"template": _TEMPLATE}}}},
    "DaemonSet": {"metadata": {}, "spec": {"updateStrategy": {}, "template": _TEMPLATE}},
    "Deployment": {"metadata": {}, "spec": {"strategy": {}, "template": _TEMPLATE}},
    "Job": {"metadata": {}, "spec": {"template": _TEMPLATE}},
    "Pod": {"metadata": {}, "spec": {"containers": []}, "status": {}},
    "ReplicaSet": {"metadata": {}, "spec": {"template": _TEMPLATE}},
    "StatefulSet": {"metadata": {}, "spec": {"updateStrategy": {}, "template": _TEMPLATE}},
}


def without_managed(document: JsonObject) -> JsonObject:
    """`document` without managedFields; everything else is shared."""
    metadata = cast("JsonObject", document["metadata"])
    if "managedFields" not in metadata:
        return document
    return {**document, "metadata": {name: value for name, value in metadata.items() if name != "managedFields"}}


def keep_system_metadata(document: JsonObject, live: JsonObject) -> None:
    """What an update may not change comes from the live object, whatever the client sent."""
    metadata = object_at(document, "metadata")
    document["metadata"] = metadata
    old = cast("JsonObject", live["metadata"])
    for name in (
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "generation",
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
    ):
        if name in old:
            metadata[name] = old[name]
        else:
            metadata.pop(name, None)
    metadata.pop("selfLink", None)


def isolate_status(place: Place, document: JsonObject, live: JsonObject) -> None:
    """The main resource can't change status; /status can change nothing else."""
    if place.subresource == "status":
        status = document.get("status")
        document.clear()
        document.update(clone(without_managed(live)))
        _set_or_drop(document, "status", status)
    elif not place.subresource:
        _set_or_drop(document, "status", live.get("status"))


def _set_or_drop(document: JsonObject, name: str, value: JsonValue) -> None:
    if value is None:
        document.pop(name, None)
    else:
        document[name] = clone(value) if isinstance(value, dict) else value


def skeleton(place: Place) -> JsonObject:
    """What an update manager is compared with on create: Go structs are there before anybody sets them."""
    if place.resource.custom:
        return {"metadata": {}}
    return _SKELETONS.get(place.resource.kind, {"metadata": {}, "spec": {}, "status": {}})


def check_namespace(metadata: JsonObject, place: Place) -> None:
    given = str_at(metadata, "namespace")
    if place.namespace and given and given != place.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")


def name_required(place: Place) -> StatusError:
    return invalid(
        place.resource,
        "",
        [Cause("metadata.name", "Required value: name or generateName is required", "FieldValueRequired")],
    )


def typed_name(place: Place) -> str:
    resource = place.resource
    return f"{place.namespace}/{place.name}; {resource.api_version}, Kind={resource.kind}"


def uid_conflict(place: Place, asked: str, actual: str) -> StatusError:
    return conflict(
        place.resource,
        place.name,
        f"Precondition failed: UID in precondition: {asked}, UID in object meta: {actual}",
    )


def asked_owners(asked: JsonValue, place: Place) -> Managed | None:
    """The owners that an update sends along: None to keep the live ones, `[{}]` to forget all of them."""
    if place.subresource or not isinstance(asked, list) or not asked:
        return None
    if asked == [{}]:
        return Managed({}, {})
    found = read_managed({"metadata": {"managedFields": asked}})
    return found if found.fields else None


def version_required(place: Place) -> StatusError:
    """422 of an unconditional update of a custom resource."""
    text = "Invalid value: 0: must be specified for an update"
    return invalid(place.resource, place.name, [Cause("metadata.resourceVersion", text)])


def uid_immutable(place: Place, asked: str) -> StatusError:
    """422 of a patch that would change the UID; only updates treat it as a precondition."""
    text = f'Invalid value: "{asked}": field is immutable'
    return invalid(place.resource, place.name, [Cause("metadata.uid", text)])


def check_preconditions(
    place: Place, document: Mapping[str, JsonValue], live: JsonObject, version: int, *, patch: bool
) -> None:
    asked = str_at(document, "metadata", "resourceVersion")
    if asked and asked != "0" and asked != str(version):
        raise conflict(place.resource, place.name, MODIFIED)
    uid, actual = str_at(document, "metadata", "uid"), str_at(live, "metadata", "uid")
    if uid and uid != actual:
        raise uid_immutable(place, uid) if patch else uid_conflict(place, uid, actual)


def terminating(place: Place, name: str) -> StatusError:
    """403 for a new object in a namespace that is going away."""
    namespace = place.namespace
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    error = forbidden(place.resource, name, why)
    cause: JsonObject = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    details: JsonObject = dict(error.details or {})
    details["causes"] = [cause]
    error.details = details
    return error
