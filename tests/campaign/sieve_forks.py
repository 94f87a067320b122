"""Cases that share what came before them: the run that is enumerated forks a copy of itself where a case strikes.

Everything is one event loop on virtual time without sockets or threads, so a copy of the process is a copy of the whole
world. The copy strikes, goes on to the end, says what it found, and is gone; the original goes on as if nothing were.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

LONGEST = 1_800
"""Seconds of real time that one case may take."""


@dataclass(slots=True)
class Forks:
    """The copies under way, at most `jobs` at once."""

    jobs: int = 2
    case: str = ""
    """In a copy: which case it is."""
    _children: dict[int, tuple[str, int]] = field(default_factory=dict[int, tuple[str, int]])
    _answers: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    _answer: int = 0

    def fork(self, case: str) -> bool:
        """Make a copy for `case`; True in the copy."""
        while len(self._children) >= self.jobs:
            self._wait()
        reading, writing = os.pipe()
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os.close(reading)
            self._answer, self.case = writing, case
            self._children.clear()
            if _running:
                # A running loop is known by the process it runs in, and this is another process.
                asyncio._set_running_loop(_running[-1])
            signal.alarm(LONGEST)
            return True
        os.close(writing)
        self._children[child] = (case, reading)
        return False

    def answer(self, answer: bytes) -> NoReturn:
        """End the copy."""
        left = answer
        while left:
            left = left[os.write(self._answer, left) :]
        os._exit(0)

    def note(self, case: str, answer: bytes) -> None:
        """Add the answer of a case that needed no copy."""
        self._answers.append((case, answer))

    def answers(self) -> Iterator[tuple[str, bytes]]:
        """Each case that has ended, with what its copy answered: nothing when it died."""
        while self._answers:
            yield self._answers.pop(0)

    def finish(self) -> None:
        """Wait for all of them."""
        while self._children:
            self._wait()

    def _wait(self) -> None:
        child, (case, reading) = next(iter(self._children.items()))
        del self._children[child]
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
        os.waitpid(child, 0)
        self._answers.append((case, told))


_running: list[asyncio.AbstractEventLoop] = []


def remember_loop() -> None:
    """Call it in the loop before the first fork."""
    _running.append(asyncio.get_running_loop())
