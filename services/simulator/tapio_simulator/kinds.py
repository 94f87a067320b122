"""What is special about each kind: defaults, what clients may not set, rules, and effects on what is served.

One dispatcher; the rules themselves are in defaults.py, validation.py and crd.py.
"""

from __future__ import annotations

from tapio_shared.json import JsonObject, int_at, object_at
from tapio_simulator import crd, defaults, strategies, validation
from tapio_simulator.allocation import Allocator
from tapio_simulator.claim_admission import admit_claim
from tapio_simulator.pod_admission import admit_pod
from tapio_simulator.registry import Registry, Served
from tapio_simulator.stamps import timestamp
from tapio_simulator.store import Store


class Kinds:
    """The strategies of all served kinds."""

    def __init__(self, store: Store, registry: Registry, *, admit_pods: bool = True) -> None:
        self._store, self._registry, self._admit_pods = store, registry, admit_pods
        self._allocator = Allocator(store)

    def default(self, served: Served, document: JsonObject) -> None:
        """Fill in defaults. `document` is changed."""
        if served.resource.custom:
            crd.default_custom(served, document)
        else:
            defaults.default_document(served.resource.kind, document)

    def prepare_create(self, served: Served, document: JsonObject, now: int) -> None:
        """What clients can't decide: initial status, allocated addresses."""
        resource = served.resource
        if resource.custom:
            if resource.status:
                document.pop("status", None)
            return
        strategies.prepare_create(resource.kind, document, timestamp(now))
        if resource.kind == "Service":
            self._allocator.allocate(document)
        elif resource.kind == "PersistentVolumeClaim":
            admit_claim(self._store, document)

    def prepare_update(self, served: Served, document: JsonObject, live: JsonObject, subresource: str) -> None:
        """Keep what an update doesn't mention though it can't be unset; bump the generation."""
        resource = served.resource
        if not resource.custom:
            strategies.prepare_update(resource.kind, document, live)
            if resource.kind == "Service" and not subresource:
                self._allocator.reallocate(document, live)
        if resource.generation and subresource != "status" and _differs(document, live):
            metadata = object_at(document, "metadata")
            metadata["generation"] = int_at(live, "metadata", "generation") + 1

    def validate_create(self, served: Served, document: JsonObject) -> None:
        """StatusError 422 naming everything that is wrong."""
        if served.resource.custom:
            crd.validate_custom(served, document, None)
        else:
            validation.validate_create(served.resource, document)
            if served.resource.kind == "Pod" and self._admit_pods:
                admit_pod(self._store, served, document)

    def validate_update(self, served: Served, document: JsonObject, live: JsonObject, subresource: str) -> None:
        if served.resource.custom:
            crd.validate_custom(served, document, live)
        else:
            validation.validate_update(served.resource, document, live, subresource)

    def before_store(self, served: Served, document: JsonObject, live: JsonObject | None, now: int) -> None:
        """Last changes before a version is stored."""
        if served.resource.kind == "CustomResourceDefinition" and not served.resource.custom:
            crd.establish(document, live, timestamp(now))

    def after_store(self, served: Served, document: JsonObject) -> None:
        """Effects of a stored version on the API itself."""
        if served.resource.kind == "CustomResourceDefinition" and not served.resource.custom:
            crd.serve(self._registry, document)


def _differs(document: JsonObject, live: JsonObject) -> bool:
    """Whether anything but metadata and status differs."""
    names = (document.keys() | live.keys()) - {"metadata", "status", "kind", "apiVersion"}
    return any(document.get(name) != live.get(name) for name in names)
