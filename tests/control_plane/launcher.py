"""Runs a control plane for as long as a context lasts, or in the foreground for a person.

`python -m tests.control_plane.launcher [directory]` prints the path of the administrator's kubeconfig and runs until
Ctrl-C. Everything listens on loopback ports that are free at the moment; any number can run side by side.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import ssl
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp
from rich.console import Console
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

from tapio_shared.json import str_at

from .api_client import ApiClient
from .audit import MARKER_PATH, AuditEvent, AuditLog, write_policy
from .binaries import Binaries
from .build import ensure_binaries
from .credentials import Credentials
from .flags import Options, api_server_command, controller_manager_command, etcd_command, free_ports
from .processes import PortTaken, Program, StartFailed

_READY_TIMEOUT = 120.0
_POLL = 0.05
_MASTERS = "system:masters"


class ControlPlane:
    """One running control plane. Made by `start_control_plane`; usable from any event loop of the main thread."""

    def __init__(self, directory: Path, binaries: Binaries, options: Options) -> None:
        """Lays out files and command lines below `directory`; starts nothing."""
        ports = free_ports()
        self.directory = directory
        self.server = f"https://127.0.0.1:{ports.api_server}"
        self.server_version = ""
        self._markers = 0
        self._credentials = Credentials(directory / "credentials", self.server)
        self.certificate_authority_file = self._credentials.authority_file
        self.kubeconfig = self.kubeconfig_for("tapio-administrator", [_MASTERS])
        self.admin = ApiClient.from_kubeconfig(self.kubeconfig)
        write_policy(directory / "audit-policy.yaml", options.audit_rules)
        self._audit = AuditLog(directory / "audit.log")
        own = self.kubeconfig_for("system:kube-controller-manager")
        self.etcd = Program("etcd", etcd_command(binaries, directory, ports), directory / "etcd.log")
        self.api_server = Program(
            "kube-apiserver",
            api_server_command(binaries, directory, ports, self._credentials, options),
            directory / "kube-apiserver.log",
        )
        self.controller_manager = Program(
            "kube-controller-manager",
            controller_manager_command(binaries, own, ports, self._credentials, options),
            directory / "kube-controller-manager.log",
        )

    async def start(self) -> None:
        """Start all three; returns once the API serves and the controllers have begun their work."""
        self.etcd.start()
        self.api_server.start()  # retries until etcd answers
        await self._wait(self.api_server, "/readyz is not ok", self._is_ready)
        self.server_version = str_at((await self.admin.call("GET", "/version")).body, "gitVersion")
        self.controller_manager.start()
        await self._wait(self.controller_manager, "it made no service account default", self._has_service_account)

    def kill(self) -> None:
        """End everything at once: the data is not kept."""
        for program in (self.controller_manager, self.api_server, self.etcd):
            program.kill()

    async def stop_api_server(self, *, grace: float = 5.0) -> None:
        """End the API server; `grace` 0 kills it. Clients see refused connections until `start_api_server`."""
        await self.api_server.stop(grace=grace)

    async def start_api_server(self) -> None:
        """Start the API server again on the same port; returns when it is ready."""
        self.api_server.start()
        await self._wait(self.api_server, "/readyz is not ok", self._is_ready)
        if not self.controller_manager.running:
            self.controller_manager.start()

    async def restart_api_server(self, *, grace: float = 5.0) -> None:
        """`stop_api_server` and `start_api_server`. Objects and resource versions stay; watches break."""
        await self.stop_api_server(grace=grace)
        await self.start_api_server()

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig with a client certificate of `user` in `groups`; RBAC decides what it may do."""
        return self._credentials.kubeconfig_for(user, groups)

    def expiring_kubeconfig_for(self, user: str, groups: Sequence[str], *, seconds: int, name: str) -> Path:
        """The same with a certificate that ends after so many seconds, in a file of its own."""
        return self._credentials.kubeconfig_for(user, groups, name=name, valid_for=timedelta(seconds=seconds))

    async def kubeconfig_for_service_account(self, namespace: str, name: str, *, valid_for: int = 3600) -> Path:
        """A kubeconfig with a new token of an existing service account (TokenRequest), valid for these seconds."""
        answer = await self.admin.call(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"expirationSeconds": valid_for},
            },
        )
        token = str_at(answer.body, "status", "token")
        if not token:
            raise LookupError(
                f"The API server gave no token for service account {namespace}/{name}: HTTP {answer.status}, "
                f"{str_at(answer.body, 'message')}. Create the service account first."
            )
        return self._credentials.kubeconfig_with_token(f"system:serviceaccount:{namespace}:{name}", token)

    def client(self, kubeconfig: Path) -> ApiClient:
        """A plain client for one of this control plane's kubeconfigs; `admin` is the administrator's."""
        return ApiClient.from_kubeconfig(kubeconfig)

    async def audit_position(self) -> int:
        """A position of the audit log that lies behind every request answered so far."""
        since = self._audit.size
        self._markers += 1
        marker = f"{MARKER_PATH}?marker={self._markers}."
        await self.admin.call("GET", marker)
        await self._wait(self.api_server, "the audit log lacks a request", lambda: self._holds(marker, since))
        return self._audit.size

    async def audit_events(self, *, since: int = 0) -> list[AuditEvent]:
        """Every request that was answered after `since` (an `audit_position`) and before this call."""
        await self.audit_position()
        return self._audit.read(since)

    async def _wait(self, program: Program, missing: str, condition: Callable[[], Awaitable[bool]]) -> None:
        try:
            async with asyncio.timeout(_READY_TIMEOUT):
                while not await condition():
                    self.etcd.check()
                    program.check()
                    await asyncio.sleep(_POLL)
        except TimeoutError as err:
            raise StartFailed(
                f"{program.name} runs, but after {_READY_TIMEOUT:g} s {missing}. "
                f"The end of {program.log}:\n{program.log_tail()}"
            ) from err

    async def _is_ready(self) -> bool:
        try:
            return (await self.admin.call("GET", "/readyz", timeout=5)).status == 200
        except (aiohttp.ClientConnectionError, ssl.SSLError, TimeoutError):
            return False

    async def _has_service_account(self) -> bool:
        path = "/api/v1/namespaces/default/serviceaccounts/default"
        return (await self.admin.call("GET", path)).status == 200

    async def _holds(self, marker: str, since: int) -> bool:
        return self._audit.holds(marker, since)


@asynccontextmanager
async def start_control_plane(directory: Path, options: Options | None = None) -> AsyncGenerator[ControlPlane]:
    """A control plane with its data and logs in a new folder below `directory` (123 MiB; need not be in memory).

    Builds the binaries first when there are none (minutes; see `build`). All processes are gone when the context
    ends, however it ends.
    """
    binaries = await ensure_binaries(os.environ)
    tries = AsyncRetrying(retry=retry_if_exception_type(PortTaken), stop=stop_after_attempt(5), reraise=True)
    plane: ControlPlane = await tries(_started, directory, binaries, options or Options())
    try:
        yield plane
    finally:
        plane.kill()


async def _started(directory: Path, binaries: Binaries, options: Options) -> ControlPlane:
    """A ready control plane; none of its processes is left when this fails."""
    directory.mkdir(parents=True, exist_ok=True)
    plane = ControlPlane(Path(tempfile.mkdtemp(prefix="control-plane-", dir=directory)), binaries, options)
    try:
        await plane.start()
    except BaseException:
        plane.kill()
        raise
    return plane


async def _run(directory: Path, console: Console) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with start_control_plane(directory) as plane:
        console.print(
            f"Kubernetes {plane.server_version} at {plane.server}. Logs: {plane.directory}. Ctrl-C stops it.",
            soft_wrap=True,
        )
        console.print(f"export KUBECONFIG={shlex.quote(str(plane.kubeconfig))}", soft_wrap=True)
        await stopped.wait()


def main() -> None:
    """Run one in the foreground, in the directory given, else in a temporary one that is removed at the end."""
    console = Console(highlight=False)
    if len(sys.argv) > 1:
        asyncio.run(_run(Path(sys.argv[1]).absolute(), console))
        return
    with tempfile.TemporaryDirectory(prefix="tapio-control-plane-") as folder:
        asyncio.run(_run(Path(folder), console))


if __name__ == "__main__":
    main()
