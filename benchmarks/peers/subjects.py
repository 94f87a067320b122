"""Who is measured: nobody (the raw limit), a kopf operator, and this operator with so many workers.

Each runs on an API server of its own. A subject that runs can be stopped and started again, as an upgrade would.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks.peers.children import Rendered, write_documents
from benchmarks.processes import Measured, end, services, spawn
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.api.kinds import MANAGED_KINDS
from tapio_shared.api.labels import MANAGED_SELECTOR

_PEER = Path(__file__).parent / "beside" / "kopf_operator.py"
_OPTIONAL = ("monitoring.coreos.com", "gateway.networking.k8s.io", "autoscaling.k8s.io", "autoscaling", "policy")
"""Groups that not every server has, or not in one version; nothing that is measured is of them."""
_START = 300.0
"""Seconds a subject may take to be ready."""


class Subject(Protocol):
    """Something that brings TapioClusters to their state, in processes of its own."""

    @property
    def name(self) -> str: ...

    @property
    def processes(self) -> Sequence[Measured]:
        """Those that run now, without the API server."""
        ...

    async def start(self, *, clusters: int, children: int) -> float:
        """Start it; answers the seconds until it has dealt with all there is, which is so much."""
        ...

    async def stop(self) -> None:
        """Stop what a restart stops."""
        ...


@dataclass(slots=True)
class Peer:
    """The kopf operator, run by the interpreter of its own environment."""

    python: Path
    kubeconfig: Path
    directory: Path
    works: Sequence[Rendered]
    requests: int
    name: str = "kopf"
    processes: Sequence[Measured] = ()
    _process: asyncio.subprocess.Process | None = None

    async def start(self, *, clusters: int, children: int) -> float:
        documents, progress = self.directory / "documents", self.directory / "progress"
        if not documents.exists():
            write_documents(documents, self.works)
        progress.unlink(missing_ok=True)
        watches = [(one.group, one.versions[0], one.plural) for one in MANAGED_KINDS if one.group not in _OPTIONAL]
        environment = {
            **os.environ,
            "PEER_KUBECONFIG": str(self.kubeconfig),
            "PEER_DOCUMENTS": str(documents),
            "PEER_PROGRESS": str(progress),
            "PEER_WATCHES": json.dumps([*watches, ("", "v1", "secrets")]),
            "PEER_SELECTOR": MANAGED_SELECTOR,
            "PEER_CONCURRENT": str(self.requests),
        }
        began = time.perf_counter()
        with (self.directory / "peer.log").open("ab") as output:
            self._process = await spawn([str(self.python), str(_PEER)], environment, output.fileno())
        self.processes = [Measured("kopf", self._process.pid)]
        async with asyncio.timeout(_START):
            while not _is_through(progress, clusters, children):
                if self._process.returncode is not None:
                    raise RuntimeError((self.directory / "peer.log").read_text())
                await asyncio.sleep(0.05)
        return time.perf_counter() - began

    async def stop(self) -> None:
        if self._process is not None:
            await end(self._process)
        self.processes = ()


def _is_through(progress: Path, clusters: int, children: int) -> bool:
    told = progress.read_text().split() if progress.exists() else []
    return len(told) == 2 and int(told[0]) >= clusters and int(told[1]) >= children


@dataclass(slots=True)
class Own:
    """This operator: a nats-server that stays, a watcher and so many workers."""

    workers: int
    kubeconfig: Path
    directory: Path
    nats: EmbeddedNatsServer
    processes: Sequence[Measured] = ()
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def name(self) -> str:
        return f"tapio, {self.workers} worker{'s' if self.workers > 1 else ''}"

    async def start(self, *, clusters: int, children: int) -> float:
        """Readiness says that every key was planned, so that there is no need to count them."""
        del clusters, children
        began = time.perf_counter()
        running = await self._stack.enter_async_context(
            services(self.kubeconfig, self.directory, self.nats.url, workers=self.workers)
        )
        self.processes = [Measured("nats-server", self.nats.pid), *running.processes]
        return time.perf_counter() - began

    async def stop(self) -> None:
        await self._stack.aclose()
        self.processes = ()


@asynccontextmanager
async def peer(
    python: Path, kubeconfig: Path, directory: Path, works: Sequence[Rendered], requests: int
) -> AsyncGenerator[Subject]:
    """The kopf operator, not started yet."""
    directory.mkdir(parents=True, exist_ok=True)
    subject = Peer(python, kubeconfig, directory, works, requests)
    try:
        yield subject
    finally:
        await subject.stop()


@asynccontextmanager
async def own(workers: int, kubeconfig: Path, directory: Path) -> AsyncGenerator[Subject]:
    """This operator, not started yet, with its nats-server, which is."""
    directory.mkdir(parents=True, exist_ok=True)
    async with EmbeddedNatsServer(directory / "nats") as nats:
        subject = Own(workers, kubeconfig, directory, nats)
        try:
            yield subject
        finally:
            await subject.stop()


def peaks(processes: Iterable[Measured]) -> dict[str, float]:
    """Highest resident memory of each process so far, in MiB."""
    return {one.name: one.peak_mebibytes for one in processes}
