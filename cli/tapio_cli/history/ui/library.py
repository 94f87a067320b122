"""The chapters that pages look at: read once from the history, kept up to date, and few enough for memory."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from tapio_cli.history.admitted import admissions_of
from tapio_cli.history.known import named_keys
from tapio_cli.history.source import Sources
from tapio_cli.history.story import read_on, read_story
from tapio_cli.history.ui.chapter import Chapter
from tapio_shared.errors import LogRefused, LogRewound
from tapio_shared.keys import OrderingKey

_KEPT = 4
"""Chapters in memory. One of 100,000 events takes some 300 MB."""


class Library:
    """Every TapioCluster of one target, each read when it is first asked for."""

    def __init__(self, sources: Sources, target: str, *, live: bool) -> None:
        self._sources, self._target, self.live = sources, target, live
        self._chapters: OrderedDict[OrderingKey, Chapter] = OrderedDict()
        self._admitted: dict[OrderingKey, int] = {}
        self._reading = asyncio.Lock()

    async def keys(self) -> list[OrderingKey]:
        """Every TapioCluster of which anything is recorded. NotInWindow when nobody has told of the target."""
        return await named_keys(self._sources.log, self._target)

    async def chapter(self, key: OrderingKey) -> Chapter:
        """The chapter of `key`, as it was when it was last read. NotInWindow when there is none."""
        async with self._reading:
            return self._chapters.get(key) or await self._read(key)

    async def newest(self, key: OrderingKey) -> Chapter:
        """The chapter of `key` with what was recorded since; another one when the log is another one."""
        async with self._reading:
            chapter = self._chapters.get(key)
            if chapter is None:
                return await self._read(key)
            try:
                story = await read_on(self._sources.log, chapter.story)
            except LogRewound:
                return await self._read(key)
            ends = await self._admitted_ends()
            if story is not chapter.story or ends != self._admitted.get(key):
                chapter.grow(story, await admissions_of(self._sources.admitted, key))
                self._admitted[key] = ends
            return chapter

    async def _admitted_ends(self) -> int:
        """The last sequence of what the webhook answered; 0 where that can't be read."""
        if self._sources.admitted is None:
            return 0
        try:
            return (await self._sources.admitted.info()).last_sequence
        except LogRefused:
            return 0

    async def _read(self, key: OrderingKey) -> Chapter:
        self._admitted[key] = await self._admitted_ends()
        story = await read_story(self._sources.log, key)
        admissions = await admissions_of(self._sources.admitted, key)
        chapter = await asyncio.to_thread(Chapter, story, admissions)
        self._chapters[key] = chapter
        while len(self._chapters) > _KEPT:
            self._chapters.popitem(last=False)
        return chapter
