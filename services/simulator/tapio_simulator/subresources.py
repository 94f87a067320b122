"""Subresources that aren't part of the object itself: scale, binding, token, finalize."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from tapio_shared.json import JsonObject, int_at, list_at, object_at, objects_at, str_at, strings_at
from tapio_shared.ports import Clock
from tapio_simulator.calls import Answer, Call, clone, decode_object, json_answer
from tapio_simulator.errors import Cause, bad_request, conflict, invalid, not_found
from tapio_simulator.identity import Identities, service_account
from tapio_simulator.jsonpath import values_at
from tapio_simulator.mutations import Mutations
from tapio_simulator.patches import MERGE, patched
from tapio_simulator.registry import Place
from tapio_simulator.stamps import timestamp
from tapio_simulator.store import Store, Stored

DEFAULT_TOKEN_SECONDS = 3600
MIN_TOKEN_SECONDS = 600


class Subresources:
    """Handlers by subresource name."""

    def __init__(self, store: Store, mutations: Mutations, identities: Identities, clock: Clock) -> None:
        self._store, self._mutations, self._identities, self._clock = store, mutations, identities, clock

    def _existing(self, place: Place) -> Stored:
        stored = self._store.get(place.resource.storage_key, (place.namespace, place.name))
        if stored is None:
            raise not_found(place.resource, place.name)
        return stored

    # --- scale -------------------------------------------------------------------------------------------------

    def get_scale(self, place: Place) -> Answer:
        return json_answer(self._scale(place, self._existing(place)))

    async def put_scale(self, place: Place, call: Call) -> Answer:
        return await self._set_replicas(place, call, decode_object(call.body))

    async def patch_scale(self, place: Place, call: Call) -> Answer:
        current = clone(self._scale(place, self._existing(place)))
        media_type = call.content_type.partition(";")[0].strip()
        return await self._set_replicas(place, call, patched(current, call.body, media_type, place))

    def _scale(self, place: Place, stored: Stored) -> JsonObject:
        document, resource = stored.document, place.resource
        if resource.custom:
            spec_path, status_path, selector_path = resource.scale_paths
            spec = _first_int(document, spec_path)
            status = _first_int(document, status_path)
            found = values_at(document, selector_path) if selector_path else []
            selector = str(found[0]) if found else ""
        else:
            spec = int_at(document, "spec", "replicas")
            status = int_at(document, "status", "replicas")
            labels = strings_at(document, "spec", "selector", "matchLabels")
            selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        metadata = object_at(document, "metadata")
        kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        scale: JsonObject = {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {name: metadata[name] for name in kept if name in metadata},
            "spec": {"replicas": spec} if spec else {},
            "status": {"replicas": status, "selector": selector} if selector else {"replicas": status},
        }
        return scale

    async def _set_replicas(self, place: Place, call: Call, scale: JsonObject) -> Answer:
        stored = self._existing(place)
        version = str_at(scale, "metadata", "resourceVersion")
        if version and version != str(stored.version):
            raise conflict(
                place.resource,
                place.name,
                "the object has been modified; please apply your changes to the latest version and try again",
            )
        replicas = int_at(scale, "spec", "replicas")
        if replicas < 0:
            text = f"Invalid value: {replicas}: must be greater than or equal to 0"
            raise invalid(place.resource, place.name, [Cause("spec.replicas", text)])
        path = place.resource.scale_paths[0] if place.resource.custom else ".spec.replicas"
        patch: JsonObject = {}
        node = patch
        *parents, last = path.strip(".").split(".")
        for name in parents:
            below: JsonObject = {}
            node[name] = below
            node = below
        node[last] = replicas
        # The owner of `replicas` is recorded with subresource "scale", though the write is the object's own.
        inner = replace(call, method="PATCH", body=msgspec.json.encode(patch), content_type=MERGE, accept="")
        answer = await self._mutations.patch(replace(place, subresource="scale"), inner)
        return replace(json_answer(self._scale(place, self._existing(place))), version=answer.version)

    # --- others ------------------------------------------------------------------------------------------------

    async def bind(self, place: Place, call: Call) -> Answer:
        """POST pods/<name>/binding: how a scheduler assigns a node."""
        stored = self._existing(place)
        node = str_at(decode_object(call.body), "target", "name")
        if not node:
            raise invalid(place.resource, place.name, [Cause("target.name", "Required value", "FieldValueRequired")])
        assigned = str_at(stored.document, "spec", "nodeName")
        if assigned:
            raise conflict(place.resource, place.name, f'pod {place.name} is already assigned to node "{assigned}"')
        document = clone(stored.document)
        object_at(document, "spec")["nodeName"] = node
        status = object_at(document, "status")
        conditions = [entry for entry in objects_at(status, "conditions") if entry.get("type") != "PodScheduled"]
        status["conditions"] = [
            *conditions,
            {
                "type": "PodScheduled",
                "status": "True",
                "lastProbeTime": None,
                "lastTransitionTime": timestamp(self._clock.now()),
            },
        ]
        document["status"] = status
        version = 0
        if not call.dry_run:
            version = self._store.write(place.resource.storage_key, stored.key, document).version
        status_document: JsonObject = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return replace(json_answer(status_document, 201), version=version)

    async def token(self, place: Place, call: Call) -> Answer:
        """POST serviceaccounts/<name>/token."""
        self._existing(place)
        request = decode_object(call.body)
        seconds = int_at(request, "spec", "expirationSeconds", default=DEFAULT_TOKEN_SECONDS)
        if seconds < MIN_TOKEN_SECONDS:
            raise bad_request(f"may not specify a duration less than 10 minutes, got {seconds} seconds")
        user = service_account(place.namespace, place.name)
        token, expires = self._identities.issue(user, seconds)
        document: JsonObject = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": place.name, "namespace": place.namespace},
            "spec": {"audiences": list_at(request, "spec", "audiences"), "expirationSeconds": seconds},
            "status": {"token": token, "expirationTimestamp": timestamp(expires)},
        }
        return json_answer(document, 201)


def _first_int(document: JsonObject, path: str) -> int:
    found = values_at(document, path)
    return found[0] if found and isinstance(found[0], int) else 0
