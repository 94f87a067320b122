"""From the bytes of a request to an AdmissionReview, whatever somebody sends. Judges nothing.

An API server stores documents that are nested deeper than a decoder here would follow. Such a review must be answered
all the same: an error would count as consent (`failurePolicy: Ignore`), and a denial unseen could hold up a deletion.
"""

from __future__ import annotations

import re
from typing import Final, cast

from tapio_shared.errors import Undecodable
from tapio_shared.json import JsonObject, object_at, str_at
from tapio_shared.shallow import decode_cut

_UID: Final = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)


class MalformedReview(ValueError):
    """The body is no AdmissionReview of a version that is spoken here; the text says what is missing."""


def read_request(body: bytes) -> JsonObject:
    """The AdmissionReview in `body`, without what is nested too deep to be read. Raises `MalformedReview`."""
    try:
        review = cast("JsonObject", decode_cut(dict, body))
    except Undecodable as err:
        raise MalformedReview(f"The body must be an AdmissionReview in JSON. {err}") from err
    if str_at(review, "apiVersion") != "admission.k8s.io/v1" or not _UID.fullmatch(str_at(review, "request", "uid")):
        raise MalformedReview("The body must be an AdmissionReview of admission.k8s.io/v1 with a request.uid.")
    return object_at(review, "request")
