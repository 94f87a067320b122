"""What all watches of one API server share: how it is asked, by how many at once, and what it can do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tapio_shared.ports import Kube, Random
from tapio_watcher.metrics import Metrics


@dataclass(slots=True)
class Streams:
    """Whether lists are asked for as streams: where the server offers them, until one comes to no end.

    A server that sends objects and then nothing, not even the bookmark that ends the list, has not been met; but who
    waits for it for ever observes nothing, and pages can be had.
    """

    offered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """The API server as every watch of it needs it."""

    kube: Kube
    random: Random
    metrics: Metrics
    room: Callable[[], Awaitable[None]]
    """Waits while too much waits to be published: the watches then read nothing."""
    lists: asyncio.Semaphore
    """Bounds how many lists are read at once: pages of them, or streams."""
    streams: Streams = field(default_factory=Streams)
    """Known to all watches at once: what one of them finds out, the others need not wait for."""
    comparable: bool = False
    """Whether the server's resource versions may be compared."""
