"""Pages of `tapioctl ui` in the test's own event loop, on histories that are small, that grow, or that are large."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from tapio_cli.history.source import Recorded, Sources
from tapio_cli.history.ui.library import Library
from tapio_cli.history.ui.serving import Page
from tapio_shared.adapters.memory_log import MemoryEventLog
from tapio_shared.admissions import Admission, admitted_subject
from tapio_shared.codec import decode_record, encode
from tapio_shared.facts import ObjectObserved
from tapio_shared.keys import OrderingKey
from tapio_shared.ports import Message, NewMessage
from tests.support.operator_in_process import NAMES, PARTITIONS
from tests.support.virtual_time import VirtualClock

KEY = OrderingKey("local", "default", NAMES[0])
CLUSTER = f"{KEY.namespace}/{KEY.name}"
TOKEN = "t" * 32
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_PODS = re.compile(rf"\.local\.default\.{KEY.name}\.object\.\S+\.Pods\.")


@asynccontextmanager
async def page_of(
    log: Recorded, *, answers: Recorded | None = None, live: bool = False, only: OrderingKey | None = None
) -> AsyncGenerator[Page]:
    """The page on `log`, on a free port of this machine."""
    library = Library(Sources(log, answers), "local", live=live)
    async with Page(library, target="local", title="a test", only=only, token=TOKEN, host="127.0.0.1", port=0) as page:
        yield page


async def log_of(messages: Sequence[Message]) -> MemoryEventLog:
    """A log that holds `messages` under the same sequences, and goes on; every one has a trace."""
    clock = VirtualClock()
    log = MemoryEventLog(clock, partitions=PARTITIONS)
    for message in messages:
        await log.append(
            NewMessage(message.subject, message.data, {"traceparent": f"00-{TRACE}-{message.sequence:016x}-01"})
        )
    return log


def admitted(one: Admission) -> NewMessage:
    """What the webhook answered, as it is appended."""
    return NewMessage(admitted_subject(one.target, one.namespace, one.name), encode(one))


async def admissions_log(*admissions: Admission) -> MemoryEventLog:
    """What the webhook answered, as a log."""
    log = MemoryEventLog(VirtualClock(), partitions=1)
    for one in admissions:
        await log.append(admitted(one))
    return log


def pods_told(messages: Sequence[Message], ready: int) -> NewMessage:
    """Another fact of the pods of one workload: so many are ready."""
    last = [one for one in messages if _PODS.search(one.subject)][-1]
    return _with_ready(last, ready)


def grown(messages: Sequence[Message], count: int) -> list[Message]:
    """`messages` and facts of pods after them, one a second, until there are `count` that the page draws."""
    pods = {one.subject: one for one in messages if _PODS.search(one.subject)}
    last, found = messages[-1], [*messages]
    for number in range(count):
        told = _with_ready(list(pods.values())[number % len(pods)], number)
        sequence, at = last.sequence + number + 1, last.written_at + 1_000 * (number + 1)
        found.append(Message(told.subject, sequence, told.data, {}, at))
    return found


def _with_ready(message: Message, ready: int) -> NewMessage:
    fact = decode_record(message.data)
    assert isinstance(fact, ObjectObserved)
    changed = ObjectObserved(
        uid=fact.uid,
        resource_version=fact.resource_version,
        object={**fact.object, "ready": ready},
        observed_at=fact.observed_at,
    )
    return NewMessage(message.subject, encode(changed))
