"""Of a log that has dropped its beginning: wherever a history says that it is complete, it tells what was."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tapio_cli.history.archive import Archive
from tapio_cli.history.instants import sequence_at
from tapio_cli.history.known import NotInWindow
from tapio_cli.history.snapshots import snapshot
from tapio_cli.history.story import Story, read_story
from tapio_shared.json import JsonObject
from tapio_shared.ports import Message
from tests.support.incidents import KEY, incident
from tests.support.recorded_histories import write_archive
from tests.support.virtual_time import run_virtually

_BYTES = 900_000
"""Some six times what is live of one small cluster, so that the log drops things all the time."""
_CHANGES = 90


async def _long_lived(seed: int) -> tuple[Story, list[Message]]:
    """The story of a cluster that was changed again and again as the log has it, and everything that ever was in it."""
    async with incident(seed=seed, log_max_bytes=_BYTES) as one:
        for number in range(_CHANGES):
            note: JsonObject = {"podAnnotations": {"note": f"{seed} {number}"}}
            patch: JsonObject = {"nats": note} if (number + seed) % 2 else {"intelligence": {"correlation": note}}
            await one.edit(f"user-{number}@example.org", {"spec": patch})
            await asyncio.sleep(one.operator.random.uniform(1.0, 60.0))
        return await read_story(one.operator.log, KEY), list(one.operator.log.lives[-1])


@pytest.mark.parametrize("seed", [1, 3])
def test_every_instant_within_the_window_is_as_it_was_and_none_before_it_is_told(seed: int, tmp_path: Path) -> None:
    story, everything = run_virtually(_long_lived(seed))
    truth = asyncio.run(read_story(Archive.open(write_archive(tmp_path / "all", everything)), KEY))
    assert story.begins > len(everything) // 3
    window = story.window
    assert window is not None
    first, last = window
    assert last.sequence - first.sequence > 20
    for sequence in range(first.sequence, last.sequence + 1):
        assert snapshot(story, sequence) == snapshot(truth, sequence), sequence
    with pytest.raises(NotInWindow, match="is complete from 20"):
        sequence_at(story, f"@{first.sequence - 1}", now=story.last_at)
