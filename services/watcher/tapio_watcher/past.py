"""Whether an API server answers from before what was already seen of it. Pure; for servers whose versions compare.

Behind a version that was seen there is either a past that will end (a replica that is behind, two control planes behind
one address) or an etcd that was restored from a backup, which stays. Reading can't tell them apart; waiting can.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tapio_watcher.watching import is_older

DOUBTED = 60.0
"""Seconds for which an API server that is behind is not believed; one that still is then was restored."""

Verdict = Literal["present", "behind", "restored"]


class Newest:
    """The newest version that was seen of one kind, and since when the API server has been behind it."""

    def __init__(self, version: str = "") -> None:
        self.version = version
        """Empty when nothing was seen."""
        self._behind_since: float | None = None

    @property
    def is_behind(self) -> bool:
        """Whether the API server was behind when it was last asked."""
        return self._behind_since is not None

    def saw(self, version: str) -> None:
        """Something of this version was told."""
        if is_older(self.version, version):
            self.version = version

    def verdict(self, version: str, now: float) -> Verdict:
        """What it means that the API server's own version is `version` at `now`, in seconds."""
        if not is_older(version, self.version):
            self.version, self._behind_since = version, None
            return "present"
        if self._behind_since is None:
            self._behind_since = now
        if now - self._behind_since < DOUBTED:
            return "behind"
        self.version, self._behind_since = version, None
        return "restored"


def kind_name(group: str, kind: str) -> str:
    """A kind as one word: `Deployment.apps`."""
    return f"{kind}.{group}" if group else kind


class Told:
    """The newest version of each kind that the log tells of: its cursor's, or that of a fact appended later.

    Facts before the cursor don't count: what was told before an API server was restored is newer than all it has.
    """

    def __init__(self, cursors: Mapping[str, tuple[int, str]] | None = None) -> None:
        """`cursors`: by kind, where the last cursor stands in the log and its version."""
        self._since = {kind: sequence for kind, (sequence, _) in (cursors or {}).items()}
        self._newest = {kind: version for kind, (_, version) in (cursors or {}).items()}

    def learn(self, kind: str, sequence: int, version: str) -> None:
        """A fact of the log tells of an object of `kind` at `version`."""
        if sequence > self._since.get(kind, 0) and is_older(self._newest.get(kind, ""), version):
            self._newest[kind] = version

    def of(self, kind: str) -> str:
        """Empty when the log tells of none."""
        return self._newest.get(kind, "")
