"""Waiting for a condition in another process, which can't set an event in ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(condition: Callable[[], Awaitable[bool]], *, seconds: float = 30.0) -> None:
    """Return as soon as `condition` holds; `TimeoutError` when it does not within `seconds`."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - see the module docstring
            await asyncio.sleep(0.05)
