"""The permissions of each service on a real server: what it needs works, what it must not do is refused by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.nats_membership import NatsMembership
from tapio_shared.adapters.nats_permissions import GRANTS, accounts_config
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.adapters.provisioning import provision
from tapio_shared.errors import InvalidSettings, LogRefused
from tapio_shared.keys import ADMITTED_STREAM, LOG_STREAM
from tapio_shared.ports import NewMessage

FACT = "tapio.log.1.local.default.demo.object.apps.Deployment.default.demo"
SHARED = "tapio.log.1._shared.local.synced"
DECISION = "tapio.log.1.local.default.demo.decision"
OUTCOME = "tapio.log.1.local.default.demo.outcome"
TIMER = "tapio.log.1.local.default.demo.timer.retry"
PARKED = "tapio.log.1.local.default.demo.parked"
EPOCH, CURSOR, ADMITTED = "tapio.epoch.1", "tapio.cursor.local.Pod", "tapio.admitted.local.default.demo"
MEMBER = "$KV.TAPIO_MEMBERS.worker"
WRITES = {
    "tapio-watcher": {FACT, SHARED, CURSOR},
    "tapio-reconciler": {DECISION, OUTCOME, TIMER, PARKED, EPOCH, MEMBER},
    "tapio-webhook": {ADMITTED},
    "tapioctl": set[str](),
    "tapio-keeper": set[str](),
    "tapio-provisioner": set[str](),
}
MAY_MAKE_STREAMS_ANEW = "tapio-keeper"
"""Whoever imports a history or erases a name; no service."""
EVERYTHING = sorted(subject for subjects in WRITES.values() for subject in subjects)
DESTRUCTIVE = [
    f"STREAM.PURGE.{LOG_STREAM}",
    f"STREAM.DELETE.{LOG_STREAM}",
    f"STREAM.MSG.DELETE.{LOG_STREAM}",
    f"STREAM.PURGE.{ADMITTED_STREAM}",
    f"STREAM.DELETE.{ADMITTED_STREAM}",
    f"STREAM.RESTORE.{LOG_STREAM}",
]


class Users:
    """A server with permissions, and a connection per service."""

    def __init__(self, server: EmbeddedNatsServer, stack: AsyncExitStack) -> None:
        self._server, self._stack = server, stack
        self._connections: dict[str, NatsConnection] = {}

    async def get(self, service: str) -> NatsConnection:
        if service not in self._connections:
            url = self._server.url.replace("//", f"//{service}:secret@")
            connection = await NatsConnection.connect([url], name=f"{service}/test")
            self._stack.push_async_callback(connection.close)
            self._connections[service] = connection
        return self._connections[service]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def users(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Users]:
    extra = accounts_config({grant.service: "secret" for grant in GRANTS})
    async with (
        EmbeddedNatsServer(Path(tmp_path_factory.mktemp("nats")), extra=extra) as server,
        AsyncExitStack() as stack,
    ):
        users = Users(server, stack)
        await provision(await users.get("tapio-provisioner"), partitions=4)
        yield users


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("service", WRITES)
@pytest.mark.parametrize("subject", EVERYTHING)
async def test_a_service_writes_its_own_subjects_alone(users: Users, service: str, subject: str) -> None:
    log = NatsEventLog(await users.get(service))
    appending = log.append(NewMessage(subject, b"{}"))
    if subject in WRITES[service]:
        assert (await appending).sequence > 0
        return
    with pytest.raises(LogRefused, match=f"The NATS user of {service}/test may not publish on"):
        await appending


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("service", sorted(WRITES.keys() - {MAY_MAKE_STREAMS_ANEW}))
@pytest.mark.parametrize("request_subject", DESTRUCTIVE)
async def test_nobody_deletes_or_purges(users: Users, service: str, request_subject: str) -> None:
    connection = await users.get(service)
    with pytest.raises(LogRefused, match="may not publish"):
        await connection.api(request_subject, {}, dict)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_batch_with_one_forbidden_subject_is_not_stored(users: Users) -> None:
    log = NatsEventLog(await users.get("tapio-watcher"))
    before = (await log.info()).last_sequence
    with pytest.raises(LogRefused, match="may not publish"):
        await log.append_batch([NewMessage(DECISION, b"{}"), NewMessage(FACT, b"{}")])
    assert (await log.info()).last_sequence == before


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("service", ["tapio-watcher", "tapio-reconciler", "tapioctl"])
async def test_who_reads_the_log_can_read_it_in_every_way(users: Users, service: str) -> None:
    writer = NatsEventLog(await users.get("tapio-watcher"))
    await asyncio.gather(*(writer.append(NewMessage(f"{FACT}{number}", b"{}")) for number in range(1_100)))
    sequence = (await writer.append(NewMessage(FACT, b"{}"))).sequence
    log = NatsEventLog(await users.get(service))
    last = await log.last(FACT)
    assert last is not None
    assert last.sequence == sequence
    assert len((await log.last_per_subject(FACT)).messages) == 1
    assert len((await log.last_per_subject("tapio.log.1.local.default.demo.object.>")).messages) == 1_101
    async with log.follow("tapio.log.1.>", from_sequence=sequence) as messages:
        assert (await anext(messages)).sequence == sequence


@pytest.mark.asyncio(loop_scope="module")
async def test_the_reconciler_may_be_a_member(users: Users) -> None:
    membership = NatsMembership(await users.get("tapio-reconciler"))
    await membership.join("worker-1")
    async with membership.changes() as changes:
        assert "worker-1" in await anext(changes)
    await membership.leave("worker-1")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("service", "filter_subject"),
    [
        pytest.param("tapio-webhook", "tapio.log.>", id="the webhook follows no facts"),
        pytest.param("tapio-reconciler", "tapio.>", id="a filter wider than granted"),
    ],
)
async def test_following_more_than_granted_is_refused(users: Users, service: str, filter_subject: str) -> None:
    connection = await users.get(service)
    with pytest.raises(LogRefused, match="may not publish"):
        await connection.api(
            f"CONSUMER.CREATE.{LOG_STREAM}.spy.{filter_subject}",
            {"stream_name": LOG_STREAM, "config": {"name": "spy", "filter_subject": filter_subject}},
            dict,
        )


@pytest.mark.asyncio(loop_scope="module")
async def test_a_filter_other_than_the_subject_says_is_refused(users: Users) -> None:
    connection = await users.get("tapio-reconciler")
    with pytest.raises(LogRefused, match="10131"):
        await connection.api(
            f"CONSUMER.CREATE.{LOG_STREAM}.spy.tapio.log.1.>",
            {"stream_name": LOG_STREAM, "config": {"name": "spy", "filter_subject": "tapio.epoch.>"}},
            dict,
        )


@pytest.mark.asyncio(loop_scope="module")
async def test_foreign_inboxes_can_not_be_listened_to(users: Users) -> None:
    connection = await users.get("tapioctl")
    refused: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    forget = connection.on_refusal(lambda _, error: refused.set_result(str(error)))

    async def received(_: object) -> None:
        pytest.fail("A message for somebody else arrived.")

    await connection.subscribe("_INBOX_tapio-watcher.>", received)
    async with asyncio.timeout(5):
        assert "may not subscribe to _inbox_tapio-watcher.>" in await refused
    forget()


@pytest.mark.asyncio(loop_scope="module")
async def test_provisioning_again_needs_no_right_but_to_look(users: Users) -> None:
    await provision(await users.get("tapio-provisioner"), partitions=4)


def test_an_unknown_service_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="There are no permissions for nobody; the services are tapio-watcher"):
        accounts_config({"nobody": "x"})
