"""Failures as the API server words them: one exception that carries a `Status`, and one builder per reason.

Texts follow k8s.io/apimachinery/pkg/api/errors, since clients (kubectl, and the operator's conditions) show them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tapio_shared.json import JsonObject
from tapio_simulator.resources import Resource


@dataclass(frozen=True, slots=True)
class Cause:
    """One wrong field: `reason` is FieldValueInvalid, FieldValueRequired, … as in metav1.CauseType."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"


class StatusError(Exception):
    """A refused request; `body` is its `Status` document."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: JsonObject | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message
        self.details = details
        self.headers: dict[str, str] = dict(headers or {})

    def document(self) -> JsonObject:
        status: JsonObject = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details:
            status["details"] = self.details
        status["code"] = self.code
        return status

    def body(self) -> bytes:
        return msgspec.json.encode(self.document())


def _details(resource: Resource, name: str, *, by_kind: bool = False) -> JsonObject:
    details: JsonObject = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.kind if by_kind else resource.plural
    return details


def not_found(resource: Resource, name: str) -> StatusError:
    message = f'{resource.group_resource} "{name}" not found'
    return StatusError(404, "NotFound", message, _details(resource, name))


def path_not_found() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: Resource, name: str) -> StatusError:
    message = f'{resource.group_resource} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, _details(resource, name))


def conflict(resource: Resource, name: str, why: str) -> StatusError:
    message = f'Operation cannot be fulfilled on {resource.group_resource} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(resource, name))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> StatusError:
    """422 that names every wrong field."""
    texts = [f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes]
    listed = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details = _details(resource, name, by_kind=True)
    details["causes"] = [
        {"reason": cause.reason, "message": cause.message, "field": cause.field or "<nil>"} for cause in causes
    ]
    return StatusError(422, "Invalid", f'{kind} "{name}" is invalid: {listed}', details)


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def forbidden(resource: Resource, name: str, why: str) -> StatusError:
    named = f'{resource.group_resource} "{name}" is forbidden' if name else f"{resource.group_resource} is forbidden"
    return StatusError(403, "Forbidden", f"{named}: {why}", _details(resource, name))


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")


def expired(message: str = "") -> StatusError:
    return StatusError(410, "Expired", message or "The resourceVersion for the provided list is too old.")


def too_old(asked: int, oldest: int) -> StatusError:
    return StatusError(410, "Expired", f"too old resource version: {asked} ({oldest})")


def too_large(asked: int, current: int) -> StatusError:
    """504 for a version that does not exist yet; clients retry after a second."""
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    cause: JsonObject = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return StatusError(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1}, {"Retry-After": "1"})


def method_not_allowed(resource: Resource) -> StatusError:
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, _details(resource, ""))


def too_large_body(limit: int) -> StatusError:
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def unsupported_media(accepted: Sequence[str]) -> StatusError:
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    return StatusError(415, "UnsupportedMediaType", message)


def not_simulated(call: str) -> StatusError:
    """501: the call is outside the closed list; the message names it."""
    return StatusError(
        501,
        "NotImplemented",
        f"The simulator does not serve {call}: it is not on its closed list of calls (docs/simulator.md). "
        "Use a real API server for it.",
    )


def internal(message: str) -> StatusError:
    return StatusError(500, "InternalError", f"Internal error occurred: {message}")


def plain_failure(message: str) -> StatusError:
    """What the API server makes of an error that has no API type: code 500, no reason."""
    return StatusError(500, "", message)
