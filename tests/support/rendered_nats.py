"""The NATS that a TapioCluster would have, on loopback: its configuration, with real passwords and certificates.

Only what a machine forces is replaced: hosts, ports, and the paths of volumes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.error
import urllib.request
from asyncio.subprocess import Process
from dataclasses import dataclass, field
from pathlib import Path

from tapio_reconciler.core.model import CertificateSecret, MadeSecret, Rendered
from tapio_reconciler.core.objects import nats_users
from tapio_reconciler.core.objects.nats_configuration import CERTIFICATES, PID_FILE, STORE
from tapio_reconciler.shell.certificates import certificates
from tapio_shared.adapters.clock import SystemClock
from tapio_shared.adapters.nats_server import find_binary
from tapio_shared.json import JsonObject, JsonValue, object_at, objects_at, str_at
from tapio_shared.subprocesses import die_with_parent, free_port
from tests.support.eventually import eventually
from tests.support.rendered import objects_of

LOOPBACK = "127.0.0.1"


@dataclass
class RenderedServer:
    """One of the servers, as its pod would run it."""

    name: str
    folder: Path
    client: int
    monitor: int
    environment: dict[str, str]
    process: Process | None = None

    @property
    def configuration(self) -> Path:
        return self.folder / "nats.conf"

    async def start(self) -> None:
        """Start the process; it is up when `healthy` says so."""
        with (self.folder / "nats.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                find_binary(),
                "--config",
                str(self.configuration),
                stdout=log,
                stderr=log,
                env=self.environment,
                preexec_fn=die_with_parent,
                start_new_session=True,
            )

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        process, self.process = self.process, None
        if process is not None and process.returncode is None:
            process.send_signal(number)
            await process.wait()

    async def healthy(self, query: str = "") -> bool:
        """Whether the probe `/healthz` with `query` succeeds."""
        return await asyncio.to_thread(self._healthy, query)

    def _healthy(self, query: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.monitor}/healthz{query}", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@dataclass
class RenderedNats:
    """All servers of a rendered cluster, and the password of every user."""

    servers: list[RenderedServer]
    passwords: dict[str, str]
    ca: Path | None
    folder: Path
    streams: JsonObject = field(default_factory=dict[str, JsonValue])
    """The stream keeper's configuration, as rendered, with the servers of this machine."""

    @property
    def urls(self) -> list[str]:
        scheme = "tls" if self.ca else "nats"
        return [f"{scheme}://{LOOPBACK}:{one.client}" for one in self.servers]

    async def __aenter__(self) -> RenderedNats:
        for server in self.servers:
            await server.start()
        for server in self.servers:
            await eventually(server.healthy, seconds=30)
        return self

    async def __aexit__(self, *error: object) -> None:
        for server in self.servers:
            await server.stop()


def rendered_nats(found: Rendered, folder: Path) -> RenderedNats:
    """Write the configurations of the servers of a rendered cluster below `folder`."""
    objects = objects_of(found)
    nats = next(one for one in found.components if one.name == "nats")
    config = next(one for one in nats.objects if str_at(one, "metadata", "name").endswith("nats-config"))
    workload = next(one for one in nats.objects if str_at(one, "kind") == "StatefulSet")
    count = object_at(workload, "spec")["replicas"]
    assert isinstance(count, int)
    name, headless = str_at(workload, "metadata", "name"), str_at(workload, "spec", "serviceName")
    namespace = str_at(workload, "metadata", "namespace")
    passwords = {user: f"t{user}7" for user in nats_users.passwords(nats_users.users({}))}
    ca = _write_certificates(nats.secrets, folder)
    containers = objects_at(workload, "spec", "template", "spec", "containers")
    environment = _environment(containers[0], passwords)
    routes = [free_port() for _ in range(count)]
    servers: list[RenderedServer] = []
    for number in range(count):
        own = folder / f"{name}-{number}"
        own.mkdir(parents=True)
        server = RenderedServer(
            f"{name}-{number}", own, free_port(), free_port(), {**environment, "POD_NAME": f"{name}-{number}"}
        )
        text = str_at(config, "data", "nats.conf")
        for other, port in enumerate(routes):
            text = text.replace(f"{name}-{other}.{headless}.{namespace}.svc:6222", f"{LOOPBACK}:{port}")
        for was, now in (
            ("0.0.0.0:4222", f"{LOOPBACK}:{server.client}"),
            ("0.0.0.0:8222", f"{LOOPBACK}:{server.monitor}"),
            ("0.0.0.0:6222", f"{LOOPBACK}:{routes[number]}"),
            (f'"{STORE}"', f'"{own / "store"}"'),
            (PID_FILE, str(own / "nats.pid")),
            (CERTIFICATES, str(folder)),
        ):
            text = text.replace(was, now)
        server.configuration.write_text(text)
        servers.append(server)
    made = RenderedNats(servers, passwords, ca, folder)
    made.streams = _streams(objects, made)
    return made


def _environment(container: JsonObject, passwords: dict[str, str]) -> dict[str, str]:
    """What nats.conf names by `$VARIABLE`: the users' passwords. People's own variables may name Secrets of theirs."""
    found = {"PATH": os.environ["PATH"]}
    for one in objects_at(container, "env"):
        key = str_at(one, "valueFrom", "secretKeyRef", "key")
        if key in passwords:
            found[str_at(one, "name")] = passwords[key]
    return found


def _write_certificates(secrets: tuple[MadeSecret, ...], folder: Path) -> Path | None:
    for secret in secrets:
        if isinstance(secret, CertificateSecret):
            folder.mkdir(parents=True, exist_ok=True)
            for key, value in certificate_values(secret).items():
                (folder / key).write_bytes(value)
            return folder / "ca.crt"
    return None


def certificate_values(secret: CertificateSecret) -> dict[str, bytes]:
    """Certificates as the shell makes them, valid now."""
    values, _ = certificates(secret, {}, SystemClock().now())
    return values


def _streams(objects: list[JsonObject], nats: RenderedNats) -> JsonObject:
    config = next(one for one in objects if str_at(one, "data", "streams.json"))
    document: JsonObject = json.loads(str_at(config, "data", "streams.json"))
    return {**document, "servers": [*nats.urls], "ca": "" if nats.ca is None else str(nats.ca)}
