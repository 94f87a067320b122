"""Object facts as bytes, with the digest that tells whether one says anything new.

The slim document is encoded once: its bytes are hashed and spliced into the fact. A stored fact is read the same way,
so that learning a whole log decodes no documents.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec

from tapio_shared.codec import encode
from tapio_shared.errors import NewerFormat, Undecodable
from tapio_shared.facts import FORMAT
from tapio_shared.json import JsonObject

GONE = b"gone"
"""The digest of every tombstone: that an object is gone is said once, whoever says it."""


_DIGEST_SIZE = 12
"""Bytes of a digest. Two documents are taken for the same by chance once in 2**96 comparisons."""


class _Observed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="ObjectObserved"):
    """`facts.ObjectObserved` with its document as bytes; a test holds the two to the same encoding."""

    uid: str
    resource_version: str
    object: msgspec.Raw
    observed_at: int
    format: int = 1


class _Gone(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="ObjectGone"):
    uid: str = ""
    resource_version: str = ""
    gone_at: int
    format: int = 1


class EncodedFact(NamedTuple):
    """One object fact, ready to be appended."""

    record: _Observed | _Gone
    digest: bytes
    uid: str
    resource_version: str

    @property
    def data(self) -> bytes:
        """The bytes to append, made when they are asked for: most facts say nothing new, and nobody asks."""
        return encode(self.record)

    @property
    def is_gone(self) -> bool:
        return self.digest == GONE


def observed_fact(document: JsonObject, *, uid: str, resource_version: str, now: int) -> EncodedFact:
    """The fact that an object exists and looks like `document`, its slim form."""
    body = encode(document)
    record = _Observed(uid=uid, resource_version=resource_version, object=msgspec.Raw(body), observed_at=now)
    return EncodedFact(record, _digest(uid, body), uid, resource_version)


def gone_fact(*, uid: str, resource_version: str, now: int) -> EncodedFact:
    """The fact that an object does not exist."""
    return EncodedFact(_Gone(uid=uid, resource_version=resource_version, gone_at=now), GONE, uid, "")


def digest_of_stored(data: bytes) -> tuple[bytes, str, str]:
    """Digest, UID and resourceVersion of a stored object fact. `Undecodable` for anything that is not one."""
    try:
        record = _STORED.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise Undecodable(
            f"A message of the log is not a fact about an object that this version knows: {err}."
        ) from err
    if record.format > FORMAT:
        raise NewerFormat(
            f"A message of the log is a fact of format {record.format}, and this version reads formats up to {FORMAT}."
        )
    if isinstance(record, _Gone):
        return GONE, record.uid, record.resource_version
    if not bytes(record.object).startswith(b"{"):
        raise Undecodable("A stored ObjectObserved holds no object.")
    return _digest(record.uid, record.object), record.uid, record.resource_version


def _digest(uid: str, body: bytes | msgspec.Raw) -> bytes:
    """What a fact says, whenever it was said and under whichever resourceVersion."""
    state = hashlib.blake2b(b"%b\x00" % uid.encode(), digest_size=_DIGEST_SIZE)
    state.update(body)
    return state.digest()


_STORED: msgspec.json.Decoder[_Observed | _Gone] = msgspec.json.Decoder(_Observed | _Gone)
