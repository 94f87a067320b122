"""A history goes through an archive and comes back as the streams it was; a name that is erased is nowhere any more."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.nats_private import PrivateNatsServer
from tapio_shared.adapters.nats_restore import NatsStreams
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.adapters.provisioning import provision
from tapio_shared.adapters.random import SystemRandom
from tapio_shared.admissions import ALL_ADMITTED, Admission, admitted_subject
from tapio_shared.codec import encode
from tapio_shared.json import JsonObject, str_at
from tapio_shared.keys import ADMITTED_STREAM
from tapio_shared.ports import Appended, Message, NewMessage
from tests.support.eventually import eventually
from tests.support.operator_in_process import NAMES
from tests.support.recorded_histories import recorded_history, write_archive

USER, OTHER = "alice@example.org", "system:serviceaccount:ci:deployer"


def tapioctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tapio_cli", *arguments], capture_output=True, text=True, check=False)


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncGenerator[EmbeddedNatsServer]:
    """A laptop's nats-server, with nothing in it."""
    async with EmbeddedNatsServer(tmp_path / "nats") as server:
        yield server


@pytest_asyncio.fixture
async def connection(server: EmbeddedNatsServer) -> AsyncGenerator[NatsConnection]:
    connection = await NatsConnection.connect([server.url], name="test")
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
def history() -> list[Message]:
    """With gaps where epochs and cursors stood, and others, and not from the first sequence on."""
    exported = (message for message in recorded_history() if message.subject.startswith("tapio.log."))
    return [message for message in exported if message.sequence > 7 and message.sequence % 10]


@pytest.fixture(scope="module")
def archive(history: list[Message], tmp_path_factory: pytest.TempPathFactory) -> Path:
    answers = [answer(number, USER if number % 2 else OTHER) for number in range(1, 7)]
    return write_archive(tmp_path_factory.mktemp("history") / "a", history, first=8, admitted=answers)


def answer(sequence: int, user: str) -> Message:
    return Message(
        subject=admitted_subject("local", "default", NAMES[0]),
        sequence=sequence,
        data=encode(admission(user, sequence)),
        headers={"traceparent": str(sequence)},
        written_at=1_700_000_000_000 + sequence,
    )


def admission(user: str, number: int) -> Admission:
    return Admission(
        request=str(number),
        handler="validate",
        target="local",
        kind="TapioCluster",
        namespace="default",
        name=NAMES[0],
        operation="UPDATE",
        user=user,
        allowed=True,
        answered_at=1_700_000_000_000 + number,
    )


async def everything(log: NatsEventLog, subjects: str = "tapio.>") -> list[Message]:
    return [message async for message in log.read(subjects, up_to=(await log.info()).last_sequence)]


async def test_an_import_restores_sequences_and_time_stamps(
    server: EmbeddedNatsServer, connection: NatsConnection, archive: Path, history: list[Message], tmp_path: Path
) -> None:
    done = tapioctl("import", str(archive), "--nats-url", server.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"TAPIO_LOG: {len(history)} messages restored, with their sequences and time stamps.",
        "TAPIO_ADMITTED: 6 messages restored, with their sequences and time stamps.",
    ]
    log = NatsEventLog(connection)
    assert await everything(log) == history
    assert (await log.info()).partitions > 0
    again = tmp_path / "again"
    assert tapioctl("export", str(again), "--nats-url", server.url).returncode == 0
    asked = ["history", f"default/{NAMES[0]}", "-o", "json"]
    assert tapioctl(*asked, "--from", str(again)).stdout == tapioctl(*asked, "--from", str(archive)).stdout


async def test_what_was_imported_is_a_log_like_any_other(
    server: EmbeddedNatsServer, connection: NatsConnection, archive: Path, history: list[Message]
) -> None:
    assert tapioctl("import", str(archive), "--nats-url", server.url, "--without-users").returncode == 0
    log, last = NatsEventLog(connection), history[-1].sequence
    batch = [NewMessage(f"tapio.epoch.{number}", b"1", expected_last=0) for number in range(2)]
    assert await log.append_batch(batch) == Appended(last + 2)
    found = tapioctl("history", f"default/{NAMES[0]}", "--nats-url", server.url, "-o", "json")
    assert "admission" not in {str_at(one, "what") for one in cast("list[JsonObject]", json.loads(found.stdout))}


@pytest.mark.parametrize(
    ("overwrite", "code"),
    [pytest.param((), 1, id="is refused"), pytest.param(("--overwrite",), 0, id="unless told")],
)
async def test_overwriting_a_stream(
    overwrite: Sequence[str],
    code: int,
    server: EmbeddedNatsServer,
    connection: NatsConnection,
    archive: Path,
    history: list[Message],
) -> None:
    await provision(connection, partitions=2)
    log = NatsEventLog(connection)
    await log.append(NewMessage("tapio.epoch.1", b"in use"))
    done = tapioctl("import", str(archive), "--nats-url", server.url, *overwrite)
    assert done.returncode == code, done.stderr
    if code:
        assert (
            "Stream TAPIO_LOG is there and holds 1 messages up to sequence 1, so nothing was imported." in done.stderr
        )
    assert [one.sequence for one in await everything(log)] == ([1] if code else [one.sequence for one in history])


async def test_an_empty_stream_is_in_nobodys_way(
    server: EmbeddedNatsServer, connection: NatsConnection, archive: Path, history: list[Message]
) -> None:
    await provision(connection, partitions=2, max_age_days=1)
    assert tapioctl("import", str(archive), "--nats-url", server.url).returncode == 0
    assert await everything(NatsEventLog(connection)) == history, "older than the former stream would have kept"


async def test_what_is_made_anew_is_begun_again_when_the_server_goes_away(
    server: EmbeddedNatsServer, connection: NatsConnection, history: list[Message]
) -> None:
    begun = 0

    async def messages() -> AsyncIterator[Message]:
        nonlocal begun
        begun += 1
        for message in history:
            if begun == 1 and message is history[-1]:
                await server.kill()
                await server.start()
            yield message

    await provision(connection, partitions=2)
    former = replace(await NatsEventLog(connection).info(), last_sequence=history[-1].sequence)
    assert await NatsStreams(connection).replace("TAPIO_LOG", former, messages) == len(history)
    assert begun == 2
    assert await everything(NatsEventLog(connection)) == history


async def test_an_erased_name_is_shown_as_erased(server: EmbeddedNatsServer, archive: Path) -> None:
    here = ("--nats-url", server.url)
    assert tapioctl("import", str(archive), *here).returncode == 0
    assert tapioctl("erase", USER, *here, "--yes").returncode == 0
    told = tapioctl("history", f"default/{NAMES[0]}", *here, "-o", "json")
    events = cast("list[JsonObject]", json.loads(told.stdout))
    users = [str_at(one, "user") for one in events if str_at(one, "what") == "admission"]
    assert users == ["(erased)", OTHER] * 3


async def test_an_archive_is_not_changed(archive: Path) -> None:
    ended = tapioctl("erase", USER, "--from", str(archive), "--yes")
    assert ended.returncode == 1
    assert "Erase there, then export again." in ended.stderr


def cut_off(data: bytes) -> bytes:
    return data[:-100]


def changed(data: bytes) -> bytes:
    return data[:-60] + bytes([data[-60] ^ 1]) + data[-59:]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(cut_off, "is cut off in block", id="cut off"),
        pytest.param(changed, "was changed in block", id="changed"),
    ],
)
async def test_a_damaged_archive_touches_nothing(
    damage: Callable[[bytes], bytes], message: str, server: EmbeddedNatsServer, archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "damaged").write_bytes(damage(archive.read_bytes()))
    done = tapioctl("import", str(tmp_path / "damaged"), "--nats-url", server.url, "--overwrite")
    assert done.returncode == 1
    assert message in done.stderr
    assert not list(server.store.rglob("*.blk"))


async def test_an_erased_name_is_nowhere_and_the_rest_stays(tmp_path: Path) -> None:
    """On the NATS of `make run`, where each user may do what its permissions say, and the keeper alone this."""
    async with PrivateNatsServer(tmp_path / "nats", SystemRandom(), partitions=4) as server:
        (tmp_path / "nats" / "client.json").write_text(
            json.dumps({"url": server.url, "credentials": str(server.credentials("tapioctl"))})
        )
        here = ("--directory", str(tmp_path))
        webhook = await NatsConnection.connect(
            [server.url], name="tapio-webhook", credentials=str(server.credentials("tapio-webhook"))
        )
        reader = await NatsConnection.connect(
            [server.url], name="tapioctl", credentials=str(server.credentials("tapioctl"))
        )
        try:
            writes, reads = NatsEventLog(webhook, ADMITTED_STREAM), NatsEventLog(reader, ADMITTED_STREAM)
            subject = admitted_subject("local", "default", NAMES[0])
            for number in range(1, 7):
                data = encode(admission(USER if number % 2 else OTHER, number))
                await writes.append(NewMessage(subject, data, message_id=str(number)))
            before = await everything(reads, ALL_ADMITTED)

            shown = tapioctl("erase", USER, *here, "-o", "json")
            told = cast("JsonObject", json.loads(shown.stdout))
            assert (shown.returncode, told["erased"]) == (0, False)
            assert [one["sequence"] for one in cast("list[JsonObject]", told["answers"])] == [1, 3, 5]
            assert await everything(reads, ALL_ADMITTED) == before, "nothing is done unless told"

            done = tapioctl("erase", USER, *here, "--yes")
            assert done.returncode == 0, done.stderr
            assert done.stdout.splitlines()[0] == (
                f"2023-11-14T22:13:20.001Z  @1  UPDATE of TapioCluster default/{NAMES[0]}"
            )
            assert done.stdout.splitlines()[-1] == f"{USER} was erased from 3 answers of the webhook."

            after = await everything(reads, ALL_ADMITTED)
            assert [(one.sequence, one.written_at) for one in after] == [
                (one.sequence, one.written_at) for one in before
            ]
            assert [one.data for one in after[1::2]] == [one.data for one in before[1::2]], "others' names stay"
            assert all(b'"user":"(erased)"' in one.data for one in after[::2])
            assert (await writes.append(NewMessage(subject, encode(admission(OTHER, 7))))).sequence == 7

            async def is_nowhere() -> bool:
                files = [path for path in server.store.rglob("*") if path.is_file()]
                return not any(USER.encode() in path.read_bytes() for path in files)

            await eventually(is_nowhere, seconds=10)
            again = tapioctl("erase", USER, *here, "--yes")
            assert (again.returncode, again.stdout) == (2, f"{USER} is in no answer of the webhook that is recorded.\n")
            await writes.append(NewMessage(subject, b"from a newer version"))
            unsure = tapioctl("erase", OTHER, *here, "--yes")
            assert unsure.returncode == 1
            assert "Message 8 of TAPIO_ADMITTED can't be read" in unsure.stderr
            assert len(await everything(reads, ALL_ADMITTED)) == 8, "and nothing was touched"
        finally:
            await webhook.close()
            await reader.close()
