"""Pages of `tapioctl ui` in the test's own event loop, on histories that are small, that grow, or that are large."""

from __future__ import annotations

import asyncio
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
from tests.support.incidents import incident
from tests.support.operator_in_process import NAMES, PARTITIONS
from tests.support.virtual_time import VirtualClock, run_virtually

KEY = OrderingKey("local", "default", NAMES[0])
CLUSTER = f"{KEY.namespace}/{KEY.name}"
TOKEN = "t" * 32
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_PODS = re.compile(rf"\.local\.default\.{KEY.name}\.object\.\S+\.Pods\.")


@asynccontextmanager
async def page_of(
    log: Recorded,
    *,
    answers: Recorded | None = None,
    live: bool = False,
    only: OrderingKey | None = None,
    title: str = "a test",
) -> AsyncGenerator[Page]:
    """The page on `log`, on a free port of this machine."""
    library = Library(Sources(log, answers), "local", live=live)
    async with Page(library, target="local", title=title, only=only, token=TOKEN, host="127.0.0.1", port=0) as page:
        yield page


async def log_of(messages: Sequence[Message]) -> MemoryEventLog:
    """A log that holds `messages` under the same sequences, and goes on; every one has a trace."""
    clock = VirtualClock()
    log = MemoryEventLog(clock, partitions=PARTITIONS)
    for message in messages:
        await log.append(NewMessage(message.subject, message.data, {"traceparent": traceparent(message)}))
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


def an_incident() -> tuple[list[Message], list[Admission]]:
    """An afternoon: alice makes a cluster, bob asks for an image that nobody has, and alice takes that back.

    What is recorded, each message with a trace, and what the webhook answered.
    """
    return run_virtually(_an_incident())


async def _an_incident() -> tuple[list[Message], list[Admission]]:
    async with incident() as one:
        await asyncio.sleep(1_500)
        await one.edit("bob@example.org", {"spec": {"gateway": {"enabled": True, "replicas": 2}}})
        await asyncio.sleep(1_500)
        await one.edit("bob@example.org", {"spec": {"nats": {"image": "docker.io/library/nats:does-not-exist"}}})
        await one.until_condition("Ready", "False", "ImagePullFailed")
        await asyncio.sleep(1_000)
        await one.edit("alice@example.org", {"spec": {"nats": {"image": None}}})
        await one.until_condition("Ready", "True")
        await asyncio.sleep(600)
        told = [
            Message(each.subject, each.sequence, each.data, {"traceparent": traceparent(each)}, each.written_at)
            for each in one.operator.log.lives[-1]
        ]
        return told, list(one.admissions)


def traceparent(message: Message) -> str:
    """The header under which a message was recorded."""
    return f"00-{TRACE}-{message.sequence:016x}-01"
