"""One subject on one fresh API server, through every scenario."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec

from benchmarks.peers import scenarios
from benchmarks.peers.children import Rendered
from benchmarks.peers.subjects import Subject, own, peaks, peer
from benchmarks.processes import Measured, api_server
from benchmarks.work import CONCURRENT, create_namespace, install
from tapio_shared.adapters.kube_http import HttpKube

LIMIT, KOPF = "limit", "kopf"


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for all subjects of a round."""

    against: str
    """simulator or control-plane."""
    latency: int
    """Milliseconds that every answer of the simulator takes longer."""
    clusters: int
    changes: int
    """Changes a second, of the steady scenario."""
    seconds: int
    drift: float
    """Share of the children that is edited."""
    requests: int = CONCURRENT
    """Requests at once of each process, the raw limit's excepted."""


class Measurement(msgspec.Struct, kw_only=True):
    """What one subject did in one round. Seconds, unless they say otherwise."""

    setting: Setting
    subject: str
    round: int
    burst: float
    writes: int
    """Of the burst, until nothing more was written."""
    cpu: dict[str, float]
    """Milliseconds per TapioCluster of each process, until then."""
    steady: list[float]
    """Latencies, sorted."""
    steady_cpu: float
    """Milliseconds per change, of all processes of the subject."""
    drift: list[float]
    restart: float
    """Until ready, with everything converged."""
    restart_writes: int
    memory: dict[str, float]
    """Peak of each process, in MiB; the higher one of before and after the restart."""


async def measure(
    subject: str, number: int, setting: Setting, works: Sequence[Rendered], *, python: Path, directory: Path
) -> Measurement:
    """Take `subject` through a round. The first of `works` is not measured: it is there to begin with."""
    first, rest = works[0], works[1:]
    children = sum(len(work.children) for work in works)
    async with api_server(setting.against, directory / "api", latency=setting.latency / 1000) as (kubeconfig, servers):
        await install(kubeconfig)
        async with await HttpKube.connect(kubeconfig=str(kubeconfig)) as kube:
            await create_namespace(kube)
            written = scenarios.written_by(kube, setting.against)
            if subject == LIMIT:
                return await _by_hand(number, setting, kube, rest, written, servers)
            await scenarios.bound_requests(kube, setting.requests)
            async with _subject(subject, python, kubeconfig, directory, works, setting.requests) as running:
                await running.start(clusters=0, children=0)
                await scenarios.burst(kube, [first])
                before = await scenarios.rest(written)
                processes = [*running.processes, *servers]
                _start(processes)
                taken = await scenarios.burst(kube, rest)
                after = await scenarios.rest(written)
                cpu = {one.name: one.cpu / len(rest) * 1000 for one in processes}
                absent = await scenarios.missing(kube, works)
                if absent:
                    raise RuntimeError(f"{subject} left out {len(absent)} of {children} children: {absent[:5]}")
                _start(processes)
                latencies = await scenarios.steady(kube, rest, per_second=setting.changes, seconds=setting.seconds)
                changing = sum(one.cpu for one in running.processes)
                await scenarios.rest(written)
                drifts = await scenarios.drift(kube, rest, share=setting.drift)
                at_rest = await scenarios.rest(written)
                memory = peaks(running.processes)
                await running.stop()
                restarted = await running.start(clusters=len(works), children=children)
                written_since = await scenarios.rest(written) - at_rest
                for name, peak in peaks(running.processes).items():
                    memory[name] = max(memory.get(name, 0.0), peak)
                return Measurement(
                    setting=setting,
                    subject=subject,
                    round=number,
                    burst=taken,
                    writes=after - before,
                    cpu=cpu,
                    steady=latencies,
                    steady_cpu=changing / len(latencies) * 1000,
                    drift=drifts,
                    restart=restarted,
                    restart_writes=written_since,
                    memory=memory,
                )


async def _by_hand(
    number: int,
    setting: Setting,
    kube: HttpKube,
    works: Sequence[Rendered],
    written: scenarios.Written,
    servers: Sequence[Measured],
) -> Measurement:
    async with scenarios.watched(kube):
        before = await written()
        _start(servers)
        taken = await scenarios.burst_by_hand(kube, works)
        cpu = {one.name: one.cpu / len(works) * 1000 for one in servers}
        after = await written()
        latencies = await scenarios.steady(
            kube, works, per_second=setting.changes, seconds=setting.seconds, by_hand=True
        )
        drifts = await scenarios.drift(kube, works, share=setting.drift, by_hand=True)
    return Measurement(
        setting=setting,
        subject=LIMIT,
        round=number,
        burst=taken,
        writes=after - before,
        cpu=cpu,
        steady=latencies,
        steady_cpu=0.0,
        drift=drifts,
        restart=0.0,
        restart_writes=0,
        memory={},
    )


def _subject(
    subject: str, python: Path, kubeconfig: Path, directory: Path, works: Sequence[Rendered], requests: int
) -> AbstractAsyncContextManager[Subject]:
    """`kopf`, or the number of our workers."""
    if subject == KOPF:
        return peer(python, kubeconfig, directory / "peer", works, requests)
    return own(int(subject), kubeconfig, directory / "own")


def _start(processes: Sequence[Measured]) -> None:
    for one in processes:
        one.start()
