"""Ctrl-C and SIGTERM as the ordinary end of a command that otherwise goes on for ever."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


async def until_interrupted(work: Coroutine[None, None, T], otherwise: T) -> T:
    """What `work` answers, or `otherwise` once SIGINT or SIGTERM has ended it in order.

    Handlers are set on purpose: a command that a shell script starts in the background inherits an ignored SIGINT, and
    Python then sets none of its own.
    """
    running, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.cancel)
    try:
        return await running
    except asyncio.CancelledError:
        return otherwise
