"""Single objects that are being read while a watch goes on: an answer that was overtaken is not believed.

Between the API server's answer and our hearing it, the watch may tell of the object. Which of the two is the newer one
can't be seen where versions don't compare, or where one of them is an absence; a reading that nothing overtook can.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tapio_watcher.versions import Name

T = TypeVar("T")
_MOST = 5
"""Readings of an object that is told of again and again; the last is then believed, and what is told after it."""


@dataclass(slots=True, eq=False)
class _Reading:
    is_overtaken: bool = False


class Readings:
    """The readings of one kind that are under way."""

    def __init__(self) -> None:
        self._under_way: dict[Name, list[_Reading]] = {}

    async def latest(self, name: Name, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` answers of an object, asked again if something was told of it meanwhile. Raises what it does."""
        reading = _Reading()
        readings = self._under_way.setdefault(name, [])
        readings.append(reading)
        try:
            answer = await read()
            for _ in range(_MOST - 1):
                if not reading.is_overtaken:
                    break
                reading.is_overtaken = False
                answer = await read()
        finally:
            readings.remove(reading)
            if not readings:
                self._under_way.pop(name, None)
        self.told(name)  # Who began to read it before, and is answered later, may have an answer of before.
        return answer

    def told(self, name: Name) -> None:
        """Something was told of an object."""
        for reading in self._under_way.get(name, ()):
            reading.is_overtaken = True

    def told_all(self) -> None:
        """All that exists was told: a list is complete."""
        for name in self._under_way:
            self.told(name)
