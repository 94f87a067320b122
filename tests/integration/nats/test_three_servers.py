"""Three servers: the death of the leader costs seconds, and neither a message nor the order of any."""

from __future__ import annotations

import asyncio
import signal

import msgspec
import pytest
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.errors import LogUnavailable, RetryableError, RevisionConflict
from tapio_shared.ports import Appended, NewMessage
from tests.support.eventually import eventually
from tests.support.freezing import freeze
from tests.support.nats_servers import Nats

pytestmark = pytest.mark.asyncio(loop_scope="session")  # The loop that owns the servers' processes.
EPOCH = "tapio.epoch.1"
COUNT = 400


class _Peer(msgspec.Struct):
    name: str
    current: bool = False


class _Cluster(msgspec.Struct):
    leader: str = ""
    replicas: list[_Peer] = []


class _Info(msgspec.Struct):
    cluster: _Cluster


async def cluster_of(connection: NatsConnection) -> _Cluster:
    return (await connection.api("STREAM.INFO.TAPIO_LOG", None, _Info)).cluster


async def leader_of(nats: Nats, connection: NatsConnection) -> EmbeddedNatsServer:
    name = (await cluster_of(connection)).leader
    return next(server for number, server in enumerate(nats.servers) if name == f"nats-{number}")


async def healthy(connection: NatsConnection) -> bool:
    """Whether the log has a leader and two replicas that are as far as it."""
    try:
        cluster = await cluster_of(connection)
    except RetryableError:
        return False
    return cluster.leader != "" and [peer.current for peer in cluster.replicas] == [True, True]


async def append_surely(log: NatsEventLog, message: NewMessage) -> Appended:
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(LogUnavailable), wait=wait_fixed(0.1), stop=stop_after_delay(60), reraise=True
    ):
        with attempt:
            return await log.append(message)
    raise AssertionError


async def test_a_killed_leader_costs_no_message_and_no_order(nats_cluster: Nats) -> None:
    connection = await nats_cluster.connect()
    await nats_cluster.provision_anew(connection)
    log = NatsEventLog(connection)
    fence = (await log.append(NewMessage(EPOCH, b"", expected_last=0))).sequence
    half_way = asyncio.Event()

    async def write() -> None:
        """As a worker does: one append after the other under its fence, each repeated until it is answered."""
        for number in range(COUNT):
            message = NewMessage(
                f"tapio.log.1.{number % 7}",
                str(number).encode(),
                message_id=f"failover-{number}",
                expected_last=fence,
                expected_subject=EPOCH,
            )
            await append_surely(log, message)

    async def read() -> list[int]:
        seen: list[int] = []
        async with log.follow("tapio.log.>", from_sequence=1) as messages:
            async for message in messages:
                seen.append(int(message.data))
                if len(seen) == COUNT // 4:
                    half_way.set()
                if len(seen) == COUNT:
                    break
        return seen

    async with asyncio.timeout(100):
        reading, writing = asyncio.create_task(read()), asyncio.create_task(write())
        await half_way.wait()
        leader = await leader_of(nats_cluster, connection)
        await leader.kill()
        await writing
        assert await reading == list(range(COUNT))
        await leader.start()
    await eventually(lambda: healthy(connection), seconds=60)
    view = await log.last_per_subject("tapio.log.1.>", at_least=COUNT + 1)
    assert [int(message.data) for message in view.messages] == list(range(COUNT - 7, COUNT))
    await connection.close()


async def test_a_former_owner_that_wakes_up_is_fenced(nats_cluster: Nats) -> None:
    """A worker that slept through a take-over, on a connection of its own, writes nothing more."""
    sleeper, taker = await nats_cluster.connect(), await nats_cluster.connect()
    await nats_cluster.provision_anew(taker)
    former, owner = NatsEventLog(sleeper), NatsEventLog(taker)
    old = (await former.append(NewMessage(EPOCH, b"former", expected_last=0))).sequence
    new = (await owner.append(NewMessage(EPOCH, b"owner", expected_last=old))).sequence
    batch = [NewMessage(f"tapio.log.1.{name}", b"", expected_last=old, expected_subject=EPOCH) for name in "abc"]
    results = await asyncio.gather(*(former.append(one) for one in batch), return_exceptions=True)
    assert [type(result) for result in results] == [RevisionConflict] * 3
    assert {result.actual for result in results if isinstance(result, RevisionConflict)} == {new}
    assert (await owner.info()).last_sequence == new
    await sleeper.close()
    await taker.close()


async def test_reads_are_complete_while_a_replica_sleeps(nats_cluster: Nats) -> None:
    """The replica that answers may be the one that was stopped, or one that lags: never an older view than asked."""
    connection = await nats_cluster.connect()
    await nats_cluster.provision_anew(connection)
    await eventually(lambda: healthy(connection), seconds=60)
    log = NatsEventLog(connection)
    leader = await leader_of(nats_cluster, connection)
    connected = connection.client.connected_url
    assert connected is not None
    follower = next(server for server in nats_cluster.servers if server is not leader and server.port != connected.port)
    for round_ in range(3):
        await freeze(follower)
        sequence = 0
        for number in range(50):
            sequence = (await log.append(NewMessage(f"tapio.log.1.{number}", str(round_).encode()))).sequence
        follower.send_signal(signal.SIGCONT)
        view = await log.last_per_subject("tapio.log.1.>", at_least=sequence)
        assert len(view.messages) == 50
        assert {message.data for message in view.messages} == {str(round_).encode()}
        assert view.revision >= sequence
    await eventually(lambda: healthy(connection), seconds=60)
    await connection.close()
