"""From a decoded body to a document of the asked resource: type checks, unknown fields, `fieldValidation`."""

from __future__ import annotations

from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.calls import Call
from tapio_simulator.decode import Findings, read
from tapio_simulator.errors import StatusError, bad_request, plain_failure
from tapio_simulator.registry import Place
from tapio_simulator.resources import Resource

_GO_TYPES = {"string": "string", "integer": "int32", "boolean": "bool", "number": "float64"}


def decode_document(call: Call, place: Place, document: JsonObject, warnings: list[str]) -> JsonObject:
    """`document` read by its type. Unknown fields: dropped, warned of, or 400, as `fieldValidation` says."""
    _check_kind(place.resource, document)
    findings = Findings()
    read(document, place.served.schema, findings)
    if findings.mistyped and not place.resource.custom:
        raise _mistyped(place.resource, findings)
    if findings.unknown:
        mode = call.query.get("fieldValidation", "Warn") or "Warn"
        # Builtin kinds decode strictly only when asked to; unknown fields never survive either way.
        if mode == "Strict":
            texts = ", ".join(f'unknown field "{path}"' for path in findings.unknown)
            resource = place.resource
            if resource.custom:
                raise bad_request(
                    f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
                    f"strict decoding error: {texts}"
                )
            raise bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
                f"strict decoding error: {texts}"
            )
        if mode == "Warn":
            warnings += [text for path in findings.unknown if (text := f'unknown field "{path}"') not in warnings]
    return document


def decode_config(place: Place, document: JsonObject) -> bool:
    """Check the body of an apply; answers whether it holds anything that is stored in another form than sent.

    A field that the schema doesn't declare is an error, whatever `fieldValidation` says. `document` is changed.
    """
    resource = place.resource
    if document.get("apiVersion") != resource.api_version:
        raise (
            bad_request(
                f"Incorrect version specified in apply patch. Specified patch version: {document.get('apiVersion')}, "
                f"expected: {resource.api_version}"
            )
            if document.get("apiVersion")
            else bad_request("apiVersion must be set")
        )
    _check_kind(resource, document)
    metadata = document.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    _check_identity(place, metadata)
    findings = Findings(as_sent=True)
    read(document, place.served.schema, findings)
    if findings.unknown or findings.mistyped:
        name = f"{place.namespace}/{place.name}; {resource.api_version}, Kind={resource.kind}"
        texts = [f".{path}: field not declared in schema" for path in findings.unknown]
        texts += [f".{path}: expected {expected}, got &{{{_go(found)}}}" for path, expected, found in findings.mistyped]
        listed = texts[0] if len(texts) == 1 else "errors:\n" + "\n".join(f"  {text}" for text in texts)
        raise plain_failure(f"failed to create typed patch object ({name}): {listed}")
    return findings.unlike_stored


def _check_kind(resource: Resource, document: JsonObject) -> None:
    kind, version = document.setdefault("kind", resource.kind), document.setdefault("apiVersion", resource.api_version)
    if kind != resource.kind or version != resource.api_version:
        raise (
            bad_request(
                f'{kind} in version "{str(version).rpartition("/")[2]}" cannot be handled as a {resource.kind}: no '
                "kind "
                f'"{kind}" is registered for version "{version}"'
            )
            if kind != resource.kind
            else bad_request(
                f"the API version in the data ({version}) does not match the expected API version "
                f"({resource.api_version})"
            )
        )


def _check_identity(place: Place, metadata: JsonValue) -> None:
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if name is not None and name != place.name:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({place.name})")
    namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
    if place.namespace and namespace not in (None, "", place.namespace):
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")


def _mistyped(resource: Resource, findings: Findings) -> StatusError:
    path, expected, found = findings.mistyped[0]
    if expected == "quantity":
        why = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    else:
        why = (
            f"json: cannot unmarshal {_type_name(found)} into Go struct field {resource.kind}.{path} of type "
            f"{_GO_TYPES.get(expected, expected)}"
        )
    return bad_request(f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {why}')


def _type_name(value: JsonValue) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number" if isinstance(value, float) else "integer"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _go(value: JsonValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
