"""What the webhook records of every answer on TAPIO_ADMITTED: who asked for what, and what was said.

A log of its own, because anybody who may create objects sets its rate. Joined to facts by UID, the hash of the
normalised spec and the previous version; the join is a probable one.
"""

from __future__ import annotations

import msgspec

from tapio_shared.keys import escape_token

ALL_ADMITTED = "tapio.admitted.>"
"""Every subject of answers."""


class Admission(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="Admission"):
    """One answer to what was no dry run. Holds no value of the object: a spec may carry what is nobody's business."""

    request: str
    """UID of the AdmissionReview."""
    handler: str  # mutate | validate
    target: str
    kind: str
    namespace: str
    name: str
    uid: str = ""
    """UID of the object; empty on creation."""
    operation: str
    user: str = ""
    allowed: bool
    problems: list[str] = []
    """Paths of what was wrong."""
    spec_digest: str = ""
    """Digest of the normalised spec."""
    previous_version: str = ""
    """resourceVersion of the object before the change."""
    answered_at: int


def admitted_subject(target: str, namespace: str, name: str) -> str:
    """Where answers about one object go."""
    return f"tapio.admitted.{escape_token(target)}.{escape_token(namespace)}.{escape_token(name)}"
