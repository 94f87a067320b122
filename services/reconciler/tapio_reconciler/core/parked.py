"""What follows from messages of a key's log that can't be read: what they tell of is unknown, and never taken for gone.

A state holds such a message as a `MessageParked` in its place; a newer message there ends it. A custom resource that
is unknown stops the planning of its key, a managed object that is unknown is left alone; everything else goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from tapio_reconciler.core.changes import Act, Change
from tapio_reconciler.core.model import Notice
from tapio_reconciler.core.state import State
from tapio_shared.api.kinds import MANAGED_KINDS, RESOURCE_KINDS
from tapio_shared.api.reasons import Reason
from tapio_shared.facts import MessageParked
from tapio_shared.keys import ObjectRef, parse_subject

_RESOURCES = frozenset((kind.group, kind.kind) for kind in RESOURCE_KINDS)
_MANAGED = frozenset((kind.group, kind.kind) for kind in MANAGED_KINDS)
_MOST_NAMED = 3
SHARED_FACTS = ("fleet", "config", "discovery", "synced", "sweep", "target")
"""The shared facts that a plan rests on."""


class Parked(msgspec.Struct, frozen=True):
    """The unreadable messages of one key. `newest` is the highest sequence of them, 0 when there are none."""

    objects: Mapping[ObjectRef, str] = msgspec.field(default_factory=dict[ObjectRef, str])
    """Managed objects that are unknown -> the sentence that says so."""
    resources: tuple[str, ...] = ()
    """The same about custom resources: without them nothing can be planned."""
    sentences: tuple[str, ...] = ()
    """All of it, and what is unreadable of the operator's own records."""
    newest: int = 0

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What a status says of it."""
        return (Notice(reason=Reason.MESSAGE_PARKED, message=_joined(self.sentences)),) if self.sentences else ()

    @property
    def blocker(self) -> str:
        """Why nothing can be planned; empty when it can."""
        return _joined(self.resources)

    def change(self, ref: ObjectRef) -> Change | None:
        """What is done about a wanted object that is unknown: nothing. None when it is known."""
        sentence = self.objects.get(ref)
        return None if sentence is None else Change(act=Act.AWAIT, reason=sentence, unknown=True)


def parked_of(state: State) -> Parked:
    """The unreadable messages of a key that stand in the place of something."""
    found = list(_messages(state))
    return Parked(
        {ref: text for ref, _, text in found if ref is not None and (ref.group, ref.kind) in _MANAGED},
        tuple(text for ref, _, text in found if ref is not None and (ref.group, ref.kind) in _RESOURCES),
        tuple(text for _, _, text in found),
        max((sequence for _, sequence, _ in found), default=0),
    )


def _messages(state: State) -> Iterator[tuple[ObjectRef | None, int, str]]:
    found = {subject: entry.record for subject, entry in state.own.items() if isinstance(entry.record, MessageParked)}
    for subject in sorted(found):
        record = found[subject]
        address = parse_subject(subject)
        if address.ref is not None:
            yield address.ref, record.sequence, _sentence(record, str(address.ref))
        elif address.what in {"decision", "outcome"}:
            yield None, record.sequence, _sentence(record, f"the last {address.what}")


def unread_shared_facts(state: State) -> dict[str, str]:
    """Shared facts that a newer version wrote -> the sentence that says so: to go on by older ones is to misread."""
    found = {name: state.shared[name].record for name in SHARED_FACTS if name in state.shared}
    return {
        name: _of_a_newer_version(record, f"{name} of this Kubernetes cluster", "so nothing is planned for it")
        for name, record in found.items()
        if isinstance(record, MessageParked)
    }


def _of_a_newer_version(record: MessageParked, about: str, so: str) -> str:
    return (
        f"Message {record.sequence} of the event log, on subject {record.subject}, was written by a newer version of "
        f"the operator. {record.reason} What it says of {about} is unknown, {so}."
    )


def _sentence(record: MessageParked, about: str) -> str:
    if record.newer:
        return _of_a_newer_version(record, about, "so that is left alone")
    return (
        f"Message {record.sequence} of the event log, on subject {record.subject}, is parked. {record.reason} "
        f"What it says of {about} is unknown, so that is left alone. If no newer version wrote it, restart the watcher "
        "(kubectl -n tapio-system rollout restart deployment/tapio-watcher), which tells of every object anew."
    )


def _joined(sentences: tuple[str, ...]) -> str:
    more = len(sentences) - _MOST_NAMED
    return " ".join(sentences[:_MOST_NAMED]) + (f" There are {more} more such messages." if more > 0 else "")
