"""`make bench`: the operator beside the raw limit of the same API server, in one run; prints a table."""

from __future__ import annotations

import asyncio
import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.history import measure_history
from benchmarks.processes import Measured, Samples, api_server, services
from benchmarks.work import burst, create_namespace, install, raw_limit, steady, work_of
from tapio_shared.adapters.kube_http import HttpKube
from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_log import NatsEventLog
from tapio_shared.adapters.nats_server import EmbeddedNatsServer
from tapio_shared.ports import LogInfo

app = typer.Typer(add_completion=False)
_QUIET = 5.0
"""Seconds without a new message after which the work before counts as done."""
STAGES = (
    ("watcher: told to durable", "watcher", "tapio_watcher_append_seconds"),
    ("worker: plan", "reconciler", "tapio_reconciler_plan_seconds"),
    ("worker: decision durable", "reconciler", "tapio_reconciler_record_seconds"),
    ("worker: apply", "reconciler", "tapio_reconciler_apply_seconds"),
    ("worker: fact to last write", "reconciler", "tapio_reconciler_fact_to_applied_seconds"),
)


@app.command()
def main(
    clusters: Annotated[int, typer.Option(help="TapioClusters that are created at once.")] = 50,
    against: Annotated[str, typer.Option(help="simulator, control-plane or both.")] = "both",
    changes: Annotated[int, typer.Option(help="Changes per second of the steady part.")] = 20,
    seconds: Annotated[int, typer.Option(help="Length of the steady part.")] = 10,
    idle: Annotated[int, typer.Option(help="Seconds for which a converged operator is watched.")] = 60,
    workers: Annotated[int, typer.Option(help="Reconciler workers.")] = 1,
    only: Annotated[str, typer.Option(help="operator, history or both.")] = "both",
    messages: Annotated[int, typer.Option(help="Length of the history.")] = 1_000_000,
    history: Annotated[
        Path | None, typer.Option(help="Folder in which the history is kept for the next time; making it takes long.")
    ] = None,
) -> None:
    """Measure the operator beside the raw limit of the same API server, and the commands on a long history."""
    console = Console(width=120)
    stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    console.print(
        f"{stamp} UTC, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"{clusters} clusters, {workers} worker(s)"
    )
    if only != "history":
        for kind in ("simulator", "control-plane") if against == "both" else (against,):
            asyncio.run(_measure(console, kind, clusters, changes, seconds, idle, workers))
    if only != "operator":
        with tempfile.TemporaryDirectory() as scratch:
            measure_history(console, history or Path(scratch), messages, clusters=max(messages // 2_000, 1))


async def _measure(
    console: Console, kind: str, clusters: int, changes: int, seconds: int, idle: int, workers: int
) -> None:
    works = [work_of(number) for number in range(clusters)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        async with api_server(kind, root / "raw") as (kubeconfig, _):
            await install(kubeconfig)
            async with await HttpKube.connect(kubeconfig=str(kubeconfig)) as kube:
                await create_namespace(kube)
                limit = await raw_limit(kube, works)
        async with api_server(kind, root / "operated") as (kubeconfig, servers):
            await install(kubeconfig)
            directory = root / "operator"
            async with (
                await HttpKube.connect(kubeconfig=str(kubeconfig)) as kube,
                EmbeddedNatsServer(directory / "nats") as nats,
            ):
                async with services(kubeconfig, directory, nats.url, workers=workers) as running:
                    await create_namespace(kube)
                    measured = [Measured("nats-server", nats.pid), *running.processes, *servers]
                    for one in measured:
                        one.start()
                    taken = await burst(kube, works)
                    _report_burst(console, kind, clusters, works[0].writes, limit, taken, measured)
                    await _quiet(directory)
                    _report_calls(console, await running.sampled(), clusters)
                    before = await running.sampled()
                    latencies = await steady(kube, works, per_second=changes, seconds=seconds)
                    _report_steady(console, (await running.sampled()).since(before), latencies, changes)
                    await _report_history(console, directory, clusters, idle)
                began = time.perf_counter()
                told = await _log_info(directory)
                async with services(kubeconfig, directory, nats.url, workers=workers) as running:
                    ready = time.perf_counter() - began
                    appended = (await _quiet(directory)).last_sequence - told.last_sequence
                    _report_restart(console, await running.sampled(), running.processes, ready, appended, clusters)


def _report_burst(
    console: Console, kind: str, clusters: int, writes: int, limit: float, taken: float, measured: list[Measured]
) -> None:
    table = Table(title=f"{kind}: {clusters} clusters x {writes} writes at once", title_justify="left")
    for column in ("what", "value"):
        table.add_column(column)
    table.add_row("raw limit (64 concurrent requests, no operator)", f"{limit:.2f} s")
    table.add_row("operator, until all are applied", f"{taken:.2f} s")
    table.add_row("ratio (aim 1.25)", f"{taken / limit:.2f}")
    for one in measured:
        table.add_row(
            f"{one.name}: CPU per cluster, peak memory",
            f"{one.cpu / clusters * 1000:.1f} ms, {one.peak_mebibytes:.0f} MiB",
        )
    console.print(table)


def _report_calls(console: Console, counted: Samples, clusters: int) -> None:
    """What was asked of the API server until every cluster was at rest, waits and echoes included."""
    table = Table(title="until at rest: per cluster", title_justify="left")
    for column in ("service", "what", "count"):
        table.add_column(column)
    for service in ("watcher", "reconciler"):
        for verb, count in sorted(counted.by_label(service, "tapio_kube_requests_total", "verb").items()):
            table.add_row(service, f"API calls: {verb}", f"{count / clusters:.2f}")
    for result, count in sorted(counted.by_label("reconciler", "tapio_reconciler_plans_total", "result").items()):
        table.add_row("reconciler", f"plans: {result}", f"{count / clusters:.2f}")
    for kind, count in sorted(counted.by_label("watcher", "tapio_watcher_facts_published_total", "type").items()):
        table.add_row("watcher", f"facts: {kind}", f"{count / clusters:.2f}")
    console.print(table)


def _report_steady(console: Console, counted: Samples, latencies: list[float], changes: int) -> None:
    table = Table(title=f"{changes} changes/s: spec changed to StatefulSet seen changed", title_justify="left")
    for column in ("stage", "p50", "p99"):
        table.add_column(column)
    table.add_row(
        "end to end, seen by a client", _milliseconds(_at(latencies, 0.5)), _milliseconds(_at(latencies, 0.99))
    )
    for title, service, name in STAGES:
        buckets = counted.histogram(service, name)
        table.add_row(title, _milliseconds(_quantile(buckets, 0.5)), _milliseconds(_quantile(buckets, 0.99)))
    console.print(table)


async def _report_history(console: Console, directory: Path, clusters: int, idle: int) -> None:
    """What a converged operator adds to the log: counted while idle, and extrapolated to a day."""
    before = await _quiet(directory)
    await asyncio.sleep(idle)
    after = await _log_info(directory)
    messages = after.last_sequence - before.last_sequence
    per_day = (after.bytes - before.bytes) / clusters * 86_400 / idle
    console.print(
        f"idle for {idle} s at reconcileInterval 30s: {messages} messages, {after.bytes - before.bytes} bytes; "
        f"extrapolated {per_day / 1e6:.3f} MB per cluster and day (aim 1)"
    )


def _report_restart(
    console: Console, counted: Samples, processes: list[Measured], ready: float, appended: int, clusters: int
) -> None:
    """What it took all services to begin anew while nothing had changed."""
    table = Table(title=f"restart of a converged operator, {clusters} clusters", title_justify="left")
    for column in ("what", "value"):
        table.add_column(column)
    table.add_row("from the start of the processes until all are ready (aim 5 s)", f"{ready:.1f} s")
    for service in ("watcher", "reconciler"):
        verbs = counted.by_label(service, "tapio_kube_requests_total", "verb")
        said = ", ".join(f"{count:.0f} {verb}" for verb, count in sorted(verbs.items()))
        table.add_row(f"{service}: API calls (aim: no writes but those of the Lease)", said or "none")
    table.add_row("messages appended to the log", str(appended))
    for one in processes:
        table.add_row(f"{one.name}: CPU, peak memory", f"{one.cpu:.1f} s, {one.peak_mebibytes:.0f} MiB")
    console.print(table)


async def _quiet(directory: Path) -> LogInfo:
    """The log once nothing was added to it for some seconds."""
    last = await _log_info(directory)
    while True:
        await asyncio.sleep(_QUIET)
        now = await _log_info(directory)
        if now.last_sequence == last.last_sequence:
            return now
        last = now


async def _log_info(directory: Path) -> LogInfo:
    port = (directory / "nats" / "nats.conf").read_text().partition("127.0.0.1:")[2].split()[0]
    connection = await NatsConnection.connect([f"nats://127.0.0.1:{port}"], name="bench")
    try:
        return await NatsEventLog(connection).info()
    finally:
        await connection.close()


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("nan")


def _quantile(buckets: dict[float, float], share: float) -> float:
    """Upper bound of the bucket that holds the quantile, interpolated linearly within it."""
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    low, count = 0.0, 0.0
    for bound in bounds:
        if total and buckets[bound] >= share * total:
            inside = buckets[bound] - count
            return (
                low
                if bound == float("inf")
                else low + (bound - low) * ((share * total - count) / inside if inside else 1)
            )
        low, count = bound, buckets[bound]
    return float("nan")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


if __name__ == "__main__":
    app()
