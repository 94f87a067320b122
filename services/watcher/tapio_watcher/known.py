"""What the log is known to hold of the objects of one target: a digest and a sequence per subject, never a document.

Rebuilt from `last_per_subject` at every start; kept by the one who appends. 15,000 objects take some 15 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tapio_shared.errors import Undecodable
from tapio_shared.keys import ObjectRef, parse_subject
from tapio_shared.ports import Message
from tapio_watcher.encoding import GONE, EncodedFact, digest_of_stored

Kind = tuple[str, str]
"""Group and kind."""


@dataclass(frozen=True, slots=True)
class Known:
    """The last fact of one subject."""

    sequence: int
    digest: bytes
    uid: str
    written_at: int

    @property
    def is_present(self) -> bool:
        return self.digest != GONE


class KnownFacts:
    """The last object facts of one target, by subject, and where each object is told of."""

    def __init__(self) -> None:
        self._facts: dict[str, Known] = {}
        self._places: dict[Kind, dict[tuple[str, str], tuple[str, ...]]] = {}
        self.awaited: set[str] = set()
        """Subjects of objects that somebody refers to, whose absence is a fact too."""

    def __len__(self) -> int:
        return len(self._facts)

    def get(self, subject: str) -> Known | None:
        return self._facts.get(subject)

    def sequence_of(self, subject: str) -> int:
        """The sequence that the next fact of `subject` must follow; 0 when there is none."""
        known = self._facts.get(subject)
        return 0 if known is None else known.sequence

    def learn(self, message: Message) -> str:
        """Take in the last message of a subject; answers why it can't be read, or nothing.

        An unreadable message counts for its sequence alone: the next observation follows it and replaces it.
        """
        ref: ObjectRef | None = None
        try:
            ref = parse_subject(message.subject).ref
            digest, uid = digest_of_stored(message.data)
        except (Undecodable, ValueError) as err:
            self._facts[message.subject] = Known(message.sequence, b"", "", message.written_at)
            if ref is not None:
                self.add_place(ref, message.subject)  # if no list holds the object, it is told to be gone
            return str(err)
        self._facts[message.subject] = Known(message.sequence, digest, uid, message.written_at)
        if ref is not None and digest != GONE:
            self.add_place(ref, message.subject)
        return ""

    def appended(self, subject: str, sequence: int, fact: EncodedFact, now: int) -> None:
        """Note a fact that was appended."""
        self._facts[subject] = Known(sequence, fact.digest, fact.uid, now)

    def forget(self, subject: str) -> None:
        """The log holds nothing of `subject` any more."""
        self._facts.pop(subject, None)

    def moved(self, subject: str, sequence: int, now: int) -> None:
        """The same fact stands at another sequence."""
        known = self._facts[subject]
        self._facts[subject] = Known(sequence, known.digest, known.uid, now)

    def places(self, ref: ObjectRef) -> tuple[str, ...]:
        """The subjects that tell of `ref` as existing, sorted."""
        return self._places.get((ref.group, ref.kind), {}).get((ref.namespace, ref.name), ())

    def add_place(self, ref: ObjectRef, subject: str) -> None:
        of_kind = self._places.setdefault((ref.group, ref.kind), {})
        name = (ref.namespace, ref.name)
        places = of_kind.get(name, ())
        if subject not in places:
            of_kind[name] = tuple(sorted((*places, subject)))

    def remove_place(self, ref: ObjectRef, subject: str) -> None:
        of_kind = self._places.get((ref.group, ref.kind), {})
        name = (ref.namespace, ref.name)
        left = tuple(one for one in of_kind.get(name, ()) if one != subject)
        if left:
            of_kind[name] = left
        else:
            of_kind.pop(name, None)

    def present(self, group: str, kind: str) -> list[ObjectRef]:
        """Every object of a kind that the log tells of as existing, by name."""
        names = sorted(self._places.get((group, kind), {}))
        return [ObjectRef(group, kind, namespace, name) for namespace, name in names]

    def live(self) -> Iterator[Known]:
        """The facts that must not be lost: what exists, and what is awaited and does not."""
        return (known for subject, known in self._facts.items() if known.is_present or subject in self.awaited)

    def live_below(self, sequence: int) -> list[str]:
        """Subjects whose live fact lies below `sequence`, oldest first."""
        found = [
            (known.sequence, subject)
            for subject, known in self._facts.items()
            if known.sequence < sequence and (known.is_present or subject in self.awaited)
        ]
        return [subject for _, subject in sorted(found)]

    def forget_gone(self, first_sequence: int) -> None:
        """Forget the tombstones that the log has dropped."""
        dropped = [
            subject
            for subject, known in self._facts.items()
            if known.sequence < first_sequence and not known.is_present and subject not in self.awaited
        ]
        for subject in dropped:
            del self._facts[subject]
