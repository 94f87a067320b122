"""The verbs that write: create, update, patch, apply and delete make drafts; pipeline.py takes them to the store."""

from __future__ import annotations

from dataclasses import replace

from tapio_shared.json import JsonObject, object_at, str_at
from tapio_shared.ports import Clock, Random
from tapio_simulator.admission import Admission
from tapio_simulator.apply import apply
from tapio_simulator.calls import Answer, Call, clone, decode_object, json_answer
from tapio_simulator.decode import Findings, read
from tapio_simulator.decoding import decode_config, decode_document
from tapio_simulator.deletion import Deletion, deletion_options
from tapio_simulator.errors import (
    MODIFIED,
    StatusError,
    bad_request,
    conflict,
    not_found,
    plain_failure,
    unsupported_media,
)
from tapio_simulator.escalation import EscalationGuard
from tapio_simulator.fieldsets import ListKeyError
from tapio_simulator.isolation import (
    asked_owners,
    check_namespace,
    name_required,
    typed_name,
    uid_immutable,
    version_required,
    without_managed,
)
from tapio_simulator.kinds import Kinds
from tapio_simulator.managed import Managed, Owner, read_managed, track_update
from tapio_simulator.patches import PATCH_TYPES, patched
from tapio_simulator.pipeline import Draft, Outcome, Pipeline
from tapio_simulator.reads import form_of, object_bytes
from tapio_simulator.registry import Place, Registry
from tapio_simulator.stamps import timestamp
from tapio_simulator.store import Store, Stored

APPLY_TYPES = ("application/apply-patch+yaml", "application/apply-patch+cbor")


class Mutations:
    """The writing half of the API server."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        kinds: Kinds,
        admission: Admission,
        guard: EscalationGuard,
        clock: Clock,
        random: Random,
    ) -> None:
        self._store, self._clock, self._random = store, clock, random
        self._deletion = Deletion(store, registry, clock)
        self._pipeline = Pipeline(store, registry, kinds, admission, self._deletion, guard, clock, random)

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
        outcome = await self._pipeline.insert(place, key, call, Draft(document), warnings)
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

        outcome = await self._pipeline.replace(place, call, build, warnings)
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

        outcome = await self._pipeline.replace(place, call, build, warnings)
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
        config = decode_object(call.body)
        unlike_stored = decode_config(place, config)
        metadata = object_at(config, "metadata")
        owner = Owner(call.query["fieldManager"], "Apply", place.resource.api_version, place.subresource)
        ignored = self._pipeline.ignored(place)
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
            if not result.changed:
                return Draft(result.document, result.managed, unchanged=True)
            document = clone(result.document)
            if unlike_stored or result.removed:
                read(document, place.served.schema, Findings())
            return Draft(document, result.managed)

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
            return applied(bare, managed)

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
            try:
                outcome = await self._pipeline.insert(place, (place.namespace, place.name), call, draft, warnings)
            except StatusError as error:
                if error.reason != "AlreadyExists":
                    raise
                outcome = await self._pipeline.replace(place, call, build, warnings)
        else:
            outcome = await self._pipeline.replace(place, call, build, warnings)
        return self._answer(place, call, outcome)

    async def delete(self, place: Place, call: Call) -> Answer:
        options = deletion_options(call)
        stored = self._store.get(place.resource.storage_key, (place.namespace, place.name))
        if stored is None:
            raise not_found(place.resource, place.name)
        await self._pipeline.review("DELETE", place, call, None, stored.document, [])
        stored = self._store.get(place.resource.storage_key, (place.namespace, place.name))
        if stored is None:
            raise not_found(place.resource, place.name)
        left = self._deletion.delete(place.served, stored, options, dry_run=call.dry_run)
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

    # --- details -------------------------------------------------------------------------------------------

    def _before_first_apply(self, place: Place, live: JsonObject) -> Managed:
        """An object whose managedFields were cleared: what it holds belongs to "before-first-apply"."""
        owner = Owner("before-first-apply", "Update", place.resource.api_version)
        created = str_at(live, "metadata", "creationTimestamp")
        return track_update(
            {}, live, place.served.schema, Managed({}, {}), owner, created, self._pipeline.ignored(place)
        )

    def _answer(self, place: Place, call: Call, outcome: Outcome) -> Answer:
        body = object_bytes(outcome.stored, place, form_of(call.accept), call.received_at)
        headers: dict[str, str] = {}
        if outcome.warnings:
            headers["Warning"] = ", ".join(
                f'299 - "{text}"' for text in (w.replace("\\", "\\\\").replace('"', '\\"') for w in outcome.warnings)
            )
        version = outcome.stored.version if outcome.written else 0
        return Answer(outcome.status, body, headers, version=version)
