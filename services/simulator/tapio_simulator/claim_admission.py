"""The DefaultStorageClass admission plugin: a new claim without a class gets the cluster's default one, if any."""

from __future__ import annotations

from tapio_shared.json import JsonObject, object_at, str_at, strings_at
from tapio_simulator.store import Store

_IS_DEFAULT = "storageclass.kubernetes.io/is-default-class"


def admit_claim(store: Store, document: JsonObject) -> None:
    """Name the newest default class in a claim that names none. `document` is changed; `""` counts as naming one."""
    spec = object_at(document, "spec")
    if not spec or "storageClassName" in spec:
        return
    classes = (stored.document for stored in store.table("storageclasses.storage.k8s.io").in_namespace("").values())
    marked = [one for one in classes if strings_at(one, "metadata", "annotations").get(_IS_DEFAULT) == "true"]
    if marked:
        newest = max(marked, key=lambda one: (str_at(one, "metadata", "creationTimestamp"), _name(one)))
        spec["storageClassName"] = _name(newest)


def _name(document: JsonObject) -> str:
    return str_at(document, "metadata", "name")
