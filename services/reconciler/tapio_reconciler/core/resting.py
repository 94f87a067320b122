"""Components about which nothing is to be done: what was found of one holds until something that it followed from is
told of anew.

Of the components of a cluster one or two move at a time. What is asked about the others is noted while it is asked
(`Watchful`), so that nothing that an answer followed from can be left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import is_

import msgspec

from tapio_reconciler.core.changes import Act, Change, Memory
from tapio_reconciler.core.components import ComponentProgress
from tapio_reconciler.core.drafting import Draft, Noted
from tapio_reconciler.core.state import Seen, Sight
from tapio_shared.keys import ObjectRef


class Watchful(msgspec.Struct):
    """What is observed, and a note of everything that was asked of it."""

    observed: Sight
    asked: dict[ObjectRef, Seen | None] = msgspec.field(default_factory=dict[ObjectRef, "Seen | None"])
    kinds: dict[str, tuple[Seen, ...]] = msgspec.field(default_factory=dict[str, "tuple[Seen, ...]"])

    def get(self, ref: ObjectRef, /) -> Seen | None:
        found = self.asked[ref] = self.observed.get(ref)
        return found

    def of_kind(self, kind: str) -> tuple[Seen, ...]:
        found = self.kinds[kind] = self.observed.of_kind(kind)
        return found


@dataclass(slots=True)
class Rest:
    """What was last found of a component about which nothing was to be done, as long as the same is rendered of it."""

    progress: ComponentProgress | None = None
    """None: something is to be done, or nobody has looked."""
    noted: Noted = field(default_factory=Noted)
    _asked: Mapping[ObjectRef, Seen | None] = field(default_factory=dict[ObjectRef, "Seen | None"])
    _kinds: Mapping[str, tuple[Seen, ...]] = field(default_factory=dict[str, "tuple[Seen, ...]"])
    _settled: tuple[str | None, ...] = ()

    def goes_on(self, draft: Draft) -> bool:
        """Whether a look would find the same: all that was looked at is the same, and nothing is due."""
        renew_at = self.noted.renew_at
        return (
            self.progress is not None
            and not (renew_at and draft.now >= renew_at)
            and all(map(is_, map(draft.seen.get, self._asked), self._asked.values()))
            and all(draft.seen.of_kind(kind) is those for kind, those in self._kinds.items())
            and self._settled == _settled(self.noted, draft.memory)
        )

    def look(self, progress: ComponentProgress, part: Draft, watched: Watchful, changes: Iterable[Change]) -> None:
        """Remember what was found, if nothing is to be done; nothing else of the plan is kept alive."""
        noted = part.noted()
        if noted is None or any(change.act is not Act.NOTHING for change in changes):
            self.progress, self.noted, self._asked, self._kinds = None, Noted(), {}, {}
            return
        self.progress, self.noted, self._asked, self._kinds = progress, noted, watched.asked, watched.kinds
        self._settled = _settled(noted, part.memory)


def _settled(noted: Noted, memory: Memory) -> tuple[str | None, ...]:
    """What the API server is known to have made of the objects: all of the memory of writes that counts at rest."""
    settled = memory.outcome.settled
    return tuple(map(settled.get, noted.objects)) if settled else ()
