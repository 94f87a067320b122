"""`tapioctl erase`: a user's name leaves the history, and everything else stays as it was.

Names of users lie in TAPIO_ADMITTED alone. No message of a stream can be changed, so the stream is made anew of its
own messages, with their sequences and time stamps, and without the name. What the webhook answers in the meantime is
not recorded; nobody waits for that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from tapio_cli.history.source import Recorded, Streams
from tapio_shared.admissions import ALL_ADMITTED, Admission
from tapio_shared.codec import decode_as, encode
from tapio_shared.errors import InvalidSettings, Undecodable
from tapio_shared.keys import ADMITTED_STREAM
from tapio_shared.ports import Message

ERASED = "(erased)"
"""What stands in a name's place."""


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of the webhook from which a name is removed."""

    sequence: int
    answered_at: int
    operation: str
    about: str


async def erasures(admitted: Recorded, user: str) -> list[Erasure]:
    """Every answer that names `user`. `Undecodable` when one can't be read, and so can't be vouched for."""
    info = await admitted.info()
    found: list[Erasure] = []
    async for message in admitted.read(ALL_ADMITTED, up_to=info.last_sequence):
        one = _read(message)
        if one.user == user:
            about = f"{one.kind} {one.namespace}/{one.name}"
            found.append(
                Erasure(sequence=message.sequence, answered_at=one.answered_at, operation=one.operation, about=about)
            )
    return found


async def erase(admitted: Recorded, streams: Streams, user: str) -> int:
    """Make the stream of the webhook's answers anew without the name of `user`; answers how many messages it holds."""
    if user in {"", ERASED}:
        raise InvalidSettings(f"{user!r} is nobody's name. Give the user's name as `tapioctl history` shows it.")
    # All of it is in memory before the stream goes: the stream is limited in bytes, and holds nothing large.
    kept: list[Message] = []
    info, read = await admitted.info(), 0
    while info.last_sequence > read:
        async for message in admitted.read(ALL_ADMITTED, from_sequence=read + 1, up_to=info.last_sequence):
            kept.append(_without(message, user))  # noqa: PERF401 - an asynchronous comprehension can't go on
        info, read = await admitted.info(), info.last_sequence
    return await streams.replace(ADMITTED_STREAM, info, lambda: _each(kept), keep_settings=True)


async def _each(messages: list[Message]) -> AsyncIterator[Message]:
    for message in messages:
        yield message


def _without(message: Message, user: str) -> Message:
    one = _read(message)
    if one.user != user:
        return message
    data = encode(msgspec.structs.replace(one, user=ERASED))
    return Message(message.subject, message.sequence, data, message.headers, message.written_at)


def _read(message: Message) -> Admission:
    try:
        return decode_as(Admission, message.data)
    except Undecodable as err:
        raise Undecodable(
            f"Message {message.sequence} of {ADMITTED_STREAM} can't be read, so nobody can say whose name it holds, "
            f"and nothing was erased: {err} Use the tapioctl of the newest operator that has run here."
        ) from err
