"""Whose word that the log is complete a worker takes, after it has seen the log go back in time.

A log that was restored from a backup holds the watcher's `Synced` of then, which vouches for what was known then. A
worker that had seen more withholds it until the watcher, which notices too, has observed everything anew and says so
under another generation. A worker that begins later knows nothing of it, and takes the log as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WITHHELD_FOR = 60.0
"""Seconds after which the old word counts again: a watcher that was restarted meanwhile knows of no other log."""


@dataclass(slots=True)
class Trust:
    """What a worker remembers of the log over all lives of its partitions."""

    newest: int = 0
    """The highest sequence that it was told of."""
    known: set[str] = field(default_factory=set[str])
    """Generations that it has gone by."""
    withheld: set[str] = field(default_factory=set[str])
    """Those of before the log went back."""

    def told(self, sequence: int) -> None:
        """A message of the log was followed."""
        self.newest = max(self.newest, sequence)

    def taken_over(self, epoch: int, seen: int) -> bool:
        """A partition is taken over at this sequence, the end of the log then; answers whether the log went back.

        `seen` is `newest` as it was before the epoch was asked for: since then another partition of this worker may
        have been told of what came after it, or have found that the log went back.
        """
        if epoch > min(seen, self.newest):
            self.newest = max(self.newest, epoch)
            return False
        self.went_back()
        self.newest = epoch
        return True

    def went_back(self) -> None:
        """The log is not what it was: nothing that vouched for it does any more."""
        self.withheld |= self.known

    def takes(self, generation: str) -> bool:
        """Whether to go by a `Synced` of this generation."""
        if generation in self.withheld:
            return False
        self.known.add(generation)
        return True

    def give_in(self) -> None:
        """Go by whatever the log says, since nobody has said anything newer."""
        self.withheld.clear()
