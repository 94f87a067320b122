"""The one way into the store that every create and change takes.

default → mutating webhooks → prepare (what clients may not set) → validate → validating webhooks → ownership → store.
A change is computed again when the object changed while webhooks were asked, as GuaranteedUpdate does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tapio_shared.json import JsonObject, object_at, str_at
from tapio_shared.ports import Clock, Random
from tapio_simulator.admission import Admission, Review
from tapio_simulator.calls import Call
from tapio_simulator.decoding import decode_document
from tapio_simulator.deletion import Deletion
from tapio_simulator.errors import MODIFIED, already_exists, conflict, not_found
from tapio_simulator.escalation import EscalationGuard
from tapio_simulator.fieldsets import FieldSet
from tapio_simulator.isolation import (
    check_preconditions,
    isolate_status,
    keep_system_metadata,
    skeleton,
    terminating,
    without_managed,
)
from tapio_simulator.kinds import Kinds
from tapio_simulator.managed import Managed, Owner, read_managed, track_update, write_managed
from tapio_simulator.registry import Place, Registry
from tapio_simulator.stamps import new_uid, timestamp
from tapio_simulator.store import Key, Store, Stored

_STATUS: FieldSet = {"f:status": {}}
_RETRIES = 5


@dataclass(slots=True)
class Draft:
    """A document on its way into the store, without managedFields. `managed` is set by an apply."""

    document: JsonObject
    managed: Managed | None = None
    base: Managed | None = None
    """Owners that an update or patch sent along, in place of the live object's."""
    unchanged: bool = False


@dataclass(slots=True)
class Outcome:
    """What a write did: the stored version, the HTTP status, whether anything was written."""

    stored: Stored
    status: int
    written: bool
    warnings: list[str] = field(default_factory=list[str])


class Pipeline:
    """Takes drafts to the store."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        kinds: Kinds,
        admission: Admission,
        deletion: Deletion,
        guard: EscalationGuard,
        clock: Clock,
        random: Random,
    ) -> None:
        self._store, self._registry, self._kinds, self._admission = store, registry, kinds, admission
        self._deletion, self._guard, self._clock, self._random = deletion, guard, clock, random

    async def insert(self, place: Place, key: Key, call: Call, draft: Draft, warnings: list[str]) -> Outcome:
        resource = place.resource
        self._check_can_create(place, key, call)
        document = draft.document
        document.setdefault("apiVersion", resource.api_version)
        document.setdefault("kind", resource.kind)
        now = self._clock.now()
        self._kinds.default(place.served, document)
        reviewed = await self.review("CREATE", place, call, document, None, warnings, name=key[1])
        if reviewed is not document and reviewed is not None:
            document = decode_document(call, place, reviewed, warnings)
            self._kinds.default(place.served, document)
        managed = draft.managed
        if managed is None:
            owner = Owner(call.field_manager, "Update", resource.api_version)
            managed = track_update(
                skeleton(place),
                document,
                place.served.schema,
                Managed({}, {}),
                owner,
                timestamp(now),
                self.ignored(place),
            )
        metadata = object_at(document, "metadata")
        document["metadata"] = metadata
        metadata["name"] = key[1]
        if place.namespace:
            metadata["namespace"] = place.namespace
        for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion", "generation"):
            metadata.pop(name, None)
        metadata["uid"] = new_uid(self._random)
        metadata["creationTimestamp"] = timestamp(now)
        if resource.generation:
            metadata["generation"] = 1
        self._kinds.prepare_create(place.served, document, now)
        self._kinds.validate_create(place.served, document)
        self._guard.check(call.user, place, document, None)
        await self.review("CREATE", place, call, document, None, warnings, validating=True, name=key[1])
        if self._store.get(resource.storage_key, key) is not None:
            raise already_exists(resource, key[1])
        write_managed(document, managed)
        if call.dry_run:
            return Outcome(Stored(document, key, 0), 201, written=False, warnings=warnings)
        self._kinds.before_store(place.served, document, None, now)
        stored = self._store.write(resource.storage_key, key, document)
        self._kinds.after_store(place.served, stored.document)
        return Outcome(stored, 201, written=True, warnings=warnings)

    async def replace(self, place: Place, call: Call, build: Callable[[Stored], Draft], warnings: list[str]) -> Outcome:
        resource = place.resource
        key = (place.namespace, place.name)
        for _ in range(_RETRIES):
            current = self._store.get(resource.storage_key, key)
            if current is None:
                raise not_found(resource, place.name)
            outcome = await self._attempt(place, call, current, build(current), warnings)
            if outcome is not None:
                return outcome
        raise conflict(resource, place.name, MODIFIED)

    async def _attempt(
        self, place: Place, call: Call, current: Stored, draft: Draft, warnings: list[str]
    ) -> Outcome | None:
        """None when the object changed while webhooks were asked, and the draft must be made again."""
        resource, served = place.resource, place.served
        if draft.unchanged:
            return Outcome(current, 200, written=False, warnings=warnings)
        document, live = draft.document, current.document
        check_preconditions(place, document, live, current.version, patch=call.method == "PATCH")
        keep_system_metadata(document, live)
        if resource.status:
            isolate_status(place, document, live)
        self._kinds.default(served, document)
        bare = without_managed(live)
        reviewed = await self.review("UPDATE", place, call, document, live, warnings)
        if reviewed is not document and reviewed is not None:
            document = decode_document(call, place, reviewed, warnings)
            keep_system_metadata(document, live)
            if resource.status:
                isolate_status(place, document, live)
            self._kinds.default(served, document)
        self._kinds.prepare_update(served, document, bare, place.subresource)
        self._kinds.validate_update(served, document, bare, place.subresource)
        self._guard.check(call.user, place, document, live)
        await self.review("UPDATE", place, call, document, live, warnings, validating=True)
        if self._store.get(resource.storage_key, current.key) is not current:
            return None
        before = read_managed(live)
        managed = draft.managed
        if managed is None:
            owner = Owner(call.field_manager, "Update", resource.api_version, place.subresource)
            managed = before if draft.base is None else draft.base
            if document != bare:
                now = timestamp(self._clock.now())
                managed = track_update(bare, document, served.schema, managed, owner, now, self.ignored(place))
        if managed.fields == before.fields and document == bare:
            return Outcome(current, 200, written=False, warnings=warnings)
        write_managed(document, managed)
        if call.dry_run:
            object_at(document, "metadata")["resourceVersion"] = str(current.version)
            return Outcome(Stored(document, current.key, current.version), 200, written=False, warnings=warnings)
        self._kinds.before_store(served, document, live, self._clock.now())
        if self._deletion.is_finished(document):
            last = self._deletion.finish(served, current, document)
            return Outcome(last, 200, written=True, warnings=warnings)
        stored = self._store.write(resource.storage_key, current.key, document)
        self._kinds.after_store(served, stored.document)
        return Outcome(stored, 200, written=True, warnings=warnings)

    async def review(
        self,
        operation: str,
        place: Place,
        call: Call,
        document: JsonObject | None,
        old: JsonObject | None,
        warnings: list[str],
        *,
        validating: bool = False,
        name: str = "",
    ) -> JsonObject | None:
        if not self._admission.active:
            return document
        review = Review(
            operation=operation,
            resource=place.resource,
            namespace=place.namespace,
            name=name or place.name,
            subresource=place.subresource,
            user=call.user,
            dry_run=call.dry_run,
            document=document,
            old=old,
            options=call.query,
        )
        if operation == "DELETE":
            await self._admission.mutate(review, warnings)
            await self._admission.validate(review, warnings)
            return None
        if validating:
            await self._admission.validate(review, warnings)
            return document
        return await self._admission.mutate(review, warnings)

    def _check_can_create(self, place: Place, key: Key, call: Call) -> None:
        if self._store.get(place.resource.storage_key, key) is not None:
            raise already_exists(place.resource, key[1])
        if not place.resource.namespaced:
            return
        namespace = self._store.get("namespaces", ("", place.namespace))
        if namespace is None:
            raise not_found(self._registry.builtin("namespaces").resource, place.namespace)
        if str_at(namespace.document, "status", "phase") == "Terminating":
            raise terminating(place, key[1])

    def ignored(self, place: Place) -> FieldSet:
        """Paths that a write to this (sub)resource resets, and that it can't own therefore."""
        if not place.resource.status:
            return {}
        if place.subresource == "status":
            return {"f:spec": {}} if not place.resource.custom else {"f:spec": {}, "f:metadata": {}}
        return _STATUS
