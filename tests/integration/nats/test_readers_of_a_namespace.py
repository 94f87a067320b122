"""A reader of one namespace, on a real server: his own history is read in every way, nothing of another's is told."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from tapio_cli.history.explaining import explain
from tapio_cli.history.instants import Position
from tapio_cli.history.looking_back import Steps, answered, latest
from tapio_cli.history.snapshots import snapshot
from tapio_cli.history.standing import status_of
from tapio_cli.history.story import Story, read_story
from tapio_shared.adapters.nats_connection import NatsConnection, inbox_prefix_of
from tapio_shared.adapters.nats_credentials import Login, read_login, write_login
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.nats_permissions import GRANTS, accounts_config, reader_of
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.adapters.provisioning import provision
from tapio_shared.errors import LogRefused
from tapio_shared.json import JsonObject
from tapio_shared.keys import ADMITTED_STREAM, LOG_STREAM, key_prefix
from tapio_shared.ports import NewMessage
from tests.support.incidents import KEY
from tests.support.operator_in_process import PARTITIONS
from tests.support.ui_pages import admitted, an_incident

OURS = f"{KEY.namespace}/{KEY.name}"
READER = reader_of("local", KEY.namespace, with_users=True)
WITHOUT_USERS = reader_of("local", "default", with_users=False)
OTHER = reader_of("local", "elsewhere", with_users=True)
MINE = f"{key_prefix(KEY, PARTITIONS)}.>"


class Reading:
    """A server that holds the history of a namespace, and readers of it and of another one."""

    def __init__(self, server: EmbeddedNatsServer, folder: Path) -> None:
        self.server, self._folder = server, folder

    async def connection(self, user: str) -> NatsConnection:
        login = Login(user=user, password="secret")
        return await NatsConnection.connect([self.server.url], name=user, login=login)

    async def tapioctl(self, user: str, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output and errors of the command as that user."""
        credentials = self._folder / f"{user}.json"
        write_login(credentials, Login(user=user, password="secret"))
        command = [sys.executable, "-m", "tapio_cli", *arguments, "--nats-url", self.server.url]
        process = await asyncio.create_subprocess_exec(
            *command,
            "--nats-credentials",
            str(credentials),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        return cast("int", process.returncode), output.decode(), errors.decode()


@pytest.fixture(scope="module")
def told() -> tuple[list[NewMessage], list[NewMessage]]:
    messages, admissions = an_incident()
    return [NewMessage(one.subject, one.data) for one in messages], [admitted(one) for one in admissions]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def reading(
    told: tuple[list[NewMessage], list[NewMessage]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Reading]:
    folder = tmp_path_factory.mktemp("readers")
    passwords = {grant.service: "secret" for grant in GRANTS}
    async with EmbeddedNatsServer(
        folder / "nats", extra=accounts_config(passwords, {READER: "secret", OTHER: "secret"})
    ) as server:
        found = Reading(server, folder)
        owner = await found.connection("tapio-provisioner")
        await provision(owner, partitions=PARTITIONS)
        await owner.close()
        connections = {
            name: await found.connection(name) for name in ("tapio-watcher", "tapio-reconciler", "tapio-webhook")
        }
        writers = {name: NatsEventLog(connection) for name, connection in connections.items()}
        last: dict[str, int] = {}
        for message in told[0]:
            of_watcher = any(part in message.subject for part in (".object.", "._shared.", "tapio.cursor."))
            writer = writers["tapio-watcher" if of_watcher else "tapio-reconciler"]
            expected = last.get(message.subject, 0) if of_watcher else None
            last[message.subject] = (await writer.append(replace(message, expected_last=expected))).sequence
        for message in told[1]:
            await writers["tapio-webhook"].append(message)
        for connection in connections.values():  # One that tries to connect again does not always heed a cancellation.
            await connection.close()
        yield found


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("explain", OURS), "is ready since", id="explain"),
        pytest.param(("status", OURS), "nats", id="status"),
        pytest.param(("history", OURS), "bob@example.org", id="history, with users"),
        pytest.param(("at", "now", OURS), "objects were wanted, of which", id="at"),
        pytest.param(("at", "now", OURS, "-o", "yaml"), "StatefulSet", id="at as YAML"),
        pytest.param(("status", f"{KEY.namespace}/"), OURS, id="status of all in it"),
        pytest.param(("doctor", f"{KEY.namespace}/"), "PVC provisioning", id="doctor of all in it"),
    ],
)
async def test_a_reader_reads_his_own_namespace(reading: Reading, arguments: tuple[str, ...], said: str) -> None:
    code, output, errors = await reading.tapioctl(READER.service, *arguments)
    assert (code, errors) == (0, "")
    assert said in output


@pytest.mark.parametrize("user", ["tapioctl", READER.service])
async def test_looking_back_tells_what_all_of_it_tells(reading: Reading, user: str) -> None:
    """By gets, or, for a reader whom the server refuses them, by consumers."""
    connection = await reading.connection(user)
    log = NatsEventLog(connection, slice_size=4)
    try:
        whole = await read_story(log, KEY)
        assert len(whole.own) > 100
        steps = Steps(read_whole=0, first=0.05)
        for until in (whole.ends, whole.own[-20].sequence, whole.own[40].sequence):
            story = await latest(log, KEY, [Position(sequence=until)], steps=steps)
            assert story.part is not None

            def explained(story: Story, until: int = until) -> object:
                return explain(story, until=until), snapshot(story, until), status_of(story, (), until=until)

            assert await answered(log, story, explained, steps=steps) == explained(whole)
    finally:
        await connection.close()


async def test_a_reader_of_another_namespace_is_told_so(reading: Reading) -> None:
    code, output, errors = await reading.tapioctl(OTHER.service, "explain", OURS)
    assert (code, output) == (1, "")
    assert "may not" in errors


async def test_a_foreign_filter_is_refused_in_a_subject_and_in_a_body(reading: Reading) -> None:
    connection = await reading.connection(OTHER.service)
    with pytest.raises(LogRefused, match="may not publish"):
        [message async for message in NatsEventLog(connection).read(MINE, up_to=1)]
    allowed = f"CONSUMER.CREATE.{LOG_STREAM}.x.tapio.log.*.local.elsewhere.>"
    config: JsonObject = {"name": "x", "ack_policy": "none", "inactive_threshold": 1_000_000_000}
    for filters in (
        {"filter_subject": MINE},
        {"filter_subjects": [MINE]},
        {"filter_subjects": [MINE, "tapio.log.>"]},
        {},
    ):
        body = {"stream_name": LOG_STREAM, "config": {**config, **filters}}
        with pytest.raises(LogRefused, match=r"error 1013[17]"):
            await connection.api(allowed, body, dict)
    await connection.close()


@pytest.mark.parametrize(
    "request_subject",
    [
        f"STREAM.MSG.GET.{LOG_STREAM}",
        f"DIRECT.GET.{LOG_STREAM}",
        f"DIRECT.GET.{LOG_STREAM}.tapio.log.0.local.default.one.decision",
        f"CONSUMER.CREATE.{LOG_STREAM}",
        f"CONSUMER.CREATE.{LOG_STREAM}.x",
        f"CONSUMER.DURABLE.CREATE.{LOG_STREAM}.x",
        f"CONSUMER.CREATE.{LOG_STREAM}.x.tapio.log.>",
        f"CONSUMER.CREATE.{LOG_STREAM}.x.tapio.log.*.*.*.>",
        f"CONSUMER.CREATE.{LOG_STREAM}.x.tapio.epoch.*",
        f"CONSUMER.CREATE.{ADMITTED_STREAM}.x.tapio.admitted.>",
        f"CONSUMER.MSG.NEXT.{LOG_STREAM}.x",
        f"STREAM.SNAPSHOT.{LOG_STREAM}",
        "STREAM.LIST",
        f"CONSUMER.LIST.{LOG_STREAM}",
    ],
)
async def test_no_other_request_is_a_readers(reading: Reading, request_subject: str) -> None:
    connection = await reading.connection(OTHER.service)
    with pytest.raises(LogRefused, match="may not publish"):
        await connection.api(request_subject, {}, dict)
    await connection.close()


@pytest.mark.parametrize("subject", ["_INBOX.>", "tapio.>", "$JS.>", ">"])
async def test_a_reader_hears_no_other_answers(reading: Reading, subject: str) -> None:
    connection = await reading.connection(OTHER.service)
    refused = asyncio.Event()
    connection.on_refusal(lambda _, __: refused.set())

    async def heard(_: object) -> None:
        raise AssertionError("nothing is heard")

    await connection.subscribe(subject, heard)
    async with asyncio.timeout(10):
        await refused.wait()
    await connection.close()


async def test_the_command_makes_up_such_a_user(tmp_path: Path) -> None:
    file = tmp_path / "reader.json"
    command = [sys.executable, "-m", "tapio_cli", "reader", KEY.namespace, "--credentials", str(file), "--with-users"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    entry: JsonObject = json.loads((await process.communicate())[0])
    login = read_login(str(file))
    assert login is not None
    assert entry == {**READER.entry(login.password)}
    assert (login.user, len(login.password), file.stat().st_mode & 0o777) == (READER.service, 32, 0o600)


async def test_names_of_users_are_a_right_of_their_own() -> None:
    assert not any(ADMITTED_STREAM in subject for subject in WITHOUT_USERS.publish)
    assert any(ADMITTED_STREAM in subject for subject in READER.publish)


async def test_no_two_readers_have_one_name() -> None:
    names = {reader_of(*pair, with_users=False).service for pair in (("a-b", "c"), ("a", "b-c"), ("a.b", "c"))}
    assert len({inbox_prefix_of(name) for name in names}) == 3
