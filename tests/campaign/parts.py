"""The event loop of a campaign: virtual time, and parts that can be frozen or killed as processes are.

Everything that a part's tasks schedule carries the part's name in its context. A frozen part's callbacks wait for its
thaw (SIGSTOP). A part that is frozen for good is dead: none of its `finally` blocks runs, as after a `kill -9`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar, TypeVarTuple, cast

from tests.support.virtual_time import VirtualLoop

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
PART: ContextVar[str] = ContextVar("part", default="")
"""Which part's code runs; empty for everything that is none: the servers, and the campaign itself."""
_SERVERS = Context()
_ROUNDS, _TURNS = 20, 30
"""How often what is left at the end is cancelled, and how many turns of the loop it is given for it each time."""


class PartsLoop(VirtualLoop):
    """The loop. A part that is started again has another name, so that what is dead stays dead."""

    def __init__(self) -> None:
        self._frozen: dict[str, list[asyncio.Handle]] = {}
        self._kept: set[asyncio.Task[Any]] = set()
        """Loops hold their tasks weakly: what nobody calls any more would be collected, and its `finally` run."""
        super().__init__()
        self.set_task_factory(cast("Any", self._keep))  # typed for generators too, which nobody uses here

    def start(self, part: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` as the part of this name, apart from everybody else."""
        context = copy_context()
        context.run(PART.set, part)
        return self.create_task(work, name=part, context=context)

    def _keep(
        self, _loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], context: Context | None = None
    ) -> asyncio.Task[T]:
        task = asyncio.Task(work, loop=self, context=context)
        if PART.get() or (context is not None and context.get(PART, "")):
            self._kept.add(task)
            task.add_done_callback(self._kept.discard)
        return task

    def freeze(self, part: str) -> None:
        self._frozen.setdefault(part, [])

    def thaw(self, part: str) -> None:
        """Let the part go on, beginning with all that came due meanwhile, in that order."""
        for handle in self._frozen.pop(part, []):
            self._ready_again(handle)

    def thaw_all(self) -> None:
        """Let every part run again, so that what is left of a schedule can be cancelled and collected."""
        for part in list(self._frozen):
            self.thaw(part)

    def is_stopped(self, part: str) -> bool:
        return part in self._frozen

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        inside = copy_context() if context is None else context
        part = inside.get(PART, "")
        if part and part in self._frozen:
            handle = asyncio.Handle(callback, args, self, inside)
            self._frozen[part].append(handle)
            return handle
        return super().call_soon(callback, *args, context=inside)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        inside = copy_context() if context is None else context
        part = inside.get(PART, "")
        if not part:
            return super().call_at(when, callback, *args, context=inside)
        box: list[asyncio.TimerHandle] = []
        timer = super().call_at(when, lambda: self._due(part, box, callback, args), context=inside)
        box.append(timer)
        return timer

    def _due(self, part: str, box: list[asyncio.TimerHandle], callback: Callable[..., object], args: Any) -> None:
        if part in self._frozen:
            # The timer itself is kept: cancelling it must still hold when the part thaws.
            self._frozen[part].append(_Late(callback, args, self, box[0]))
            return
        callback(*args)

    def _ready_again(self, handle: asyncio.Handle) -> None:
        super().call_soon(_run_unless_cancelled, handle, context=Context())


class _Late(asyncio.Handle):
    """A callback that came due while its part was frozen; cancelled when its timer is."""

    def __init__(
        self, callback: Callable[..., object], args: Any, loop: asyncio.AbstractEventLoop, timer: asyncio.TimerHandle
    ) -> None:
        super().__init__(callback, args, loop, copy_context())
        self._timer = timer

    def cancelled(self) -> bool:
        return self._timer.cancelled()


def _run_unless_cancelled(handle: asyncio.Handle) -> None:
    if not handle.cancelled():
        handle._run()  # in the context it was made for


def this_loop() -> PartsLoop:
    """The running loop."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, PartsLoop):
        raise TypeError("A campaign runs on a PartsLoop.")
    return loop


def served(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run a server's work outside of the part that asked for it: it goes on whatever becomes of that."""
    return asyncio.get_running_loop().create_task(work, context=_SERVERS)


def run_in_parts(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on a `PartsLoop`; what is left at its end is cancelled in peace."""
    loop = PartsLoop()
    loop.set_exception_handler(lambda _loop, _context: None)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.thaw_all()
        for _ in range(_ROUNDS):
            left = asyncio.all_tasks(loop)
            if not left:
                break
            for task in left:
                task.cancel()
            loop.run_until_complete(_turns(_TURNS))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
