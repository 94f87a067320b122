"""The objects of a snapshot as a tree: components, and below each its objects with how they stood."""

from __future__ import annotations

from tapio_cli.history.ui.lanes import CLUSTER, OTHER, Components
from tapio_shared.api.labels import DESIRED_HASH
from tapio_shared.json import JsonObject, JsonValue, int_at, object_at, objects_at, str_at, strings_at
from tapio_shared.keys import ObjectRef

_WORKLOADS = {"Deployment": "replicas", "StatefulSet": "replicas", "DaemonSet": "desiredNumberScheduled"}


def tree_of(snapshot: JsonObject, seen: list[ObjectRef], components: Components) -> list[JsonObject]:
    """What the page shows of `snapshot`; every object of it stands in exactly one branch."""
    status = object_at(snapshot, "status")
    by_name = {str(ref): ref for ref in seen}
    branches: dict[str, list[JsonValue]] = {name: [] for name in components.lanes()}
    for name, one in object_at(snapshot, "objects").items():
        ref = by_name.get(name) or _parsed(name)
        is_ours = ref.kind.startswith("Tapio")
        branches[CLUSTER if is_ours else components.of(ref)].append(_leaf(name, ref, object_at(one)))
    told = {str_at(one, "name"): one for one in objects_at(status, "components")}
    found: list[JsonObject] = []
    for name, objects in branches.items():
        component = told.get(name, {})
        if objects or component:
            found.append(
                {
                    "name": name,
                    "state": str_at(component, "state"),
                    "ready": int_at(component, "ready"),
                    "desired": int_at(component, "desired"),
                    "isComponent": bool(component),
                    "version": str_at(component, "version"),
                    "since": str_at(component, "since"),
                    "why": ": ".join(
                        part for part in (str_at(component, "reason"), str_at(component, "message")) if part
                    ),
                    "objects": objects,
                }
            )
    return found


def _leaf(name: str, ref: ObjectRef, one: JsonObject) -> JsonObject:
    wanted, seen = str_at(one, "wanted"), one.get("seen")
    document = object_at(seen)
    applied = strings_at(document, "metadata", "annotations").get(DESIRED_HASH, "")
    if seen is None:
        standing = "missing" if wanted else "gone"
    elif not wanted:
        standing = "observed"
    else:
        standing = "behind" if applied and applied != wanted else "present"
    return {
        "ref": name,
        "kind": ref.kind,
        "name": ref.name,
        "standing": standing,
        "detail": _detail(ref.kind, document),
    }


def _detail(kind: str, document: JsonObject) -> str:
    """How far along the object is, in a word."""
    status = object_at(document, "status")
    if not document:
        return ""
    if kind in _WORKLOADS:
        ready = int_at(status, "numberReady" if kind == "DaemonSet" else "readyReplicas")
        wanted = int_at(status, _WORKLOADS[kind]) if kind == "DaemonSet" else int_at(document, "spec", "replicas")
        return f"{ready}/{wanted} ready"
    if kind == "Pods":
        return f"{int_at(document, 'ready')}/{int_at(document, 'total')} ready"
    if kind == "Job":
        return "succeeded" if int_at(status, "succeeded") else "failing" if int_at(status, "failed") else "running"
    return str_at(status, "phase")


def _parsed(name: str) -> ObjectRef:
    """An object that is wanted and was never told of: its name is all there is. See `ObjectRef.__str__`."""
    kind, _, place = name.partition(" ")
    kind, _, group = kind.partition(".")
    namespace, _, own = place.rpartition("/")
    return ObjectRef(group, kind, namespace, own)


__all__ = ["OTHER", "tree_of"]
