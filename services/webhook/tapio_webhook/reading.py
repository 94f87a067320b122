"""From the bytes of a request to an AdmissionReview, whatever somebody sends. Judges nothing.

An API server stores documents that are nested deeper than a decoder here would follow. Such a review must be answered
all the same: an error would count as consent (`failurePolicy: Ignore`), and a denial unseen could hold up a deletion.
"""

from __future__ import annotations

import re
from typing import Final, cast

from tapio_shared.api.validation import MAX_DEPTH
from tapio_shared.codec import decode_as
from tapio_shared.errors import Undecodable
from tapio_shared.json import JsonObject, object_at, str_at

KEPT_LEVELS: Final = 2 * MAX_DEPTH
"""Levels of nesting that are read: more than a spec may have, so that a cut one is still judged too deep."""

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_UID: Final = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)


class MalformedReview(ValueError):
    """The body is no AdmissionReview of a version that is spoken here; the text says what is missing."""


def read_request(body: bytes) -> JsonObject:
    """The AdmissionReview in `body`, without what is nested too deep to be read. Raises `MalformedReview`."""
    try:
        review = _decoded(body)
    except Undecodable:
        try:
            review = _decoded(shallow(body))
        except Undecodable as err:
            raise MalformedReview(f"The body must be an AdmissionReview in JSON. {err}") from err
    if str_at(review, "apiVersion") != "admission.k8s.io/v1" or not _UID.fullmatch(str_at(review, "request", "uid")):
        raise MalformedReview("The body must be an AdmissionReview of admission.k8s.io/v1 with a request.uid.")
    return object_at(review, "request")


def shallow(body: bytes) -> bytes:
    """JSON with null in place of every object and list that lies deeper than `KEPT_LEVELS`."""
    kept: list[bytes] = []
    depth = copied = 0
    for token in _TOKEN.finditer(body):
        match token[0]:
            case b"{" | b"[":
                depth += 1
                if depth == KEPT_LEVELS + 1:
                    kept += [body[copied : token.start()], b"null"]
                    copied = len(body)  # nothing more, unless it ends
            case b"}" | b"]":
                if depth == KEPT_LEVELS + 1:
                    copied = token.end()
                depth -= 1
            case _:
                pass
    return b"".join([*kept, body[copied:]])


def _decoded(body: bytes) -> JsonObject:
    return cast("JsonObject", decode_as(dict, body))
