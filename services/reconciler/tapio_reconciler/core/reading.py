"""Messages of the log as entries of a state; what can't be read says so in its own place (ADR 0005)."""

from __future__ import annotations

from zlib import crc32

from tapio_reconciler.core.state import Entry
from tapio_shared.codec import decode_record
from tapio_shared.errors import NewerFormat, Undecodable
from tapio_shared.facts import MessageParked
from tapio_shared.ports import Message


def checksum_of(message: Message) -> int:
    """CRC-32 of a message's subject and bytes, which tells it from another one at the same sequence."""
    return crc32(message.data, crc32(message.subject.encode()))


def entry_of(message: Message) -> Entry:
    """What `message` says; a MessageParked that names the message itself when this version can't read it."""
    checksum = checksum_of(message)
    try:
        return Entry(message.sequence, decode_record(message.data), checksum)
    except Undecodable as err:
        return Entry(message.sequence, parked(message, str(err), newer=isinstance(err, NewerFormat)), checksum)


def parked(message: Message, reason: str, *, newer: bool = False) -> MessageParked:
    """That `message` can't be read, and why; the same whoever of one version reads it and whenever."""
    return MessageParked(
        subject=message.subject, sequence=message.sequence, reason=reason, parked_at=message.written_at, newer=newer
    )


def is_unreadable(message: Message, entry: Entry) -> bool:
    """Whether `entry` stands for a message that can't be read, and is no record that says so of another one."""
    return isinstance(entry.record, MessageParked) and entry.record.sequence == message.sequence
