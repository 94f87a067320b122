"""Deleting: preconditions, finalizers, graceful pods, propagation, and the end of a namespace.

Garbage collection of dependents is a controller's work (controllers/); this only sets what it acts upon.
"""

from __future__ import annotations

from dataclasses import dataclass

from tapio_shared.json import JsonObject, int_at, list_at, object_at, str_at
from tapio_shared.ports import Clock
from tapio_simulator.calls import Call, clone, decode_object
from tapio_simulator.errors import bad_request, conflict
from tapio_simulator.registry import Registry, Served
from tapio_simulator.stamps import timestamp
from tapio_simulator.store import Store, Stored

DEFAULT_GRACE = 30


@dataclass(frozen=True, slots=True)
class Options:
    """DeleteOptions from body and query."""

    uid: str = ""
    resource_version: str = ""
    propagation: str = ""
    grace: int | None = None


def deletion_options(call: Call) -> Options:
    document: JsonObject = decode_object(call.body) if call.body else {}
    propagation = str_at(document, "propagationPolicy") or call.query.get("propagationPolicy", "")
    if propagation not in ("", "Background", "Foreground", "Orphan"):
        raise bad_request(
            f'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "{propagation}": '
            "supported "
            'values: "Foreground", "Background", "Orphan", "nil"'
        )
    if not propagation and (document.get("orphanDependents") is True or call.flag("orphanDependents")):
        propagation = "Orphan"
    grace: int | None = None
    if "gracePeriodSeconds" in document:
        grace = int_at(document, "gracePeriodSeconds")
    elif call.query.get("gracePeriodSeconds", "").isdigit():
        grace = int(call.query["gracePeriodSeconds"])
    return Options(
        str_at(document, "preconditions", "uid"),
        str_at(document, "preconditions", "resourceVersion"),
        propagation,
        grace,
    )


class Deletion:
    """How objects leave the store."""

    def __init__(self, store: Store, registry: Registry, clock: Clock) -> None:
        self._store, self._registry, self._clock = store, registry, clock

    def delete(self, served: Served, stored: Stored, options: Options, *, dry_run: bool = False) -> Stored | None:
        """Delete, or mark for deletion. Answers what is left, None when the object is gone."""
        resource = served.resource
        document = stored.document
        uid = str_at(document, "metadata", "uid")
        if options.uid and options.uid != uid:
            raise conflict(
                resource,
                stored.key[1],
                f"the UID in the precondition ({options.uid}) does not match the UID in record ({uid}). The object "
                "might "
                "have been deleted and then recreated",
            )
        if options.resource_version and options.resource_version != str(stored.version):
            raise conflict(
                resource,
                stored.key[1],
                f"the ResourceVersion in the precondition ({options.resource_version}) does not match the "
                f"ResourceVersion in record ({stored.version}). The object might have been modified",
            )
        grace = self._grace(resource.kind, document, options)
        finalizers = self._finalizers(resource.kind, document, options)
        terminating = str_at(document, "metadata", "deletionTimestamp") != ""
        if resource.kind == "Namespace":
            return self._terminate(served, stored, finalizers, dry_run=dry_run)
        if not finalizers and grace == 0:
            if not dry_run:
                self._remove(served, stored)
            return None
        marked = clone(document)
        metadata = object_at(marked, "metadata")
        if finalizers:
            metadata["finalizers"] = list(finalizers)
        else:
            metadata.pop("finalizers", None)
        if not terminating or (grace < int_at(metadata, "deletionGracePeriodSeconds")):
            now = self._clock.now() + grace * 1000
            metadata["deletionTimestamp"] = timestamp(now)
            metadata["deletionGracePeriodSeconds"] = grace
            if not terminating and int_at(metadata, "generation") > 0:
                metadata["generation"] = int_at(metadata, "generation") + 1
        if marked == document or dry_run:
            return stored if marked == document else Stored(marked, stored.key, stored.version)
        return self._store.write(resource.storage_key, stored.key, marked)

    def is_finished(self, document: JsonObject) -> bool:
        """Whether an object marked for deletion has nothing left to wait for."""
        metadata = document.get("metadata")
        return (
            isinstance(metadata, dict)
            and "deletionTimestamp" in metadata
            and not metadata.get("finalizers")
            and not metadata.get("deletionGracePeriodSeconds")
            and document.get("kind") != "Namespace"
        )

    def finish(self, served: Served, stored: Stored, final: JsonObject) -> Stored:
        """Remove an object whose last finalizer went with this write."""
        return self._remove(served, stored, final)

    def _remove(self, served: Served, stored: Stored, final: JsonObject | None = None) -> Stored:
        last = self._store.delete(served.resource.storage_key, stored.key, final)
        if served.resource.kind == "CustomResourceDefinition":
            self._remove_custom(stored.key[1])
        if stored.key[0]:
            self._end_if_empty(stored.key[0])
        return last

    def _remove_custom(self, definition: str) -> None:
        for gone in self._registry.remove_definition(definition):
            self._store.drop_table(gone.resource.storage_key)

    @staticmethod
    def _grace(kind: str, document: JsonObject, options: Options) -> int:
        if kind != "Pod":
            return 0
        phase = str_at(document, "status", "phase")
        if not str_at(document, "spec", "nodeName") or phase in ("Succeeded", "Failed"):
            return 0
        if options.grace is not None:
            return options.grace
        return int_at(document, "spec", "terminationGracePeriodSeconds", default=DEFAULT_GRACE)

    @staticmethod
    def _finalizers(kind: str, document: JsonObject, options: Options) -> list[str]:
        found = [str(entry) for entry in list_at(document, "metadata", "finalizers")]
        wanted = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(options.propagation)
        if options.propagation:
            found = [entry for entry in found if entry not in ("foregroundDeletion", "orphan")]
        if wanted is not None:
            found.append(wanted)
        return found

    # --- namespaces --------------------------------------------------------------------------------------------

    def _terminate(self, served: Served, stored: Stored, finalizers: list[str], *, dry_run: bool) -> Stored | None:
        if dry_run:
            return stored
        namespace = stored.key[1]
        if str_at(stored.document, "status", "phase") != "Terminating":
            marked = clone(stored.document)
            metadata = object_at(marked, "metadata")
            metadata["deletionTimestamp"] = timestamp(self._clock.now())
            if finalizers:
                metadata["finalizers"] = list(finalizers)
            marked["status"] = {**object_at(marked, "status"), "phase": "Terminating"}
            stored = self._store.write(served.resource.storage_key, stored.key, marked)
        self._empty(namespace)
        return self._store.get(served.resource.storage_key, stored.key)

    def _empty(self, namespace: str) -> None:
        """Delete everything in `namespace`, pods at once; what has finalizers keeps the namespace terminating."""
        for served in list(self._registry):
            if not served.resource.namespaced:
                continue
            for stored in list(self._store.table(served.resource.storage_key).in_namespace(namespace).values()):
                if self._store.get(served.resource.storage_key, stored.key) is stored:
                    self.delete(served, stored, Options(grace=0))
        self._end_if_empty(namespace)

    def _end_if_empty(self, namespace: str) -> None:
        stored = self._store.get("namespaces", ("", namespace))
        if stored is None or str_at(stored.document, "status", "phase") != "Terminating":
            return
        if list_at(stored.document, "metadata", "finalizers"):
            return
        if any(table.in_namespace(namespace) for _, table in self._store.tables()):
            return
        self._store.delete("namespaces", stored.key)
