"""Every write: create, update, patch, apply, delete, each through one pipeline.

decode → default → mutating webhooks → prepare (what clients may not set) → validate → validating webhooks → ownership
→ store. A patch is computed again when the object changed while webhooks were asked, as GuaranteedUpdate does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tapio_shared.json import JsonObject, object_at, str_at
from tapio_shared.ports import Clock, Random
from tapio_simulator.admission import Admission, Review
from tapio_simulator.apply import apply
from tapio_simulator.calls import Answer, Call, clone, decode_object, json_answer
from tapio_simulator.decoding import decode_config, decode_document
from tapio_simulator.deletion import Deletion, deletion_options
from tapio_simulator.errors import (
    MODIFIED,
    StatusError,
    already_exists,
    bad_request,
    conflict,
    not_found,
    plain_failure,
    unsupported_media,
)
from tapio_simulator.fieldsets import FieldSet, ListKeyError
from tapio_simulator.isolation import (
    asked_owners,
    check_namespace,
    check_preconditions,
    isolate_status,
    keep_system_metadata,
    name_required,
    skeleton,
    terminating,
    typed_name,
    uid_immutable,
    version_required,
    without_managed,
)
from tapio_simulator.kinds import Kinds
from tapio_simulator.managed import Managed, Owner, read_managed, track_update, write_managed
from tapio_simulator.patches import PATCH_TYPES, patched
from tapio_simulator.reads import form_of, object_bytes
from tapio_simulator.registry import Place, Registry
from tapio_simulator.stamps import new_uid, timestamp
from tapio_simulator.store import Key, Store, Stored

APPLY_TYPES = ("application/apply-patch+yaml", "application/apply-patch+cbor")
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


class Mutations:
    """The writing half of the API server."""

    def __init__(
        self, store: Store, registry: Registry, kinds: Kinds, admission: Admission, clock: Clock, random: Random
    ) -> None:
        self._store, self._registry, self._kinds, self._admission = store, registry, kinds, admission
        self._clock, self._random = clock, random
        self.deletion = Deletion(store, registry, clock)

    # --- verbs ---------------------------------------------------------------------------------------------

    async def create(self, place: Place, call: Call) -> Answer:
        warnings: list[str] = []
        document = decode_document(call, place, decode_object(call.body), warnings)
        metadata = object_at(document, "metadata")
        document["metadata"] = metadata
        check_namespace(metadata, place)
        name = str_at(metadata, "name") or place.name
        if not name and (prefix := str_at(metadata, "generateName")):
            name = metadata["name"] = prefix[:58] + self._random.identifier()[:5]
        if not name:
            raise name_required(place)
        if metadata.get("resourceVersion"):
            raise plain_failure("resourceVersion should not be set on objects to be created")
        metadata.pop("managedFields", None)
        key = (place.namespace, name)
        outcome = await self._insert(place, key, call, Draft(document), warnings)
        return self._answer(place, call, outcome)

    async def update(self, place: Place, call: Call) -> Answer:
        warnings: list[str] = []
        given = decode_document(call, place, decode_object(call.body), warnings)
        metadata = object_at(given, "metadata")
        given["metadata"] = metadata
        check_namespace(metadata, place)
        if metadata.setdefault("name", place.name) != place.name:
            raise bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({place.name})"
            )
        asked_managed = metadata.pop("managedFields", None)
        if place.resource.custom and not metadata.get("resourceVersion"):
            raise version_required(place)

        def build(current: Stored) -> Draft:
            return Draft(clone(given), base=asked_owners(asked_managed, place))

        outcome = await self._replace(place, call, build, warnings)
        return self._answer(place, call, outcome)

    async def patch(self, place: Place, call: Call) -> Answer:
        media_type = call.content_type.partition(";")[0].strip()
        if media_type in APPLY_TYPES:
            return await self._apply(place, call)
        if media_type not in PATCH_TYPES or (place.resource.custom and "strategic" in media_type):
            served = [name for name in PATCH_TYPES if not (place.resource.custom and "strategic" in name)]
            raise unsupported_media((*served, APPLY_TYPES[0]))
        if call.flag("force"):
            raise bad_request(
                'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch'
            )
        warnings: list[str] = []

        def build(current: Stored) -> Draft:
            document = patched(clone(current.document), call.body, media_type, place)
            asked_managed = object_at(document, "metadata").pop("managedFields", None)
            if asked_managed == object_at(current.document, "metadata").get("managedFields"):
                asked_managed = None
            return Draft(decode_document(call, place, document, warnings), base=asked_owners(asked_managed, place))

        outcome = await self._replace(place, call, build, warnings)
        return self._answer(place, call, outcome)

    async def _apply(self, place: Place, call: Call) -> Answer:
        if not call.query.get("fieldManager"):
            raise StatusError(
                422,
                "Invalid",
                'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
                {"group": "meta.k8s.io", "kind": "PatchOptions"},
            )
        warnings: list[str] = []
        config = decode_config(call, place, decode_object(call.body))
        metadata = object_at(config, "metadata")
        owner = Owner(call.query["fieldManager"], "Apply", place.resource.api_version, place.subresource)
        ignored = self._ignored(place)
        for element in ignored:
            # What this (sub)resource resets anyway neither conflicts nor is merged (typed.ExcludeFields).
            if element != "f:metadata":
                config.pop(element[2:], None)
        now = timestamp(self._clock.now())
        force = call.flag("force")

        def applied(live: JsonObject, managed: Managed) -> Draft:
            try:
                result = apply(live, config, place.served.schema, managed, owner, force=force, now=now, ignored=ignored)
            except ListKeyError as err:
                raise plain_failure(f"failed to create typed patch object ({typed_name(place)}): {err}") from err
            return Draft(result.document, result.managed, unchanged=not result.changed)

        def build(current: Stored) -> Draft:
            version, uid = str_at(metadata, "resourceVersion"), str_at(metadata, "uid")
            live = current.document
            if version and version != str(current.version):
                raise conflict(place.resource, place.name, MODIFIED)
            if uid and uid != str_at(live, "metadata", "uid"):
                raise uid_immutable(place, uid)
            managed = read_managed(live)
            bare = without_managed(live)
            if not managed.fields:
                managed = self._before_first_apply(place, bare)
            draft = applied(bare, managed)
            if not draft.unchanged:
                draft.document = clone(draft.document)
            return draft

        if self._store.get(place.resource.storage_key, (place.namespace, place.name)) is None and not place.subresource:
            if uid := str_at(metadata, "uid"):
                raise conflict(
                    place.resource,
                    place.name,
                    f"uid mismatch: the provided object specified uid {uid}, and no existing object was found",
                )
            metadata.setdefault("name", place.name)
            if place.namespace:
                metadata.setdefault("namespace", place.namespace)
            config["metadata"] = metadata
            skeleton: JsonObject = {}
            draft = applied(skeleton, Managed({}, {}))
            draft.document = clone(draft.document)
            try:
                outcome = await self._insert(place, (place.namespace, place.name), call, draft, warnings)
            except StatusError as error:
                if error.reason != "AlreadyExists":
                    raise
                outcome = await self._replace(place, call, build, warnings)
        else:
            outcome = await self._replace(place, call, build, warnings)
        return self._answer(place, call, outcome)

    async def delete(self, place: Place, call: Call) -> Answer:
        options = deletion_options(call)
        stored = self._store.get(place.resource.storage_key, (place.namespace, place.name))
        if stored is None:
            raise not_found(place.resource, place.name)
        await self._review("DELETE", place, call, None, stored.document, [])
        stored = self._store.get(place.resource.storage_key, (place.namespace, place.name))
        if stored is None:
            raise not_found(place.resource, place.name)
        left = self.deletion.delete(place.served, stored, options, dry_run=call.dry_run)
        if left is not None:
            body = left.encoded(place.resource.kind, place.resource.api_version)
            return Answer(200, body, version=left.version if left is not stored and not call.dry_run else 0)
        details: JsonObject = {"name": place.name}
        if place.resource.group:
            details["group"] = place.resource.group
        details["kind"] = place.resource.plural
        details["uid"] = str_at(stored.document, "metadata", "uid")
        status: JsonObject = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        }
        return replace(json_answer(status), version=0 if call.dry_run else self._store.version)

    # --- pipeline ------------------------------------------------------------------------------------------

    async def _insert(self, place: Place, key: Key, call: Call, draft: Draft, warnings: list[str]) -> Outcome:
        resource = place.resource
        self._check_can_create(place, key, call)
        document = draft.document
        document.setdefault("apiVersion", resource.api_version)
        document.setdefault("kind", resource.kind)
        now = self._clock.now()
        self._kinds.default(place.served, document)
        reviewed = await self._review("CREATE", place, call, document, None, warnings, name=key[1])
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
                self._ignored(place),
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
        await self._review("CREATE", place, call, document, None, warnings, validating=True, name=key[1])
        if self._store.get(resource.storage_key, key) is not None:
            raise already_exists(resource, key[1])
        write_managed(document, managed)
        if call.dry_run:
            return Outcome(Stored(document, key, 0), 201, written=False, warnings=warnings)
        self._kinds.before_store(place.served, document, None, now)
        stored = self._store.write(resource.storage_key, key, document)
        self._kinds.after_store(place.served, stored.document)
        return Outcome(stored, 201, written=True, warnings=warnings)

    async def _replace(
        self, place: Place, call: Call, build: Callable[[Stored], Draft], warnings: list[str]
    ) -> Outcome:
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
        reviewed = await self._review("UPDATE", place, call, document, live, warnings)
        if reviewed is not document and reviewed is not None:
            document = decode_document(call, place, reviewed, warnings)
            keep_system_metadata(document, live)
            if resource.status:
                isolate_status(place, document, live)
            self._kinds.default(served, document)
        self._kinds.prepare_update(served, document, bare, place.subresource)
        self._kinds.validate_update(served, document, bare, place.subresource)
        await self._review("UPDATE", place, call, document, live, warnings, validating=True)
        if self._store.get(resource.storage_key, current.key) is not current:
            return None
        before = read_managed(live)
        managed = draft.managed
        if managed is None:
            owner = Owner(call.field_manager, "Update", resource.api_version, place.subresource)
            managed = before if draft.base is None else draft.base
            if document != bare:
                now = timestamp(self._clock.now())
                managed = track_update(bare, document, served.schema, managed, owner, now, self._ignored(place))
        if managed.fields == before.fields and document == bare:
            return Outcome(current, 200, written=False, warnings=warnings)
        write_managed(document, managed)
        if call.dry_run:
            object_at(document, "metadata")["resourceVersion"] = str(current.version)
            return Outcome(Stored(document, current.key, current.version), 200, written=False, warnings=warnings)
        self._kinds.before_store(served, document, live, self._clock.now())
        if self.deletion.is_finished(document):
            last = self.deletion.finish(served, current, document)
            return Outcome(last, 200, written=True, warnings=warnings)
        stored = self._store.write(resource.storage_key, current.key, document)
        self._kinds.after_store(served, stored.document)
        return Outcome(stored, 200, written=True, warnings=warnings)

    async def _review(
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

    # --- details -------------------------------------------------------------------------------------------

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

    def _ignored(self, place: Place) -> FieldSet:
        """Paths that a write to this (sub)resource resets, and that it can't own therefore."""
        if not place.resource.status:
            return {}
        if place.subresource == "status":
            return {"f:spec": {}} if not place.resource.custom else {"f:spec": {}, "f:metadata": {}}
        return _STATUS

    def _before_first_apply(self, place: Place, live: JsonObject) -> Managed:
        """An object whose managedFields were cleared: what it holds belongs to "before-first-apply"."""
        owner = Owner("before-first-apply", "Update", place.resource.api_version)
        created = str_at(live, "metadata", "creationTimestamp")
        return track_update({}, live, place.served.schema, Managed({}, {}), owner, created, self._ignored(place))

    def _answer(self, place: Place, call: Call, outcome: Outcome) -> Answer:
        body = object_bytes(outcome.stored, place, form_of(call.accept), call.received_at)
        headers: dict[str, str] = {}
        if outcome.warnings:
            headers["Warning"] = ", ".join(
                f'299 - "{text}"' for text in (w.replace("\\", "\\\\").replace('"', '\\"') for w in outcome.warnings)
            )
        version = outcome.stored.version if outcome.written else 0
        return Answer(outcome.status, body, headers, version=version)
