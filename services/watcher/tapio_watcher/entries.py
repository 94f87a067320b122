"""What is known of one subject as one short text: its marks, and its last fact if it has one. Pure.

A watcher keeps one of these for every object of a Kubernetes cluster, so each of its bytes counts.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass

from tapio_shared.keys import escape_token, unescape_token
from tapio_watcher.encoding import GONE

PLACE, AWAITED = "p", "a"
"""Marks: the subject tells of its object as existing; somebody refers to that object."""
_NEITHER = "-"
_PLAIN = "~"
"""Begins a UID that is not written as Kubernetes does. No other begins with it."""
_UID_LENGTH = 22
"""Of a UUID in base 64, without the padding."""


@dataclass(slots=True)
class Known:
    """The last fact of one subject."""

    sequence: int
    digest: bytes
    uid: str
    written_at: int

    @property
    def is_present(self) -> bool:
        return self.digest != GONE


def entry_of(marks: str, known: Known | None) -> str:
    """Marks and fact as text without a newline or tab."""
    if known is None:
        return marks
    return (
        f"{marks or _NEITHER} {known.sequence} {known.written_at:x} {digest_text(known.digest)} {_uid_text(known.uid)}"
    )


def read_entry(entry: str) -> tuple[str, Known | None]:
    """Marks and fact from the text that `entry_of` made of them."""
    marks, *fact = entry.split(" ")
    marks = "" if marks == _NEITHER else marks
    if not fact:
        return marks, None
    sequence, written_at, digest, uid = fact
    return marks, Known(int(sequence), a2b_base64(digest), _uid(uid), int(written_at, 16))


def marks_of(entry: str) -> str:
    """The marks alone."""
    return entry.partition(" ")[0]


def is_told(entry: str, digest: str) -> bool:
    """Whether the subject tells of its object as existing and its last fact has the digest that `digest_text` wrote."""
    marks, *fact = entry.split(" ")
    return bool(fact) and fact[2] == digest and PLACE in marks


def digest_text(digest: bytes) -> str:
    """A digest as an entry holds it."""
    return b2a_base64(digest, newline=False).decode()


def _uid_text(uid: str) -> str:
    if len(uid) == 36:
        try:
            raw = bytes.fromhex(uid.replace("-", ""))
        except ValueError:
            raw = b""
        if len(raw) == 16 and _uuid(raw) == uid:
            return b2a_base64(raw, newline=False).decode()[:_UID_LENGTH]
    return _PLAIN + escape_token(uid)


def _uid(text: str) -> str:
    return unescape_token(text[1:]) if text.startswith(_PLAIN) else _uuid(a2b_base64(f"{text}=="))


def _uuid(raw: bytes) -> str:
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
