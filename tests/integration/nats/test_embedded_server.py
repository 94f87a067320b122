"""The embedded nats-server and what is made on it: ready when it says so, no process left, streams as they must be."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_server import EmbeddedNatsServer, check_version
from tapio_shared.adapters.provisioning import log_config, provision
from tapio_shared.errors import InvalidSettings, LogRefused, LogUnavailable, PartitionCountMismatch
from tapio_shared.json import JsonValue
from tests.support.eventually import eventually
from tests.support.nats_servers import PARTITIONS, Nats

OWNER = """
import asyncio, sys
from pathlib import Path
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
async def main():
    async with EmbeddedNatsServer(Path(sys.argv[1])) as server:
        print(server.pid, flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_a_server_does_not_outlive_a_killed_owner(tmp_path: Path) -> None:
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    server = int(await owner.stdout.readline())
    assert psutil.pid_exists(server)
    os.kill(owner.pid, signal.SIGKILL)
    await owner.wait()

    async def gone() -> bool:
        return not psutil.pid_exists(server) or psutil.Process(server).status() == psutil.STATUS_ZOMBIE

    await eventually(gone, seconds=5)


async def test_a_stopped_server_can_be_ended(tmp_path: Path) -> None:
    async with EmbeddedNatsServer(tmp_path) as server:
        pid = server.pid
        server.send_signal(signal.SIGSTOP)
    assert not psutil.pid_exists(pid)


async def test_a_server_that_can_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match=r"(?s)did not start on port \d+.*Parse error on line"):
        await EmbeddedNatsServer(tmp_path, extra="nonsense: {").start()


@pytest.mark.parametrize(("version", "allowed"), [("2.11.9", False), ("2.12.0", True), ("2.15", True), ("3.0", True)])
def test_the_oldest_server_with_atomic_batches_is_2_12(version: str, allowed: bool) -> None:
    if allowed:
        check_version(version)
        return
    with pytest.raises(InvalidSettings, match=r"nats-server 2\.11\.9 is too old"):
        check_version(version)


class _Stream(msgspec.Struct):
    created: str
    config: dict[str, JsonValue]


async def _stream(connection: NatsConnection) -> _Stream:
    return await connection.api("STREAM.INFO.TAPIO_LOG", None, _Stream)


async def test_streams_are_made_once_and_mended(nats_server: Nats) -> None:
    connection = await nats_server.connect()
    await nats_server.provision_anew(connection)
    made = await _stream(connection)
    await provision(connection, partitions=PARTITIONS)
    assert (await _stream(connection)).created == made.created
    wrong = log_config(PARTITIONS, 1, 1 << 20, 0) | {"max_msgs": 5}
    await connection.api("STREAM.UPDATE.TAPIO_LOG", wrong, _Stream)
    await provision(connection, partitions=PARTITIONS, max_bytes=3 << 20)
    config = (await _stream(connection)).config
    assert (config["max_bytes"], config["max_age"], config["max_msgs"]) == (3 << 20, 30 * 86_400 * 10**9, -1)
    assert (config["allow_atomic"], config["allow_direct"], config["compression"]) == (True, True, "s2")
    assert (config["deny_delete"], config["deny_purge"], config["allow_rollup_hdrs"]) == (True, True, False)
    await connection.close()


async def test_another_number_of_partitions_is_refused(nats_server: Nats) -> None:
    connection = await nats_server.connect()
    await nats_server.provision_anew(connection)
    with pytest.raises(PartitionCountMismatch, match="made for 4 partitions and this process is set to 16"):
        await provision(connection, partitions=16)
    with pytest.raises(InvalidSettings, match="The number of partitions is 50; it must be from 1 to 49"):
        await provision(connection, partitions=50)
    await connection.close()


async def test_three_replicas_on_one_server_are_refused(nats_server: Nats) -> None:
    connection = await nats_server.connect()
    await nats_server.provision_anew(connection)
    with pytest.raises(LogRefused, match="replicas > 1 not supported in non-clustered mode"):
        await provision(connection, partitions=PARTITIONS, replicas=3)
    await connection.close()


@pytest.mark.parametrize("request_subject", ["PURGE.TAPIO_LOG", "MSG.DELETE.TAPIO_LOG", "PURGE.TAPIO_ADMITTED"])
async def test_what_was_written_stays(nats_server: Nats, request_subject: str) -> None:
    connection = await nats_server.connect()
    await nats_server.provision_anew(connection)
    with pytest.raises(LogRefused, match=r"not permitted|does not permit|denied"):
        await connection.api(f"STREAM.{request_subject}", {"seq": 1}, dict)
    await connection.close()
