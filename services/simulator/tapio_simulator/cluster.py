"""A simulated cluster as tests and `make run` use it: API server, base objects, credentials, TLS port."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tapio_shared.json import JsonObject
from tapio_shared.ports import Clock, Random
from tapio_simulator.admission import WebhookCaller
from tapio_simulator.api import ApiServer, Options
from tapio_simulator.calls import ADMIN, User
from tapio_simulator.faults import Faults
from tapio_simulator.http import serve
from tapio_simulator.kube import SimulatorKube
from tapio_simulator.kubeconfig import write_kubeconfig
from tapio_simulator.tls import client_pair, new_authority, server_context, serving_pair
from tapio_simulator.writes import WriteLog

BASE_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a served cluster is reached."""

    url: str
    kubeconfig: Path


class SimulatedCluster:
    """One simulated Kubernetes cluster. `writes` is the oracle of what clients wrote; `faults` makes it misbehave."""

    def __init__(
        self, clock: Clock, random: Random, *, webhooks: WebhookCaller | None = None, options: Options | None = None
    ) -> None:
        self._clock = clock
        self.api = ApiServer(clock, random, webhooks=webhooks, options=options)

    @property
    def writes(self) -> WriteLog:
        return self.api.writes

    @property
    def faults(self) -> Faults:
        return self.api.faults

    def kube(self, user: User = ADMIN, *, user_agent: str = "tapio") -> SimulatorKube:
        """A client in this process, acting as `user`."""
        return SimulatorKube(self.api, user=user, user_agent=user_agent)

    async def prepare(self) -> None:
        """Create what a fresh cluster has before anybody uses it."""
        kube = self.kube(User("system:apiserver", ("system:masters",)), user_agent="kube-apiserver")
        for name in BASE_NAMESPACES:
            document: JsonObject = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            await kube.request("POST", "/api/v1/namespaces", body=msgspec.json.encode(document))

    @asynccontextmanager
    async def serve(self, folder: Path, *, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[Endpoint]:
        """Serve the cluster over TLS; certificates and `kubeconfig` go to `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        now = self._clock.now()
        authority = new_authority(now)
        context = server_context(serving_pair(authority, ("127.0.0.1", "localhost", host), now), authority, folder)
        async with serve(self.api, host=host, port=port, context=context) as actual:
            url = f"https://{host}:{actual}"
            path = folder / "kubeconfig"
            client = client_pair(authority, ADMIN.name, ("system:masters",), now)
            write_kubeconfig(path, server=url, authority=authority.certificate_pem, user=ADMIN.name, client=client)
            yield Endpoint(url, path)
