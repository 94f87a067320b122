"""The whole operator as real processes against one Kubernetes, each service under its own ServiceAccount.

Like `tapioctl run`, but every process can be killed, stopped in its tracks and started again, and so can nats-server,
with its store or without it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import msgspec

from tapio_cli.service_accounts import service_kubeconfig
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.errors import LogMissing
from tapio_shared.json import str_at
from tapio_shared.ports import Message
from tapio_shared.subprocesses import free_port
from tests.support.e2e_kubernetes import Kubernetes
from tests.support.eventually import eventually
from tests.support.kept import HISTORIES
from tests.support.operator_processes import ServiceProcess

ROOT = Path(__file__).parents[2]
NAMESPACE = "tapio-system"
WATCHER, WEBHOOK = "watcher", "webhook"
PARTITIONS = 8
_CEL_SINCE = 25
_QUIET_LOOKS = 20
"""One second at the pace of `eventually`."""


class _Names(msgspec.Struct):
    streams: list[str]


class _State(msgspec.Struct):
    first_seq: int
    last_seq: int


class _Info(msgspec.Struct):
    state: _State


class _Message(msgspec.Struct):
    data: bytes = b""
    hdrs: bytes = b""


class _Held(msgspec.Struct):
    message: _Message


class OperatorRun:
    """nats-server, watcher, workers and webhook. Made by `start_operator`."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        server: EmbeddedNatsServer,
        services: dict[str, ServiceProcess],
        make: Callable[[str, str], Awaitable[ServiceProcess]],
        servers: Sequence[EmbeddedNatsServer] = (),
    ) -> None:
        """`server` is the only one, or the first of `servers`."""
        self.kubernetes, self.nats, self.services, self._make = kubernetes, server, services, make
        self.servers = list(servers) or [server]

    @property
    def nats_urls(self) -> list[str]:
        """Of all servers of the operator's NATS."""
        return [server.url for server in self.servers]

    @property
    def workers(self) -> list[str]:
        """Names of the reconciler workers."""
        return [name for name in self.services if name.startswith("reconciler")]

    def __getitem__(self, name: str) -> ServiceProcess:
        return self.services[name]

    async def until_ready(self) -> None:
        """Wait until every service says so."""
        for service in self.services.values():
            await service.until_ready()

    async def crash(self, name: str) -> None:
        """kill -9 of a service, or of `nats`, and start it again."""
        if name == "nats":
            await self.nats.kill()
            await self.nats.start()
            return
        await self.services[name].kill()
        await self.services[name].start()

    async def add_worker(self, name: str, release: str = "") -> None:
        """Start one more worker; answers when it has its share."""
        await self.start_as(name, release)

    async def start_as(self, name: str, release: str = "") -> None:
        """Start a service that does not run, as another release: a module that runs the service's own."""
        self.services[name] = await self._make(name, release)
        await self.services[name].start()
        await self.services[name].until_ready()

    async def remove_worker(self, name: str) -> None:
        """SIGTERM, as when a Deployment is scaled down; answers when the worker has ended."""
        await self.services.pop(name).stop()

    async def restart_all(self) -> None:
        """Stop every service in an orderly way, then start all; nats-server and its store stay."""
        for service in self.services.values():
            await service.stop()
        for service in self.services.values():
            await service.start()
        await self.until_ready()

    async def lose_log(self) -> None:
        """Kill nats-server, delete its whole store, start it again."""
        await self.nats.kill()
        shutil.rmtree(self.nats.store)
        await self.nats.start()

    async def settled(self) -> None:
        """Wait until the log has stopped growing for as long as a change takes to travel."""
        connection = await NatsConnection.connect(self.nats_urls, name="test")
        try:
            log, last, quiet = NatsEventLog(connection), -1, 0

            async def is_quiet() -> bool:
                nonlocal last, quiet
                newest = (await log.info()).last_sequence
                last, quiet = newest, quiet + 1 if newest == last else 0
                return quiet >= _QUIET_LOOKS

            await eventually(is_quiet, seconds=60)
        finally:
            await connection.close()

    async def history(self) -> list[Message]:
        """What the log holds of facts, decisions and outcomes; nothing when it is not there."""
        connection = await NatsConnection.connect(self.nats_urls, name="test")
        try:
            log = NatsEventLog(connection)
            last = (await log.info()).last_sequence
            return [message async for message in log.read("tapio.log.>", up_to=last)]
        except LogMissing:
            return []
        finally:
            await connection.close()

    async def recorded(self) -> bytes:
        """Every byte that JetStream holds: each message of each stream with its headers, and the files of the store."""
        connection = await NatsConnection.connect(self.nats_urls, name="test")
        parts: list[bytes] = []
        try:
            names = (await connection.api("STREAM.NAMES", None, _Names)).streams
            for name in names:
                state = (await connection.api(f"STREAM.INFO.{name}", None, _Info)).state
                for sequence in range(max(state.first_seq, 1), state.last_seq + 1):  # 0: nothing in it yet
                    with suppress(LogMissing):
                        message = await connection.api(f"STREAM.MSG.GET.{name}", {"seq": sequence}, _Held)
                        parts.extend((message.message.data, message.message.hdrs))
        finally:
            await connection.close()
        parts.extend(path.read_bytes() for path in sorted(self.nats.store.rglob("*")) if path.is_file())
        return b"\n".join(parts)

    def lines(self, event: str) -> list[str]:
        """The lines of the workers' logs that tell of `event`."""
        texts = [self.services[name].log.read_text(errors="replace") for name in self.workers]
        return [line for text in texts for line in text.splitlines() if f'"event": "{event}"' in line]

    def logs(self) -> str:
        """The end of every log, for the report of a failed test."""
        return "\n".join(service.tail() for service in self.services.values())


@asynccontextmanager
async def start_operator(
    kubernetes: Kubernetes,
    directory: Path,
    *,
    workers: int = 2,
    webhook: bool = True,
    keep_history: bool = True,
    servers: Sequence[EmbeddedNatsServer] = (),
    settings: Mapping[str, str] | None = None,
) -> AsyncGenerator[OperatorRun]:
    """Install deploy/ and run the operator; answers when every service is ready. Nothing is left when this ends.

    Its NATS is a server of its own, or `servers`, which run already. With `keep_history` what it recorded is replayed
    at the end of the test run, by this release. `settings` are further environment variables of its services.
    """
    await install(kubernetes)
    async with AsyncExitStack() as stack:
        own = [] if servers else [await stack.enter_async_context(EmbeddedNatsServer(directory / "nats"))]
        nats = [*servers, *own]
        names = [WATCHER, *([WEBHOOK] if webhook else []), *(f"reconciler-{n}" for n in range(1, workers + 1))]

        async def make(name: str, release: str = "") -> ServiceProcess:
            return await _service(kubernetes, directory, nats, name, release, settings or {})

        services = {name: await make(name) for name in names}
        run = OperatorRun(kubernetes, nats[0], services, make, nats)
        try:
            for service in services.values():
                await service.start()
            await run.until_ready()
            yield run
            if keep_history:
                HISTORIES.append(await run.history())
        except BaseException:
            print(run.logs())  # noqa: T201 - pytest shows it with the failure
            raise
        finally:
            for service in reversed(list(services.values())):
                await service.stop()


def kubeconfig_of(kind: str, directory: Path) -> Path:
    """The file by which the services of a kind (`watcher`, `reconciler`, `webhook`) reach the API server."""
    return directory / f"{kind}.kubeconfig"


async def install(kubernetes: Kubernetes) -> None:
    """Apply deploy/, as it is for this release of Kubernetes."""
    minor = str_at(await kubernetes.kubectl.document("version"), "serverVersion", "minor")
    old = int("".join(char for char in minor if char.isdigit())) < _CEL_SINCE
    await kubernetes.kubectl.run("apply", "-k", str(ROOT / "deploy" / ("legacy" if old else "base")))
    await kubernetes.kubectl.run("wait", "--for=condition=Established", "--timeout=30s", "crd/tapioclusters.tapio.io")


async def _service(
    kubernetes: Kubernetes,
    directory: Path,
    nats: Sequence[EmbeddedNatsServer],
    name: str,
    release: str,
    settings: Mapping[str, str],
) -> ServiceProcess:
    kind = name.partition("-")[0]
    path = kubeconfig_of(kind, directory)
    if not path.exists():
        path.touch(mode=0o600)
        account = f"tapio-{kind}"
        path.write_text(await service_kubeconfig(kubernetes.kubectl, kubernetes.kubeconfig, NAMESPACE, account))
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("TAPIO_")},
        "TAPIO_NATS_URL": ",".join(server.url for server in nats),
        "TAPIO_NATS_REPLICAS": str(len(nats)),
        "TAPIO_KUBECONFIG": str(path),
        "TAPIO_NAME": name,
        "TAPIO_NAMESPACE": NAMESPACE,
        "TAPIO_BIND_ADDRESS": "127.0.0.1",
        "TAPIO_HEALTH_PORT": "0",
        "TAPIO_METRICS_PORT": "0",
        "TAPIO_PARTITIONS": str(PARTITIONS),
        **settings,
    }
    if kind == WEBHOOK:
        port = free_port()
        environment |= {"TAPIO_WEBHOOK_PORT": str(port), "TAPIO_WEBHOOK_URL": f"https://127.0.0.1:{port}"}
    module = f"tapio_{kind}"
    return ServiceProcess(
        name,
        release or module,
        folder=directory / "logs",
        environment=environment,
        arguments=(module,) if release else (),
    )
