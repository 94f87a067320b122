"""Who connects, and to whom: credentials files, and servers known by their CA."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_credentials import Login, write_login
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.adapters.provisioning import provision
from tapio_shared.certificates import CertificateAuthority, Usage
from tapio_shared.errors import InvalidSettings, LogUnavailable
from tapio_shared.ports import NewMessage
from tests.support.eventually import eventually
from tests.support.nats_jwt import ACCOUNT, Identity, Operator


async def test_a_credentials_file_opens_the_log_and_is_read_again_on_a_reconnect(tmp_path: Path) -> None:
    operator = Operator()
    path = operator.write_credentials(tmp_path / "user.creds")
    async with EmbeddedNatsServer(tmp_path / "nats", extra=operator.config()) as server:
        connection = await NatsConnection.connect([server.url], name="test", credentials=str(path))
        await provision(connection, partitions=4)
        log = NatsEventLog(connection)
        assert (await log.append(NewMessage("tapio.log.1.a", b""))).sequence == 1
        path.write_text("half written")
        await server.kill()
        await server.start()

        async def refused() -> bool:
            return "has no block" in connection.last_error

        await eventually(refused)
        operator.write_credentials(path)

        async def connected() -> bool:
            return connection.is_connected

        await eventually(connected)
        assert (await log.append(NewMessage("tapio.log.1.a", b""))).sequence == 2
        await connection.close()


async def test_a_password_that_is_changed_is_read_again(tmp_path: Path) -> None:
    """First the server knows another one, which closes what is connected; then the file holds it."""
    path = tmp_path / "login.json"
    write_login(path, Login(user="tapio", password="first"))
    users = "authorization {{ user: {}, password: {} }}"
    async with EmbeddedNatsServer(tmp_path / "nats", extra=users.format("tapio", "first")) as server:
        connection = await NatsConnection.connect([server.url], name="test", credentials=str(path))
        await provision(connection, partitions=4)
        log = NatsEventLog(connection)
        assert (await log.append(NewMessage("tapio.log.1.a", b""))).sequence == 1
        await server.stop()
        server.extra = users.format("other", "second")
        await server.start()

        async def refused() -> bool:
            return "uthorization" in connection.last_error

        await eventually(refused)
        path.write_text("{half written")

        async def unreadable() -> bool:
            return "can't be used" in connection.last_error

        await eventually(unreadable)
        write_login(path, Login(user="other", password="second"))

        async def connected() -> bool:
            return connection.is_connected

        await eventually(connected)
        assert (await log.append(NewMessage("tapio.log.1.a", b""))).sequence == 2
        await connection.close()


async def test_who_is_refused_waits_before_it_asks_again(tmp_path: Path) -> None:
    """A client that has closed itself answers at once; whoever follows the log would ask it again and again."""
    path = tmp_path / "login.json"
    write_login(path, Login(user="tapio", password="first"))
    users = "authorization {{ user: tapio, password: {} }}"
    async with EmbeddedNatsServer(tmp_path / "nats", extra=users.format("first")) as server:
        connection = await NatsConnection.connect([server.url], name="test", credentials=str(path))
        await server.stop()
        server.extra = users.format("second")
        await server.start()

        async def refused() -> bool:
            return "uthorization" in connection.last_error

        async def received(_: Msg) -> None:
            raise AssertionError("nothing is sent")

        await eventually(refused)
        asking = asyncio.create_task(connection.subscribe("tapio.any", received))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asking), 1.0)
        write_login(path, Login(user="tapio", password="second"))
        assert await asking
        await connection.close()


async def test_a_user_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    operator = Operator()
    path = operator.write_credentials(tmp_path / "user.creds", known=False)
    async with EmbeddedNatsServer(tmp_path / "nats", extra=operator.config()) as server:
        with pytest.raises(LogUnavailable, match=r"(?i)can't be reached: .*authorization violation"):
            await NatsConnection.connect([server.url], name="test", credentials=str(path), patience=1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(None, "No such file", id="no file"),
        pytest.param("", "has no block NATS USER JWT", id="an empty file"),
        pytest.param("jwt", "has no block USER NKEY SEED", id="no seed"),
        pytest.param("SUAAA", "cut short or mistyped", id="a seed cut short"),
        pytest.param("1", "not base32", id="a seed that is none"),
        pytest.param("account", "not a user's", id="an account's seed"),
    ],
)
async def test_a_credentials_file_that_can_not_be_used_is_told_at_once(
    tmp_path: Path, text: str | None, problem: str
) -> None:
    path = tmp_path / "user.creds"
    jwt = "-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n"
    if text is not None:
        seed = Identity(ACCOUNT).seed if text == "account" else text
        block = f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        path.write_text({"": "", "jwt": jwt}.get(text, jwt + block))
    with pytest.raises(InvalidSettings, match=problem):
        await NatsConnection.connect(["nats://127.0.0.1:1"], name="test", credentials=str(path))


async def test_a_server_is_known_by_its_ca(tmp_path: Path) -> None:
    now = SystemClock().now()
    authority, other = [CertificateAuthority.create(name, now=now, valid_for=timedelta(days=1)) for name in "ab"]
    pair = authority.issue("nats", now=now, valid_for=timedelta(days=1), usage=Usage.SERVER, ip_addresses=["127.0.0.1"])
    files = {"cert": pair.certificate_pem, "key": pair.key_pem, "ca": authority.certificate_pem}
    for name, content in (files | {"other": other.certificate_pem}).items():
        (tmp_path / name).write_bytes(content)
    tls = f"tls {{ cert_file: '{tmp_path / 'cert'}', key_file: '{tmp_path / 'key'}' }}"
    async with EmbeddedNatsServer(tmp_path / "nats", extra=tls) as server:
        connection = await NatsConnection.connect([server.url], name="test", ca_file=str(tmp_path / "ca"))
        await provision(connection, partitions=4)
        assert (await NatsEventLog(connection).info()).partitions == 4
        await connection.close()
        with pytest.raises(LogUnavailable, match=r"(?i)can't be reached: .*certificate verify failed"):
            await NatsConnection.connect([server.url], name="test", ca_file=str(tmp_path / "other"), patience=1)
    with pytest.raises(InvalidSettings, match=r"The CA of NATS in .* can't be used"):
        await NatsConnection.connect([server.url], name="test", ca_file=str(tmp_path / "missing"))
