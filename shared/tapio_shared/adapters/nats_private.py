"""A nats-server for `make run` with a user of its own for every service, so that permissions are tried every day.

Passwords are made anew at each start and lie beside the store, one file per user, readable by their owner alone. The
streams are made by the one identity that may, before anybody else connects.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_credentials import Login, write_login
from tapio_shared.adapters.nats_permissions import GRANTS, accounts_config
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.adapters.provisioning import provision
from tapio_shared.ports import Random

PROVISIONER = "tapio-provisioner"
_PASSWORD_LENGTH = 32


class PrivateNatsServer:
    """An embedded nats-server that knows the operator's services alone. An async context manager."""

    def __init__(self, directory: Path, random: Random, *, partitions: int) -> None:
        """`directory` holds configuration, store, log and the users' files; `partitions` are the log's."""
        self._directory, self._random, self._partitions = directory, random, partitions
        self._server = EmbeddedNatsServer(directory)

    @property
    def store(self) -> Path:
        return self._server.store

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def log(self) -> Path:
        return self._server.log

    async def ended(self) -> int:
        """Wait until the server ends, by whomever; answers its exit code."""
        return await self._server.ended()

    def credentials(self, service: str) -> Path:
        """The file with which `service` (such as tapio-watcher) connects, for TAPIO_NATS_CREDENTIALS."""
        return self._directory / "users" / f"{service}.json"

    async def __aenter__(self) -> PrivateNatsServer:
        logins = [Login(user=grant.service, password=self._random.token(_PASSWORD_LENGTH)) for grant in GRANTS]
        for login in logins:
            write_login(self.credentials(login.user), login)
        self._server.extra = accounts_config({login.user: login.password for login in logins})
        await self._server.start()
        try:
            await self._provision()
        except BaseException:
            await self._server.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop()

    async def _provision(self) -> None:
        credentials = str(self.credentials(PROVISIONER))
        connection = await NatsConnection.connect([self.url], name=PROVISIONER, credentials=credentials)
        try:
            await provision(connection, partitions=self._partitions)
        finally:
            await connection.close()
