"""The server of `make run`: a user per service, in files of their owner's alone, and nobody else gets in."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_credentials import Login, read_login
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.nats_permissions import GRANTS
from tapio_shared.adapters.nats_private import PrivateNatsServer
from tapio_shared.adapters.provisioning import provision
from tapio_shared.adapters.random import SystemRandom
from tapio_shared.errors import InvalidSettings, LogRefused, LogUnavailable
from tapio_shared.keys import (
    ADMITTED_STREAM,
    ObjectRef,
    OrderingKey,
    decision_subject,
    epoch_subject,
    object_subject,
    parked_subject,
    shared_subject,
)
from tapio_shared.ports import NewMessage

PARTITIONS = 4
KEY = OrderingKey("local", "default", "demo")
FACT = object_subject(KEY, ObjectRef("", "Service", "default", "demo"), PARTITIONS)
DECISION, PARKED = decision_subject(KEY, PARTITIONS), parked_subject(KEY, PARTITIONS)
SERVICES = sorted(grant.service for grant in GRANTS)


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncGenerator[PrivateNatsServer]:
    async with PrivateNatsServer(tmp_path / "nats", SystemRandom(), partitions=PARTITIONS) as server:
        yield server


@pytest_asyncio.fixture
async def users(server: PrivateNatsServer) -> AsyncGenerator[dict[str, NatsConnection]]:
    """A connection per service, made from its file alone."""
    async with AsyncExitStack() as stack:
        found: dict[str, NatsConnection] = {}
        for service in SERVICES:
            credentials = str(server.credentials(service))
            found[service] = await NatsConnection.connect([server.url], name=f"{service}/1", credentials=credentials)
            stack.push_async_callback(found[service].close)
        yield found


@pytest.mark.parametrize(
    ("service", "subject"),
    [
        pytest.param("tapio-webhook", FACT, id="the webhook tells no facts"),
        pytest.param("tapio-webhook", shared_subject(0, "local", "synced"), id="nor that all is told"),
        pytest.param("tapio-webhook", DECISION, id="the webhook decides nothing"),
        pytest.param("tapio-webhook", epoch_subject(0), id="the webhook owns no partition"),
        pytest.param("tapio-watcher", DECISION, id="the watcher decides nothing"),
        pytest.param("tapio-watcher", epoch_subject(0), id="the watcher owns no partition"),
        pytest.param("tapio-watcher", PARKED, id="the watcher parks nothing of a key"),
        pytest.param("tapio-reconciler", FACT, id="a worker observes nothing"),
        pytest.param("tapio-reconciler", shared_subject(0, "local", "fleet"), id="nor for every key"),
        pytest.param("tapio-provisioner", FACT, id="who makes the log writes nothing to it"),
        pytest.param("tapioctl", FACT, id="who reads writes nothing"),
    ],
)
async def test_a_service_can_not_say_what_is_not_its_own(
    users: dict[str, NatsConnection], service: str, subject: str
) -> None:
    log = NatsEventLog(users[service])
    with pytest.raises(LogRefused, match=f"The NATS user of {service}/1 may not publish on {subject.lower()}"):
        await log.append(NewMessage(subject, b"{}"))
    assert await NatsEventLog(users["tapio-watcher"]).last(subject) is None


async def test_each_says_its_own_on_the_streams_that_were_made(users: dict[str, NatsConnection]) -> None:
    for service, subject in (("tapio-watcher", FACT), ("tapio-reconciler", DECISION), ("tapio-reconciler", PARKED)):
        assert (await NatsEventLog(users[service]).append(NewMessage(subject, b"{}"))).sequence > 0
    admitted = NatsEventLog(users["tapio-webhook"], ADMITTED_STREAM)
    assert (await admitted.append(NewMessage("tapio.admitted.local.default.demo", b"{}"))).sequence == 1
    assert (await NatsEventLog(users["tapio-reconciler"]).info()).partitions == PARTITIONS


async def test_the_watcher_may_look_whether_all_is_provisioned(users: dict[str, NatsConnection]) -> None:
    await provision(users["tapio-watcher"], partitions=PARTITIONS)
    with pytest.raises(LogRefused, match=r"may not publish on \$js.api.stream.update.tapio_log"):
        await provision(users["tapio-watcher"], partitions=PARTITIONS, max_bytes=1 << 30)


async def test_the_files_are_for_their_owner_alone(server: PrivateNatsServer, tmp_path: Path) -> None:
    files = [server.credentials(service) for service in SERVICES]
    assert [path.stat().st_mode & 0o777 for path in (*files, tmp_path / "nats" / "nats.conf")] == [0o600] * (
        len(SERVICES) + 1
    )
    assert files[0].parent.stat().st_mode & 0o777 == 0o700
    logins = [read_login(str(path)) for path in files]
    assert [login.user for login in logins if login is not None] == SERVICES
    assert len({login.password for login in logins if login is not None}) == len(SERVICES)


async def test_nobody_else_gets_in_and_no_password_is_told(server: PrivateNatsServer, tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match="Authorization Violation"):
        await NatsConnection.connect([server.url], name="nobody", patience=1.0)
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"user": "tapio-watcher", "password": "not-the-one"}')
    with pytest.raises(LogUnavailable, match="Authorization Violation") as told:
        await NatsConnection.connect([server.url], name="nobody", credentials=str(wrong), patience=1.0)
    assert "not-the-one" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param('{"user": "a", "password": "b"}', Login(user="a", password="b"), id="a login"),
        pytest.param("-----BEGIN NATS USER JWT-----\n", None, id="a credentials file"),
    ],
)
def test_what_a_file_holds(tmp_path: Path, text: str, found: Login | None) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    assert read_login(str(path)) == found


@pytest.mark.parametrize("text", [pytest.param('{"user": "a"}', id="no password"), pytest.param("{", id="cut short")])
def test_a_broken_login_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(InvalidSettings, match=f"The NATS login file {path} can't be used: "):
        read_login(str(path))
