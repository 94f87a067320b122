"""Whether a Secret that the operator makes is as it must be, judged by its metadata and digests alone.

Values are never known here. Equal values have equal digests, since one key digests them all; where two Secrets were
digested with different keys, nothing is said about them until both have been read with the same.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from tapio_reconciler.core.model import CertificateSecret, CopiedSecret, GeneratedSecret, MadeSecret
from tapio_reconciler.core.state import Sight
from tapio_shared.api.labels import CLUSTER_NAMESPACE, COPY, RENEW_AT
from tapio_shared.json import JsonObject, object_at, str_at, strings_at
from tapio_shared.keys import ObjectRef


class Flaw(msgspec.Struct, frozen=True, kw_only=True):
    """Why a Secret must be made (again); no reason: it is right. `look_at`: when to judge again, 0 for never."""

    reason: str = ""
    waits: bool = False
    """Nothing can be done yet: something else must be there first."""
    look_at: int = 0


def flaw_of(secret: MadeSecret, ref: ObjectRef, seen: Sight, now: int) -> Flaw:
    """What is wrong with the Secret `ref`, which is to be as `secret` says."""
    found = seen.get(ref)
    document = None if found is None else found.document
    match secret:
        case GeneratedSecret():
            return _generated(secret, ref, document)
        case CopiedSecret():
            return _copied(secret, ref, document, seen)
        case CertificateSecret():
            return _certificate(secret, ref, document, now)
    assert_never(secret)


def is_observed(ref: ObjectRef, seen: Sight) -> bool:
    """Whether the log tells of the Secret `ref`, and of it being there."""
    found = seen.get(ref)
    return found is not None and found.document is not None


def is_copy(document: JsonObject) -> bool:
    """Whether a Secret holds nothing that would be lost with it."""
    return str_at(document, "kind") == "Secret" and COPY in strings_at(document, "metadata", "annotations")


def _generated(secret: GeneratedSecret, ref: ObjectRef, document: JsonObject | None) -> Flaw:
    if document is None:
        return Flaw(reason=f"{ref} does not exist yet; its values are made up once.")
    missing = _missing(secret, document)
    if secret.separate and missing:
        return Flaw(reason=f"{ref} lacks {missing}; what is missing is made up, the rest is kept.")
    return Flaw()


def _copied(secret: CopiedSecret, ref: ObjectRef, document: JsonObject | None, seen: Sight) -> Flaw:
    held = object_at(document, "digests")
    differs = document is None
    for key, (source_name, source_key) in sorted(secret.values.items()):
        source = seen.get(_source(secret, source_name))
        digests = object_at(None if source is None else source.document, "digests")
        if source is None or source_key not in digests:
            return Flaw(reason=f"{ref} waits for {source_key} of Secret {source_name}, which it copies.", waits=True)
        if document is not None and str_at(source.document, "keyId") != str_at(document, "keyId"):
            continue
        differs = differs or held.get(key) != digests[source_key]
    if not differs:
        return Flaw()
    return Flaw(reason=f"{ref} does not exist yet." if document is None else f"{ref} is not what it is a copy of.")


def _certificate(secret: CertificateSecret, ref: ObjectRef, document: JsonObject | None, now: int) -> Flaw:
    if document is None:
        return Flaw(reason=f"{ref} does not exist yet; its certificates are made.")
    missing = _missing(secret, document)
    if missing:
        return Flaw(reason=f"{ref} lacks {missing}; its certificates are made anew.")
    told = strings_at(document, "metadata", "annotations").get(RENEW_AT, "")
    renew_at = int(told) if told.isascii() and told.isdigit() and len(told) <= 15 else 0
    if now >= renew_at:
        return Flaw(reason=f"The certificate in {ref} is due to be renewed.")
    return Flaw(look_at=renew_at)


def _missing(secret: MadeSecret, document: JsonObject) -> str:
    held = object_at(document, "digests")
    return ", ".join(key for key in secret.keys if key not in held)


def _source(secret: CopiedSecret, name: str) -> ObjectRef:
    namespace = strings_at(secret.manifest, "metadata", "labels").get(CLUSTER_NAMESPACE, "")
    return ObjectRef("", "Secret", namespace, name)
