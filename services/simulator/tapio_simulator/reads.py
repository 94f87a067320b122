"""Get and list: pages, consistency parameters, selectors, and the three forms of an answer."""

from __future__ import annotations

import base64
from typing import Literal

import msgspec

from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.calls import Answer, Call
from tapio_simulator.errors import bad_request, expired, not_found, too_large
from tapio_simulator.registry import Place
from tapio_simulator.resources import Resource
from tapio_simulator.selectors import combined, exact_name, field_predicate, label_predicate
from tapio_simulator.store import Store, Stored
from tapio_simulator.tables import table_document

Form = Literal["object", "metadata", "table"]
_encode = msgspec.json.Encoder().encode
EXPIRED_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


def form_of(accept: str) -> Form:
    """The first form of the Accept header that is served."""
    for entry in accept.split(","):
        parameters: dict[str, str] = {}
        for part in entry.split(";")[1:]:
            name, _, value = part.strip().partition("=")
            parameters[name] = value
        match parameters.get("as", ""):
            case "Table" if parameters.get("v", "v1") == "v1":
                return "table"
            case "PartialObjectMetadata" | "PartialObjectMetadataList" if parameters.get("v", "v1") == "v1":
                return "metadata"
            case "":
                return "object"
            case _:
                continue
    return "object"


def partial_metadata(stored: Stored) -> bytes:
    """The object as PartialObjectMetadata."""
    metadata = _encode(stored.document["metadata"])
    return b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":' + metadata + b"}"


def object_bytes(stored: Stored, place: Place, form: Form, now: int = 0, include: str = "Metadata") -> bytes:
    resource = place.resource
    if form == "metadata":
        return partial_metadata(stored)
    if form == "table":
        return _encode(table_document(place.served, [stored], now, include, {"resourceVersion": str(stored.version)}))
    return stored.encoded(resource.kind, resource.api_version)


def get(store: Store, place: Place, call: Call) -> Answer:
    """One object, no older than the version that is asked for."""
    at_least = _whole_number("resourceVersion", call.query.get("resourceVersion", "") or "0")
    if at_least > store.version:
        raise too_large(at_least, store.version)
    stored = store.get(place.resource.storage_key, (place.namespace, place.name))
    if stored is None:
        raise not_found(place.resource, place.name)
    include = call.query.get("includeObject", "Metadata")
    return Answer(200, object_bytes(stored, place, form_of(call.accept), call.received_at, include))


def selected(store: Store, place: Place, call: Call) -> list[Stored]:
    """The objects that a list names, sorted as etcd sorts its keys."""
    resource = place.resource
    table = store.table(resource.storage_key)
    selector = call.query.get("fieldSelector", "")
    predicate = combined(label_predicate(call.query.get("labelSelector", "")), field_predicate(selector, resource))
    pinned = place.name or (exact_name(selector) if selector else None)
    objects = table.in_namespace(place.namespace)
    if pinned and (place.namespace or not resource.namespaced):
        one = objects.get((place.namespace, pinned))
        found = [] if one is None else [one]
    else:
        found = [objects[key] for key in sorted(objects)]
    return found if predicate is None else [stored for stored in found if predicate(stored.document)]


def list_objects(store: Store, place: Place, call: Call) -> Answer:
    """A list, of now or of an exact version; later pages are of the version of the first one."""
    query = call.query
    token = query.get("continue", "")
    start_key: tuple[str, str] | None = None
    if token:
        if query.get("resourceVersionMatch") or query.get("resourceVersion", "0") not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        version, start_key = _read_token(token)
        store = _past(store, place, version, EXPIRED_CONTINUE)
    else:
        store = _at_version(store, place, query.get("resourceVersion", ""), query.get("resourceVersionMatch", ""))
    found = selected(store, place, call)
    if start_key is not None:
        found = [stored for stored in found if stored.key > start_key]
    metadata: JsonObject = {"resourceVersion": str(store.version)}
    limit = _whole_number("limit", query.get("limit", "") or "0")
    if limit and len(found) > limit:
        rest = len(found) - limit
        found = found[:limit]
        metadata["continue"] = _token(store.version, found[-1].key)
        if not (query.get("labelSelector") or query.get("fieldSelector")):
            metadata["remainingItemCount"] = rest
    form = form_of(call.accept)
    if form == "table":
        include = query.get("includeObject", "Metadata")
        return Answer(200, _encode(table_document(place.served, found, call.received_at, include, metadata)))
    return Answer(200, _list_bytes(place.resource, found, metadata, form))


def _list_bytes(resource: Resource, found: list[Stored], metadata: JsonObject, form: Form) -> bytes:
    if form == "metadata":
        items = b",".join(partial_metadata(stored) for stored in found)
        head = b'{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":'
        return head + _encode(metadata) + b',"items":[' + items + b"]}"
    if resource.custom:
        items = b",".join(stored.encoded(resource.kind, resource.api_version) for stored in found)
    else:
        items = b",".join(stored.body for stored in found)  # Typed lists leave out kind and apiVersion of items.
    head = b'{"kind":"%b","apiVersion":"%b","metadata":' % (resource.listed_as.encode(), resource.api_version.encode())
    return head + _encode(metadata) + b',"items":[' + items + b"]}"


def _at_version(store: Store, place: Place, asked: str, match: str) -> Store:
    """The store to list from: the live one, or the past for an exact version."""
    if match and not asked:
        raise _invalid_match(match, "resourceVersionMatch is forbidden unless resourceVersion is provided")
    if match not in ("", "Exact", "NotOlderThan"):
        raise _invalid_match(match, 'supported values: "Exact", "NotOlderThan"')
    version = _whole_number("resourceVersion", asked or "0")
    if version > store.version:
        raise too_large(version, store.version)
    return _past(store, place, version, "") if match == "Exact" else store


def _past(store: Store, place: Place, version: int, message: str) -> Store:
    past = store.as_of(place.resource.storage_key, version)
    if past is None:
        raise expired(message)
    return past


def _invalid_match(value: str, why: str) -> Exception:
    return bad_request(f'resourceVersionMatch: Invalid value: "{value}": {why}')


def _whole_number(name: str, text: str) -> int:
    if not text.isdigit():
        raise bad_request(f'invalid value for {name}: "{text}" is not a whole number')
    return int(text)


def _token(version: int, key: tuple[str, str]) -> str:
    value: JsonValue = {"v": "meta.k8s.io/v1", "rv": version, "start": list(key)}
    return base64.urlsafe_b64encode(_encode(value)).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        value = msgspec.json.decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, name = value["start"]
        return int(value["rv"]), (str(namespace), str(name))
    except (ValueError, KeyError, TypeError, msgspec.DecodeError) as err:
        raise bad_request("continue key is not valid") from err
