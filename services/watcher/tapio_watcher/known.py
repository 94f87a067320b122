"""What the log is known to hold of the objects of one target: a digest and a sequence per subject, never a document.

Rebuilt from `last_per_subject` at every start; kept by the one who appends. An object takes some 150 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from tapio_shared.errors import Undecodable
from tapio_shared.keys import ObjectRef, escape_token, parse_subject, unescape_token
from tapio_shared.ports import Message
from tapio_watcher.encoding import GONE, EncodedFact, digest_of_stored
from tapio_watcher.entries import AWAITED, PLACE, Known, digest_text, entry_of, is_told, marks_of, read_entry
from tapio_watcher.packed import Packed
from tapio_watcher.past import Told, kind_name
from tapio_watcher.pods import SUMMARY_GROUP, SUMMARY_KIND
from tapio_watcher.versions import Versions, name_in

_OBJECT = 7
"""How many tokens of a subject come before the object's own."""
_PART = r"(?:(?:[A-Za-z0-9-]++|=[0-7][0-9A-F])++|_)"
_OF_AN_OBJECT = re.compile(rf"tapio\.log\.[0-9]+(?:\.{_PART}){{3}}\.object(?:\.{_PART}){{4}}")
"""Nearly every subject that is learned: what this matches, `parse_subject` takes for one of an object, and takes thrice
as long."""
_NEVER = 1 << 62
_RECORD = 30
"""Bytes that a message takes in the log beside its subject and its data."""


class _Where(NamedTuple):
    """A subject, taken apart: group and kind, namespace and name, and partition and key, all of them as tokens.

    Of the key that part is left out which goes without saying: the target, and the namespace of the object.
    """

    kind: str
    name: str
    owner: str


class KnownFacts:
    """The last object facts of one target, by subject, and where each object is told of."""

    def __init__(self, target: str = "") -> None:
        self._target = escape_token(target)
        self.told = Told()
        """Learns the version of every object that is learned."""
        self._kinds: dict[str, Packed] = {}
        """By group and kind: per name and key the marks (told of as existing, awaited) and the last fact, if any."""
        self._count = 0
        self._seen, self._seen_bytes = 0, 0
        """How many facts were read or appended, and what they take in the log."""
        self._oldest = Known(_NEVER, b"", "", _NEVER)
        """No live fact stands before its sequence, or was written before it: facts only move on."""
        self._oldest_gone = _NEVER
        """No tombstone stands before this sequence."""

    def __len__(self) -> int:
        return self._count

    @property
    def mean_bytes(self) -> float:
        """What a fact takes in the log, about: the mean of all that were read or appended."""
        return self._seen_bytes / self._seen if self._seen else 0.0

    def get(self, subject: str) -> Known | None:
        return self._read(self._where(subject))[1]

    def sequence_of(self, subject: str) -> int:
        """The sequence that the next fact of `subject` must follow; 0 when there is none."""
        known = self.get(subject)
        return 0 if known is None else known.sequence

    def learn(self, message: Message) -> str:
        """Take in the last message of a subject; answers why it can't be read, or nothing.

        An unreadable message counts for its sequence alone: the next observation follows it and replaces it.
        """
        self._see(message.subject, message.data)
        is_objects = False
        try:
            is_objects = is_of_object(message.subject)
            digest, uid, version = digest_of_stored(message.data)
        except (Undecodable, ValueError) as err:
            # If no list holds the object, it is told to be gone.
            unreadable = Known(message.sequence, b"", "", message.written_at)
            self._keep(message.subject, unreadable, is_place=is_objects)
            return str(err)
        if is_objects:
            self.told.learn(_kind_of(*message.subject.split(".", 9)[7:9]), message.sequence, version)
        known = Known(message.sequence, digest, uid, message.written_at)
        self._keep(message.subject, known, is_place=is_objects and digest != GONE)
        return ""

    def appended(self, subject: str, sequence: int, fact: EncodedFact, now: int) -> None:
        """Note a fact that was appended."""
        self._see(subject, fact.data)
        self._keep(subject, Known(sequence, fact.digest, fact.uid, now))

    def dropped(self, subject: str) -> None:
        """The log has dropped the last fact of `subject`, and holds nothing of it any more.

        A reader may still go by what was dropped. So what is live stays, at no sequence and like nothing that can be
        told: how the object is must be told again, or its end. Until then the log counts as not whole.
        """
        where = self._where(subject)
        marks, known = self._read(where)
        if known is None:
            return
        if known.is_present or AWAITED in marks:
            uid = known.uid if known.is_present else ""  # whose end has been told needs no other
            self._keep(subject, Known(0, b"", uid, known.written_at), is_place=True)
        else:
            self._write(where, marks, None, was=known)

    def moved(self, subject: str, sequence: int, now: int) -> None:
        """The same fact stands at another sequence."""
        known = self.get(subject)
        if known is None:
            raise KeyError(subject)
        self._keep(subject, Known(sequence, known.digest, known.uid, now))

    def expect(self, subject: str) -> None:
        """Somebody refers to the object of `subject`."""
        where = self._where(subject)
        marks, known = self._read(where)
        if AWAITED not in marks:
            self._write(where, marks + AWAITED, known, was=known)

    def places(self, ref: ObjectRef) -> tuple[str, ...]:
        """The subjects that tell of `ref` as existing, sorted."""
        kind, name = _tokens(ref)
        packed = self._kinds.get(kind)
        if packed is None:
            return ()
        told = [owner for owner, value in packed.of(name) if PLACE in marks_of(value)]
        return tuple(sorted(self._subject(_Where(kind, name, owner)) for owner in told))

    def is_settled(self, subject: str, digest: bytes, *, only_place: bool) -> bool:
        """Whether a fact of this digest would change nothing: it was the last one, and its object is told of by
        `subject`, and with `only_place` nobody else ever told of it. No, when in doubt."""
        where = self._where(subject)
        packed = self._kinds.get(where.kind)
        if packed is None:
            return False
        if not only_place:
            entry = packed.get(where.name, where.owner)
            return entry is not None and is_told(entry, digest_text(digest))
        told = packed.of(where.name)
        return len(told) == 1 and told[0][0] == where.owner and is_told(told[0][1], digest_text(digest))

    def add_place(self, subject: str) -> None:
        """Mark that `subject` tells of its object as existing."""
        where = self._where(subject)
        marks, known = self._read(where)
        if PLACE not in marks:
            self._write(where, marks + PLACE, known, was=known)

    def remove_place(self, subject: str) -> None:
        where = self._where(subject)
        marks, known = self._read(where)
        if PLACE in marks:
            self._write(where, marks.replace(PLACE, ""), known, was=known)

    def place_again(self, subject: str) -> None:
        """Mark the subject as a place again where its last fact tells of its object as existing."""
        known = self.get(subject)
        if known is not None and known.is_present:
            self._keep(subject, known, is_place=True)

    def present(self, group: str, kind: str, *, besides: Versions | None = None) -> list[ObjectRef]:
        """Every object of a kind that the log tells of as existing, by name; without those of these names."""
        packed = self._kinds.get(f"{escape_token(group)}.{escape_token(kind)}", ())
        told = {name for name, _, entry in packed if PLACE in marks_of(entry)}
        others = told if besides is None else besides.lacks(told)
        return sorted(ObjectRef(group, kind, *name_in(one)) for one in others)

    def oldest(self) -> Known:
        """A bound that costs nothing: no live fact has a lower sequence, or was written earlier."""
        return self._oldest

    def live(self) -> Iterator[Known]:
        """The facts that must not be lost: what exists, and what is awaited and does not."""
        return (known for _, known in self._live())

    def look_for_oldest(self) -> None:
        """Have `oldest` tell what is, and not only a bound."""
        sequence = written_at = _NEVER
        for known in self.live():
            sequence, written_at = min(sequence, known.sequence), min(written_at, known.written_at)
        self._oldest = Known(sequence, b"", "", written_at)

    def live_below(self, sequence: int) -> list[tuple[int, str]]:
        """Where live facts lie that stand before `sequence`, and their subjects, oldest first."""
        return sorted(
            (known.sequence, self._subject(where)) for where, known in self._live() if known.sequence < sequence
        )

    def forget_gone(self, first_sequence: int) -> None:
        """Forget the tombstones that the log has dropped."""
        if self._oldest_gone >= first_sequence:
            return
        self._oldest_gone = _NEVER
        dropped: list[tuple[_Where, str, Known]] = []
        for where, marks, known in self._all():
            if not known.is_present and AWAITED not in marks:
                if known.sequence < first_sequence:
                    dropped.append((where, marks, known))
                else:
                    self._oldest_gone = min(self._oldest_gone, known.sequence)
        for where, marks, known in dropped:
            self._write(where, marks, None, was=known)

    # --- as it is kept -----------------------------------------------------------------------------------------

    def _see(self, subject: str, data: bytes) -> None:
        self._seen += 1
        self._seen_bytes += _RECORD + len(subject) + len(data)

    def _all(self) -> Iterator[tuple[_Where, str, Known]]:
        """Every last fact with its marks. Nothing must change meanwhile."""
        for kind, packed in self._kinds.items():
            for name, owner, value in packed:
                marks, known = read_entry(value)
                if known is not None:
                    yield _Where(kind, name, owner), marks, known

    def _live(self) -> Iterator[tuple[_Where, Known]]:
        return ((where, known) for where, marks, known in self._all() if known.is_present or AWAITED in marks)

    def _where(self, subject: str) -> _Where:
        tokens = subject.split(".", _OBJECT)
        partition, target, namespace, cluster = tokens[2:6]
        target = "" if target == self._target else target
        rest = tokens[_OBJECT].split(".", 2)
        if len(rest) < 3:  # no object has such a subject; what lies there is followed and replaced by nothing
            return _Where("", tokens[_OBJECT], f"{partition}.{target}.{namespace}.{cluster}")
        group, kind, name = rest
        namespace = "" if name.partition(".")[0] == namespace else namespace
        return _Where(f"{group}.{kind}", name, f"{partition}.{target}.{namespace}.{cluster}")

    def _subject(self, where: _Where) -> str:
        partition, target, namespace, cluster = where.owner.split(".")
        owner = f"{partition}.{target or self._target}.{namespace or where.name.partition('.')[0]}.{cluster}"
        return f"tapio.log.{owner}.object.{where.kind}{'.' if where.kind else ''}{where.name}"

    def _read(self, where: _Where) -> tuple[str, Known | None]:
        packed = self._kinds.get(where.kind)
        value = None if packed is None else packed.get(where.name, where.owner)
        return ("", None) if value is None else read_entry(value)

    def _keep(self, subject: str, known: Known, *, is_place: bool = False) -> None:
        """Keep the last fact of `subject`; with `is_place`, mark that it tells of its object as existing."""
        where = self._where(subject)
        marks, was = self._read(where)
        self._write(where, marks + PLACE if is_place and PLACE not in marks else marks, known, was=was)

    def _write(self, where: _Where, marks: str, known: Known | None, *, was: Known | None) -> None:
        self._count += (known is not None) - (was is not None)
        packed = self._kinds.get(where.kind)
        if packed is None:
            packed = self._kinds[where.kind] = Packed()
        if known is None and not marks:
            packed.remove(where.name, where.owner)
            return
        packed.set(where.name, entry_of(marks, known), where.owner)
        if known is not None:
            oldest = self._oldest
            if known.sequence < oldest.sequence or known.written_at < oldest.written_at:
                self._oldest = Known(
                    min(known.sequence, oldest.sequence), b"", "", min(known.written_at, oldest.written_at)
                )
            if not known.is_present:
                self._oldest_gone = min(self._oldest_gone, known.sequence)


def is_of_object(subject: str) -> bool:
    """Whether a subject is one of an object. Raises ValueError when it is none of the log."""
    return _OF_AN_OBJECT.fullmatch(subject) is not None or parse_subject(subject).ref is not None


@lru_cache(64)
def _kind_of(group: str, kind: str) -> str:
    """Of which kind a fact tells a version, by the tokens of its subject: a summary of pods has that of a pod."""
    named = unescape_token(group), unescape_token(kind)
    return "Pod" if named == (SUMMARY_GROUP, SUMMARY_KIND) else kind_name(*named)


def _tokens(ref: ObjectRef) -> tuple[str, str]:
    return (
        f"{escape_token(ref.group)}.{escape_token(ref.kind)}",
        f"{escape_token(ref.namespace)}.{escape_token(ref.name)}",
    )
