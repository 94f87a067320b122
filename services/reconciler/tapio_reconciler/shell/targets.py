"""The way to the Kubernetes API of each target: the operator's own cluster, and those that Secrets tell of.

A connection is opened when a plan for its target has something to do, and anew when the log says that the credentials
are others now. What is under way on the former one ends there. Targets share no connection and no slot of capacity, so
that one that is dead or slow holds nobody else up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from tapio_reconciler.core.state import State
from tapio_reconciler.shell.applying import Applier
from tapio_shared.errors import UnusableTarget
from tapio_shared.facts import TargetObserved
from tapio_shared.ports import Kube

Connect = Callable[[str], Awaitable[AbstractAsyncContextManager[Kube]]]


@dataclass(slots=True)
class _Link:
    """A connection to a target, opened by its first user and closed by its last one once it is retired."""

    credentials: str
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    applier: Applier | None = None
    users: int = 0
    is_retired: bool = False


class Targets:
    """Hands out appliers. `connect` opens the API of a target other than `home`, `make` an applier for it."""

    def __init__(
        self,
        home: str,
        applier: Applier,
        connect: Connect | None = None,
        make: Callable[[Kube], Applier] | None = None,
    ) -> None:
        self._home, self._applier, self._connect, self._make = home, applier, connect, make
        self._links: dict[str, _Link] = {}

    def is_home(self, target: str) -> bool:
        """Whether `target` is the operator's own cluster."""
        return target == self._home

    @asynccontextmanager
    async def applier(self, state: State) -> AsyncGenerator[Applier]:
        """Who writes to the target of `state`. `UnusableTarget` when its Secret is missing or can't be used."""
        target = state.key.target
        if self.is_home(target):
            yield self._applier
            return
        told = state.shared_fact("target", TargetObserved)
        link = await self._link(target, "" if told is None else told[1].credentials)
        link.users += 1
        try:
            yield await self._opened(link, target)
        finally:
            link.users -= 1
            await self._close_unused(link)

    async def close(self) -> None:
        """Close every connection; nobody may use one any more."""
        links, self._links = list(self._links.values()), {}
        for link in links:
            await link.stack.aclose()

    async def _link(self, target: str, credentials: str) -> _Link:
        link = self._links.get(target)
        if link is not None and link.credentials == credentials:
            return link
        self._links[target] = new = _Link(credentials)
        if link is not None:
            link.is_retired = True
            await self._close_unused(link)
        return new

    async def _opened(self, link: _Link, target: str) -> Applier:
        async with link.opening:
            if link.applier is None:
                if self._connect is None or self._make is None:
                    raise UnusableTarget(f"This operator serves {self._home} alone, and not target {target}.")
                link.applier = self._make(await link.stack.enter_async_context(await self._connect(target)))
            return link.applier

    async def _close_unused(self, link: _Link) -> None:
        if link.is_retired and not link.users:
            await link.stack.aclose()
