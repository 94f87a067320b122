"""What an API server answers of single objects, believed where it can't be of before what was told of them.

A replica that is behind, two control planes behind one address, a cache on the way: they answer with objects as they
were, and with none where one was made since. Nothing in a 404 says of when it is. But a reading can ask for an answer
that is no older than a version, and who is behind that refuses (Kubernetes API Concepts, "Resource versions").
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tapio_shared.errors import ApiError, ApiUnavailable
from tapio_shared.json import JsonObject, str_at
from tapio_watcher.past import DOUBTED
from tapio_watcher.versions import Name
from tapio_watcher.watching import is_older

Read = Callable[[str], Awaitable[JsonObject | None]]
"""Reads one object, None where there is none: the newest for an empty version, else as it was at that or later."""
_MOST_ENDS = 256
"""Objects of which it is remembered when they ended: the past is not long ago."""
_TIMEOUT = 504
"""How a server that is behind answers who asks for more than it knows."""


class Answers:
    """The answers of one API server about one kind."""

    def __init__(self, *, comparable: bool) -> None:
        """`comparable`: whether the server's resource versions may be compared."""
        self._comparable = comparable
        self._ends: dict[Name, str] = {}
        self._behind_since: float | None = None

    def ended(self, name: Name, version: str) -> None:
        """A watch told the end of an object, at `version`, or a list of that version does not hold it."""
        self._ends.pop(name, None)
        self._ends[name] = version
        if len(self._ends) > _MOST_ENDS:
            del self._ends[next(iter(self._ends))]

    async def present(self, name: Name, read: Read, known: Callable[[], tuple[str, str]]) -> JsonObject | None:
        """What `read` answers of an object, unless that may be of before what is known of it.

        `known` tells the versions that its watch told and that was read last, each empty for none. What differs from
        them is asked for again, no older than they are: the answers must be the same. Raises what `read` does, and
        ApiUnavailable for an answer of the past; one that lasts is believed (past.py).
        """
        answer = await read("")
        version = _version(answer)
        told, was_read = known()
        ended = "" if answer is None else self._ends.get(name, "")
        for least in (told or ended, was_read):
            if least in {"", version}:
                continue
            if await self._is_since(least, answer, read):
                self._behind_since = None
            elif self._is_for_good():
                break
            else:
                raise ApiUnavailable(
                    f"The API server answered with {f'version {version}' if version else 'none'} of an object that was "
                    f"seen at version {least} or later. It is asked again."
                )
        return answer

    async def _is_since(self, least: str, answer: JsonObject | None, read: Read) -> bool:
        """Whether `answer` holds at the version `least` or later."""
        if self._comparable and answer is not None:
            return not is_older(_version(answer), least)
        try:
            again = await read(least)
        except ApiError as err:
            if err.code != _TIMEOUT:
                raise
            return False
        if _version(again) != _version(answer):
            raise ApiUnavailable("The API server answered a question twice, and differently. It is asked again.")
        return True

    def _is_for_good(self) -> bool:
        """Whether the server has been behind for so long that it was restored from a backup."""
        now = asyncio.get_running_loop().time()
        if self._behind_since is None:
            self._behind_since = now
        if now - self._behind_since < DOUBTED:
            return False
        self._ends.clear()
        return True


def _version(document: JsonObject | None) -> str:
    return "" if document is None else str_at(document, "metadata", "resourceVersion")
