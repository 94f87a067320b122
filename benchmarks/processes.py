"""What the benchmarks run: an API server (simulated or real), nats-server, and the operator's services as processes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.keys import DEFAULT_PARTITIONS
from tapio_shared.subprocesses import die_with_parent
from tests.control_plane.launcher import start_control_plane

PARTITIONS = str(DEFAULT_PARTITIONS)


@dataclass(slots=True)
class Measured:
    """One process and what it used."""

    name: str
    pid: int
    before: float = 0.0

    def start(self) -> None:
        """Begin to count CPU seconds."""
        times = psutil.Process(self.pid).cpu_times()
        self.before = times.user + times.system

    @property
    def cpu(self) -> float:
        """CPU seconds since `start`."""
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system - self.before

    @property
    def peak_mebibytes(self) -> float:
        """Highest resident memory so far (VmHWM)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0.0


@dataclass(frozen=True, slots=True)
class Samples:
    """Metrics of several processes: (process, name, labels) -> value."""

    values: Mapping[tuple[str, str, tuple[tuple[str, str], ...]], float]

    def since(self, before: Samples) -> Samples:
        """What was counted between `before` and these."""
        return Samples({key: value - before.values.get(key, 0.0) for key, value in self.values.items()})

    def histogram(self, service: str, name: str) -> dict[float, float]:
        """Cumulative buckets of one histogram of a service, summed over its processes and labels."""
        return {float(bound): value for bound, value in self.by_label(service, f"{name}_bucket", "le").items()}

    def by_label(self, service: str, name: str, label: str) -> dict[str, float]:
        """Values of one metric of a service by the value of a label, summed over processes and other labels."""
        found: dict[str, float] = {}
        for (process, sample, labels), value in self.values.items():
            if process.startswith(service) and sample == name:
                which = dict(labels).get(label, "")
                found[which] = found.get(which, 0.0) + value
        return found


@dataclass(slots=True)
class Operator:
    """The running services, and where their metrics are."""

    processes: list[Measured]
    metrics_ports: dict[str, int] = field(default_factory=dict[str, int])

    async def sampled(self) -> Samples:
        """All metrics of all services, at this moment."""
        values: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
        async with aiohttp.ClientSession() as session:
            for process, port in self.metrics_ports.items():
                async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                    text = await response.text()
                for family in text_string_to_metric_families(text):
                    for sample in family.samples:
                        values[process, sample.name, tuple(sorted(sample.labels.items()))] = sample.value
        return Samples(values)


@asynccontextmanager
async def api_server(
    kind: str, directory: Path, *, latency: float = 0.0
) -> AsyncGenerator[tuple[Path, list[Measured]]]:
    """A kubeconfig of an API server of `kind` (simulator, control-plane), without kubelet, and its processes.

    The simulator runs without its controllers: it is the one that can, and what they cost is not the operator's. It
    is also the one that can answer `latency` seconds later.
    """
    if kind == "control-plane":
        async with start_control_plane(directory) as plane:
            processes = [
                Measured(one.name(), one.pid)
                for one in psutil.Process().children(recursive=True)
                if one.name() in {"etcd", "kube-apiserver", "kube-controller"}
            ]
            yield plane.kubeconfig, processes
        return
    log = directory / "simulator.log"
    directory.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = await spawn(
            [
                sys.executable,
                "-m",
                "tapio_simulator",
                "--data",
                str(directory),
                "--no-controllers",
                "--latency",
                str(latency),
            ],
            dict(os.environ),
            output.fileno(),
        )
    try:
        while "ready " not in log.read_text():
            if process.returncode is not None:
                raise RuntimeError(log.read_text())
            await asyncio.sleep(0.05)
        yield Path(log.read_text().rpartition("ready ")[2].strip()), [Measured("simulator", process.pid)]
    finally:
        await end(process)


@asynccontextmanager
async def operator(kubeconfig: Path, directory: Path, *, workers: int = 1) -> AsyncGenerator[Operator]:
    """nats-server, the watcher and `workers` reconcilers, ready."""
    async with (
        EmbeddedNatsServer(directory / "nats") as nats,
        services(kubeconfig, directory, nats.url, workers=workers) as running,
    ):
        running.processes.insert(0, Measured("nats-server", nats.pid))
        yield running


@asynccontextmanager
async def services(kubeconfig: Path, directory: Path, nats_url: str, *, workers: int) -> AsyncGenerator[Operator]:
    """The watcher and `workers` reconcilers beside a nats-server that runs already, ready."""
    directory.mkdir(parents=True, exist_ok=True)
    running: list[tuple[str, Process]] = []
    try:
        for name in ("watcher", *(f"reconciler-{number}" for number in range(workers))):
            ports_file = directory / f"{name}.ports"
            ports_file.unlink(missing_ok=True)  # a former process's
            environment = {
                **os.environ,
                "TAPIO_NATS_URL": nats_url,
                "TAPIO_KUBECONFIG": str(kubeconfig),
                "TAPIO_NAME": name,
                "TAPIO_BIND_ADDRESS": "127.0.0.1",
                "TAPIO_HEALTH_PORT": "0",
                "TAPIO_METRICS_PORT": "0",
                "TAPIO_PARTITIONS": PARTITIONS,
                "TAPIO_PORTS_FILE": str(ports_file),
                "TAPIO_LOG_LEVEL": "warning",
            }
            with (directory / f"{name}.log").open("ab") as output:
                command = [sys.executable, "-m", f"tapio_{name.partition('-')[0]}"]
                running.append((name, await spawn(command, environment, output.fileno())))
        ports = {name: await _ready(directory / f"{name}.ports") for name, _ in running}
        yield Operator([Measured(name, process.pid) for name, process in running], ports)
    finally:
        for _, process in reversed(running):
            await end(process)


async def _ready(ports_file: Path) -> int:
    """Wait until a service is ready; answers its metrics port."""
    async with asyncio.timeout(600), aiohttp.ClientSession() as session:
        while True:
            if ports_file.exists():
                ports = cast("dict[str, int]", json.loads(ports_file.read_text()))
                async with session.get(f"http://127.0.0.1:{ports['health']}/readyz") as response:
                    if response.status == 200:
                        return ports["metrics"]
            await asyncio.sleep(0.1)


async def spawn(command: Sequence[str], environment: dict[str, str], output: int) -> Process:
    """A process that ends with this one; it writes to the file descriptor `output`."""
    return await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=output, stderr=output, preexec_fn=die_with_parent, start_new_session=True
    )


async def end(process: Process) -> None:
    """Ask a process to end, and wait until it has."""
    if process.returncode is None:
        process.terminate()
    await process.wait()
