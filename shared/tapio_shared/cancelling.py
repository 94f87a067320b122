"""Whether the running task was asked to end, for those who go on after what may have kept that to itself.

A TaskGroup that is ending by an error raises its errors alone when its task is cancelled meanwhile, before Python 3.13
(https://github.com/python/cpython/issues/116720); nats-py lets no cancellation out of a full buffer. Whoever waits for
a task to end that then goes on waits for ever.
"""

from __future__ import annotations

import asyncio


def cancellations() -> int:
    """How often the running task was asked to end, by now."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def end_if_cancelled(since: int) -> None:
    """CancelledError when the running task was asked to end since `cancellations` answered `since`."""
    if cancellations() > since:
        raise asyncio.CancelledError
