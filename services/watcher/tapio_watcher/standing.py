"""Whether what a watcher believes the log to hold still stands there.

A log that lost its end and has grown again may be as long as it was, so its length tells nothing; its messages do. What
was read or appended since the last look is looked for one by one, since the loss may have come between any two of them.
All that is older stands for as long as the newest of it does: a log loses its end, and never its middle.
"""

from __future__ import annotations

from typing import NamedTuple

from tapio_shared.errors import LogMissing, LogRewound, RetryableError
from tapio_shared.ports import EventLog, Message

_AT_ONCE = 250
"""Subjects in one request: their last messages, some 2 KB each, are in memory together."""


class _Believed(NamedTuple):
    sequence: int
    content: int
    """Hash of the message's bytes."""


class Standing:
    """What is to be looked for: last messages, by subject."""

    def __init__(self) -> None:
        self._unseen: dict[str, _Believed] = {}
        self.lost = ""
        """Why the log is not what it was, as a sentence, once that was found."""

    def believe(self, subject: str, sequence: int, data: bytes) -> None:
        """A message was read, or its append acknowledged."""
        self._unseen[subject] = _Believed(sequence, hash(data))

    def believe_all(self, messages: tuple[Message, ...]) -> None:
        """All of one view, in the order of sequences: the newest stands for them."""
        if messages:
            self.believe(messages[-1].subject, messages[-1].sequence, messages[-1].data)

    async def look(self, log: EventLog) -> None:
        """Look whether all of it stands; `LogRewound` when something does not. What has aged out is no loss."""
        asked, subjects, missing = dict(self._unseen), list(self._unseen), list[str]()
        for start in range(0, len(subjects), _AT_ONCE):
            some = subjects[start : start + _AT_ONCE]
            view = await log.last_per_subject(*some, at_least=max(asked[one].sequence for one in some))
            there = {message.subject: message for message in view.messages}
            # What was appended meanwhile is looked for the next time.
            missing += [
                one for one in some if not _stands(there.get(one), asked[one]) and self._unseen.get(one) == asked[one]
            ]
        if missing:
            begins = (await log.info()).first_sequence
            for one in missing:
                if asked[one].sequence >= begins:
                    raise self._rewound(one, asked[one].sequence)
        newest = max(asked, key=lambda one: asked[one].sequence, default="")
        for one, believed in asked.items():
            if one != newest and self._unseen.get(one) == believed:
                del self._unseen[one]

    async def last(self, log: EventLog, subject: str, believed: int) -> Message | None:
        """The last message of `subject`, where `believed` turned out not to be its sequence. `LogRewound` when it is an
        older one: nothing but a loss makes a subject go back."""
        last = await log.last(subject)
        sequence = 0 if last is None else last.sequence
        if sequence < believed and (last is not None or believed >= (await log.info()).first_sequence):
            raise self._rewound(subject, believed)
        if last is not None:
            self.believe(subject, last.sequence, last.data)
        return last

    def _rewound(self, subject: str, sequence: int) -> LogRewound:
        self.lost = (
            f"The stream has lost its end and has grown again: what stood at {sequence}, of {subject}, is not there "
            "any more; everything is observed again."
        )
        return LogRewound(self.lost)


def may_pass(error: BaseException) -> bool:
    """Whether a failure of the log is waited for; with another log, or one that lost its end, all is observed anew."""
    return isinstance(error, RetryableError) and not isinstance(error, LogMissing | LogRewound)


def _stands(last: Message | None, believed: _Believed) -> bool:
    """Whether the last message of a subject is the one that was believed to be, or one that came after it."""
    if last is None or last.sequence < believed.sequence:
        return False
    return last.sequence > believed.sequence or hash(last.data) == believed.content
