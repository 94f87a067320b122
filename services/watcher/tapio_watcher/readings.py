"""Single objects that are being read while a watch goes on: an answer that was overtaken is not believed.

Between the API server's answer and our hearing it, the watch may tell of the object. Which of the two is the newer one
can't be seen where versions don't compare, or where one of them is an absence; a reading that nothing overtook can. And
what a watch has not told by then it tells afterwards, in its order: all that it says of an object until it comes to
what was read is of before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tapio_shared.json import JsonObject, str_at
from tapio_watcher.versions import Name, Versions

T = TypeVar("T")
_MOST = 5
"""Readings of an object that is told of again and again; the last is then believed, and what is told after it."""
_BEHIND = 60.0
"""Seconds after which a watch that has not come to what was read is taken to have missed it."""


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


class ListUnderWay:
    """A list that is being read, and which objects were read by themselves meanwhile.

    Whether such a reading is of before the list or of after it can't be seen. One that is of before may tell of what
    ended before the list, so that neither the list nor the watch from there on ever tells of its end.
    """

    def __init__(self) -> None:
        self.versions = Versions()
        """What the list holds so far."""
        self._read: dict[Name, None] = {}

    def holds(self, name: Name, version: str) -> None:
        """The list holds an object, of which `version` is known by now."""
        self.versions.set(name, version)

    def was_read(self, name: Name) -> None:
        """An object was read, and exists."""
        self._read[name] = None

    def forget(self, name: Name) -> None:
        """An object does not exist any more."""
        self.versions.remove(name)
        self._read.pop(name, None)

    def unsure(self, known: Versions) -> list[Name]:
        """What was read and is not in the list, which is complete; it counts as listed until it is read again."""
        found = [name for name in self._read if name not in self.versions]
        for name in found:
            self.versions.set(name, known.get(name) or "")
        return found

    def lacks(self, known: Versions) -> list[Name]:
        """Of what is known, that which is not in the list."""
        return [name for name in known.differences(self.versions) if name not in self.versions] if len(known) else []


@dataclass(slots=True)
class _Read:
    version: str
    """Empty where there was no such object."""
    uid: str
    told: str
    """The version that the watch told last; empty for none, or for the end of an object."""
    at: float


class Ahead:
    """What was read of objects, and how, that their watch has not told yet."""

    def __init__(self) -> None:
        self._ahead: dict[Name, _Read] = {}

    def read(self, name: Name, version: str, uid: str, *, told: str, now: float) -> None:
        """An object was read at `version`, empty where there is none, at `now`, in seconds.

        `told` is the version that its watch told last, empty for none; what is known here of it goes first.
        """
        known = self._ahead.get(name)
        last = told if known is None else known.told
        if version == last:
            self._ahead.pop(name, None)
        else:
            self._ahead[name] = _Read(version, uid, last, now)

    def version(self, name: Name) -> str:
        """The version that was read of an object and is not told yet; empty for none."""
        known = self._ahead.get(name)
        return "" if known is None else known.version

    def is_old(self, name: Name, version: str, *, now: float) -> bool:
        """Whether what the watch tells at `now` of an object is of before what was read of it."""
        known = self._ahead.get(name)
        if known is None:
            return False
        if known.version == version or now - known.at > _BEHIND:
            del self._ahead[name]
            return False
        known.told = version
        return True

    def reached(self, name: Name) -> None:
        """What is told from now on of an object comes after what was read of it."""
        self._ahead.pop(name, None)

    def ended(self, name: Name, uid: str) -> None:
        """The watch tells the end of an object: of the one that was read, or of a former one."""
        known = self._ahead.get(name)
        if known is not None and known.uid not in {"", uid}:
            known.told = ""
        else:
            self.reached(name)


class Heard:
    """What watches that keep no versions of their own told last of each object, and how far they are behind."""

    def __init__(self) -> None:
        self._told, self._ahead = Versions(), Ahead()

    def is_old(self, name: Name, document: JsonObject, *, now: float) -> bool:
        """Whether what a watch tells at `now`, in seconds, of an object is of before what was read of it."""
        version = str_at(document, "metadata", "resourceVersion")
        self._told.set(name, version)
        return self._ahead.is_old(name, version, now=now)

    def read(self, name: Name, document: JsonObject, *, now: float) -> None:
        """An object was read, or that there is none, which is a document without anything in it."""
        version, uid = str_at(document, "metadata", "resourceVersion"), str_at(document, "metadata", "uid")
        self._ahead.read(name, version, uid, told=self._told.get(name) or "", now=now)

    def versions(self, name: Name) -> tuple[str, str]:
        """The version of an object that was told last, and that which was read and is not told yet; empty for none."""
        return self._told.get(name) or "", self._ahead.version(name)

    def begins(self, name: Name, version: str) -> None:
        """A watch of this object alone tells what comes after `version`; empty for whatever there will be."""
        self._told.set(name, version)
        self._ahead.reached(name)

    def ended(self, name: Name, document: JsonObject) -> None:
        """A watch tells the end of an object."""
        self._told.remove(name)
        self._ahead.ended(name, str_at(document, "metadata", "uid"))
