"""The log while its server dies, stalls, answers nobody, runs full or loses its store."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.adapters.provisioning import provision
from tapio_shared.errors import LogFull, LogMissing, LogRewound, LogUnavailable, RevisionConflict
from tapio_shared.json import JsonObject
from tapio_shared.ports import Appended, Message, NewMessage
from tests.support.eventually import eventually
from tests.support.freezing import freeze
from tests.support.tcp_proxy import TcpProxy

SUBJECT = "tapio.log.1.a"


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncGenerator[EmbeddedNatsServer]:
    async with EmbeddedNatsServer(tmp_path) as server:
        yield server


@pytest_asyncio.fixture
async def connection(server: EmbeddedNatsServer) -> AsyncGenerator[NatsConnection]:
    connection = await NatsConnection.connect([server.url], name="test")
    await provision(connection, partitions=4)
    yield connection
    await connection.close()


async def append_surely(log: NatsEventLog, number: int) -> Appended:
    """As a writer does: again and again under the same id until there is an answer."""
    message = NewMessage(f"{SUBJECT}.{number}", str(number).encode(), message_id=f"id-{number}", expected_last=0)
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(LogUnavailable), wait=wait_fixed(0.05), stop=stop_after_delay(60), reraise=True
    ):
        with attempt:
            return await log.append(message)
    raise AssertionError


async def test_a_follower_and_a_writer_survive_killed_servers(
    server: EmbeddedNatsServer, connection: NatsConnection
) -> None:
    """kill -9 twice while 600 are appended: each is stored once, and followed in order without a gap."""
    log = NatsEventLog(connection)

    async def write() -> None:
        slots = asyncio.Semaphore(20)

        async def one(number: int) -> None:
            async with slots:
                await append_surely(log, number)

        await asyncio.gather(*(one(number) for number in range(600)))

    async def read() -> list[tuple[int, bytes]]:
        seen: list[tuple[int, bytes]] = []
        async with log.follow("tapio.log.>", from_sequence=1) as messages:
            async for message in messages:
                seen.append((message.sequence, message.data))
                if len(seen) in {150, 300}:
                    await server.kill()
                    await server.start()
                if len(seen) == 600:
                    break
        return seen

    async with asyncio.timeout(90):
        reading, writing = asyncio.create_task(read()), asyncio.create_task(write())
        seen = await reading
        await writing
    assert [sequence for sequence, _ in seen] == list(range(1, 601))
    assert sorted(int(data) for _, data in seen) == list(range(600))


async def test_an_append_whose_answer_is_lost_is_found_by_repeating_it(
    server: EmbeddedNatsServer, connection: NatsConnection
) -> None:
    async with TcpProxy(server.port) as proxy:
        cut_off = await NatsConnection.connect([f"nats://127.0.0.1:{proxy.port}"], name="test")
        log, steady = NatsEventLog(cut_off), NatsEventLog(connection)
        with_id = NewMessage(SUBJECT, b"x", message_id="one", expected_last=0)
        fenced = NewMessage(f"{SUBJECT}.2", b"y", expected_last=0)
        assert (await log.append(NewMessage("tapio.epoch.1", b""))).sequence == 1
        proxy.mute = True
        lost = [asyncio.create_task(log.append(message)) for message in (with_id, fenced)]
        await eventually(lambda: _has(steady, fenced.subject), seconds=4)
        proxy.cut()
        proxy.mute = False
        assert [type(await _error(task)) for task in lost] == [LogUnavailable, LogUnavailable]
        assert await log.append(with_id) == Appended(2, duplicate=True)
        with pytest.raises(RevisionConflict) as caught:
            await log.append(fenced)
        assert caught.value.actual == 3
        await cut_off.close()


async def test_what_is_in_flight_fails_at_once_when_the_server_dies(
    server: EmbeddedNatsServer, connection: NatsConnection
) -> None:
    log = NatsEventLog(connection)
    await log.append(NewMessage(SUBJECT, b""))
    await freeze(server)
    appends = [asyncio.create_task(log.append(NewMessage(SUBJECT, b""))) for _ in range(50)]
    await eventually(lambda: _true(connection.client.stats["out_msgs"] >= 50))
    await server.kill()
    async with asyncio.timeout(2):
        errors = [await _error(task) for task in appends]
    assert {type(error) for error in errors} == {LogUnavailable}
    assert not connection.is_connected


async def test_a_stalled_server_is_answered_within_the_time_out(
    server: EmbeddedNatsServer, connection: NatsConnection
) -> None:
    log = NatsEventLog(connection)
    await freeze(server)
    try:
        with pytest.raises(LogUnavailable, match=r"within 5 s"):
            await log.append(NewMessage(SUBJECT, b""))
    finally:
        server.send_signal(signal.SIGCONT)
    await eventually(lambda: _true(connection.is_connected))
    assert (await log.append(NewMessage(SUBJECT, b""))).sequence in {1, 2}


async def test_a_follower_is_told_that_the_store_was_lost(
    server: EmbeddedNatsServer, connection: NatsConnection
) -> None:
    log = NatsEventLog(connection)
    for _ in range(3):
        await log.append(NewMessage(SUBJECT, b""))
    async with log.follow("tapio.log.>", from_sequence=1) as messages:
        await anext(messages)
        await server.kill()
        shutil.rmtree(server.store)
        await server.start()
        with pytest.raises(LogMissing):
            await _drain(messages)
    await eventually(lambda: _true(connection.is_connected))
    await provision(connection, partitions=4)
    with pytest.raises(LogRewound, match="it ends at 0, and 3 was seen"):
        async with log.follow("tapio.log.>", from_sequence=4):
            pytest.fail("The new log is shorter than what was seen.")


async def test_a_follower_is_told_that_the_stream_was_made_anew(connection: NatsConnection) -> None:
    """While the connection holds, only silence tells: the heartbeats of a deleted consumer stop."""
    log = NatsEventLog(connection)
    await log.append(NewMessage(SUBJECT, b""))
    async with log.follow("tapio.log.>", from_sequence=1) as messages:
        await anext(messages)
        await connection.api("STREAM.DELETE.TAPIO_LOG", None, dict)
        await provision(connection, partitions=4)
        for _ in range(5):
            await log.append(NewMessage(SUBJECT, b""))
        with pytest.raises(LogRewound, match="was made anew"):
            async with asyncio.timeout(20):
                await anext(messages)


async def test_a_follower_is_told_that_the_log_went_back_and_has_grown_again(
    server: EmbeddedNatsServer, connection: NatsConnection
) -> None:
    """What was cut off has successors by the time that anybody looks: the log is as long as it was."""
    log, backup = NatsEventLog(connection), server.store.with_name("backup")
    for _ in range(3):
        await log.append(NewMessage(SUBJECT, b""))
    await server.stop()
    shutil.copytree(server.store, backup)
    await server.start()
    await eventually(lambda: _true(connection.is_connected))
    for _ in range(2):
        await log.append(NewMessage(SUBJECT, b"cut off"))
    async with log.follow("tapio.log.>", from_sequence=1) as messages:
        assert [(await anext(messages)).sequence for _ in range(5)] == [1, 2, 3, 4, 5]
        await server.kill()
        shutil.rmtree(server.store)
        backup.rename(server.store)
        async with EmbeddedNatsServer(server.store.parent) as elsewhere:
            other = await NatsConnection.connect([elsewhere.url], name="test")
            for _ in range(4):
                await NatsEventLog(other).append(NewMessage(SUBJECT, b"another"))
            await other.close()
        await server.start()
        with pytest.raises(LogRewound, match="has grown again: what stands at 5 is not what was seen there"):
            await _drain(messages)


class _Configured(msgspec.Struct, frozen=True):
    config: JsonObject


async def test_a_follower_goes_on_where_what_it_saw_last_is_too_old_to_be_kept(
    server: EmbeddedNatsServer, connection: NatsConnection
) -> None:
    log = NatsEventLog(connection)
    for _ in range(3):
        await log.append(NewMessage(SUBJECT, b""))
    async with log.follow("tapio.log.>", from_sequence=1) as messages:
        assert [(await anext(messages)).sequence for _ in range(3)] == [1, 2, 3]
        await server.stop()
        async with EmbeddedNatsServer(server.store.parent) as elsewhere:
            other = await NatsConnection.connect([elsewhere.url], name="test")
            config = (await other.api("STREAM.INFO.TAPIO_LOG", None, _Configured)).config
            await NatsEventLog(other).append(NewMessage(SUBJECT, b"newest"))
            await other.api("STREAM.UPDATE.TAPIO_LOG", {**config, "max_msgs": 1}, dict)
            await other.close()
        await server.start()
        assert (await anext(messages)).data == b"newest"


async def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    """JetStream's own limit stands for the disk: the stream may not grow beyond it."""
    directory = tmp_path / "full"
    async with EmbeddedNatsServer(directory) as server:
        server_limit = f"jetstream {{ store_dir: '{server.store}', max_file_store: 1MB }}"
        await server.stop()
        server.extra = server_limit
        await server.start()
        connection = await NatsConnection.connect([server.url], name="test")
        await provision(connection, partitions=4, max_bytes=-1, admitted_max_bytes=-1)
        log = NatsEventLog(connection)
        first = await log.append(NewMessage("tapio.epoch.1", b"fence"))
        with pytest.raises(LogFull, match=r"insufficient resources \(error 10023\)"):
            await _fill(log)
        kept = await log.last("tapio.epoch.1")
        assert kept is not None
        assert kept.sequence == first.sequence
        await connection.close()


async def test_a_full_stream_drops_its_beginning(connection: NatsConnection) -> None:
    """The fence goes with it: whoever still trusts it is refused, as any former owner."""
    await provision(connection, partitions=4, max_bytes=1 << 20)
    log = NatsEventLog(connection)
    fence = (await log.append(NewMessage("tapio.epoch.1", b"", expected_last=0))).sequence
    for _ in range(30):
        await log.append(NewMessage(SUBJECT, bytes(50_000)))
    info = await log.info()
    assert info.bytes <= 1 << 20
    assert info.first_sequence > fence
    assert await log.last("tapio.epoch.1") is None
    with pytest.raises(RevisionConflict) as caught:
        await log.append(NewMessage("tapio.log.1.d", b"", expected_last=fence, expected_subject="tapio.epoch.1"))
    assert caught.value.actual == 0


async def test_a_refused_reconnect_is_not_for_ever(tmp_path: Path) -> None:
    """nats-py closes itself when its password is refused on a reconnect; a new client takes its place."""
    right, wrong = "authorization { user: tapio, password: right }", "authorization { user: tapio, password: wrong }"
    async with EmbeddedNatsServer(tmp_path, extra=right) as server:
        url = server.url.replace("//", "//tapio:right@")
        connection = await NatsConnection.connect([url], name="test")
        await provision(connection, partitions=4)
        log = NatsEventLog(connection)
        await log.append(NewMessage(SUBJECT, b""))
        for text in (wrong, right):
            await server.stop()
            server.extra = text
            await server.start()
            if text == wrong:
                await eventually(lambda: _true("uthorization" in connection.last_error))
        await eventually(lambda: _true(connection.is_connected))
        assert (await log.append(NewMessage(SUBJECT, b""))).sequence == 2
        await connection.close()


async def test_a_first_connection_is_not_waited_for_for_ever() -> None:
    with pytest.raises(LogUnavailable, match=r"NATS at nats://127\.0\.0\.1:1 can't be reached"):
        await NatsConnection.connect(["nats://127.0.0.1:1"], name="test", patience=0.5)


async def _drain(messages: AsyncIterator[Message]) -> None:
    async with asyncio.timeout(20):
        async for _ in messages:
            pass


async def _fill(log: NatsEventLog) -> None:
    for _ in range(100):
        await log.append(NewMessage(SUBJECT, bytes(50_000)))


async def _has(log: NatsEventLog, subject: str) -> bool:
    return await log.last(subject) is not None


async def _true(value: bool) -> bool:
    return value


async def _error(task: asyncio.Task[Appended]) -> BaseException | None:
    await asyncio.wait({task})
    return task.exception()
