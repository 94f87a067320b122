"""What a message and an atomic batch may hold, checked before anything is sent, alike in memory and on JetStream.

JetStream answers a batch that can never succeed with the same code (10164) as one that may succeed in a moment; telling
them apart afterwards is impossible, so the impossible ones are refused here. See docs/measurements/jetstream.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from tapio_shared.errors import LogRefused, MessageTooLarge
from tapio_shared.ports import NewMessage

MOST_MESSAGES = 1_000
"""JetStream's limit for one atomic batch."""

_OWN_HEADERS = 1_024
"""Room for what an append adds to a message's own headers."""


def check_size(message: NewMessage, limit: int) -> None:
    """`MessageTooLarge` when a server with `max_payload` of `limit` bytes does not take `message`.

    The server counts headers too, and closes the connection of whoever sends more, for all that is in flight on it.
    """
    headers = sum(len(name) + len(value) + 4 for name, value in message.headers.items())
    size = len(message.data) + headers + _OWN_HEADERS
    if size > limit:
        raise MessageTooLarge(message.subject, size, limit)


def check_batch(messages: Sequence[NewMessage]) -> None:
    """`LogRefused` when JetStream can't append `messages` as one batch, now or ever."""
    if not 1 <= len(messages) <= MOST_MESSAGES:
        raise LogRefused(
            f"A batch holds {len(messages)} messages; 1 to {MOST_MESSAGES} are possible. Split or drop it."
        )
    if len(messages) == 1:
        return
    written: set[str] = set()
    for message in messages:
        if message.message_id is not None:
            raise LogRefused(
                f"The message for {message.subject} carries a message id, which a batch can't: one known id refuses "
                "the whole batch. Append it alone, or leave the id out."
            )
        expected = message.expected_subject or message.subject
        if message.expected_last is not None and expected in written:
            raise LogRefused(
                f"An earlier message of the batch writes {expected}, whose last sequence a later one expects: only "
                "the first message that touches a subject may carry its expectation."
            )
        written.add(message.subject)
