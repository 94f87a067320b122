"""`make bench-peers`: the raw limit, a kopf operator and this one, on the same API server and the same children."""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from benchmarks.peers.children import numbers, rendered
from benchmarks.peers.measuring import KOPF, LIMIT, Measurement, Setting, measure
from benchmarks.peers.report import Report, Run, replace_section
from benchmarks.work import CONCURRENT

app = typer.Typer(add_completion=False)
_ROOT = Path(__file__).parents[2]
_DOCUMENT, _PLOT = _ROOT / "docs" / "benchmarks.md", _ROOT / "docs" / "benchmarks-peers.svg"


@app.command()
def main(
    python: Annotated[Path, typer.Option(help="Interpreter of the environment that has kopf and matplotlib.")],
    clusters: Annotated[str, typer.Option(help="TapioClusters of a burst; several sizes with commas.")] = "40",
    latency: Annotated[str, typer.Option(help="Milliseconds of the simulator's API latency, with commas.")] = "0,20",
    workers: Annotated[str, typer.Option(help="Numbers of our workers, with commas.")] = "1,4",
    rounds: Annotated[int, typer.Option(help="Rounds; every other one goes the other way round.")] = 1,
    against: Annotated[str, typer.Option(help="simulator, control-plane or both.")] = "simulator",
    changes: Annotated[int, typer.Option(help="Changes a second of the steady scenario.")] = 50,
    seconds: Annotated[int, typer.Option(help="Length of the steady scenario.")] = 4,
    drift: Annotated[float, typer.Option(help="Share of the children that is edited.")] = 0.01,
    requests: Annotated[int, typer.Option(help="Requests at once of each process, but of the raw limit.")] = CONCURRENT,
    even: Annotated[bool, typer.Option(help="Choose names so that every partition has as many TapioClusters.")] = False,
    kopf: Annotated[bool, typer.Option(help="Measure the kopf operator too.")] = True,
    full: Annotated[
        bool, typer.Option("--full", help="200 and 1,000 clusters; 0, 5 and 20 ms; 1, 2 and 4 workers; 3 rounds.")
    ] = False,
    write: Annotated[bool, typer.Option(help="Put tables and plot into docs/.")] = True,
    keep: Annotated[Path | None, typer.Option(help="File that every measurement is added to, as JSON lines.")] = None,
    report_from: Annotated[Path | None, typer.Option(help="Measure nothing; report what such a file holds.")] = None,
) -> None:
    """Measure every subject in turn, and write docs/benchmarks.md's section on peers and its plot."""
    console = Console(width=140)
    if full:
        clusters, latency, workers, rounds, seconds = "200,1000", "0,5,20", "1,2,4", max(rounds, 3), max(seconds, 10)
    run = Run(
        machine=_machine(),
        cores=os.cpu_count() or 1,
        python=platform.python_version(),
        began=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        commit=_commit(),
    )
    if report_from is None:
        subjects = [LIMIT, *([KOPF] if kopf else []), *workers.split(",")]
        settings = [
            Setting(
                against=kind,
                latency=milliseconds,
                clusters=count,
                changes=changes,
                seconds=seconds,
                drift=drift,
                requests=requests,
            )
            for count in map(int, clusters.split(","))
            for kind in (("simulator", "control-plane") if against == "both" else (against,))
            for milliseconds in (map(int, latency.split(",")) if kind == "simulator" else (0,))
        ]
        measured = asyncio.run(_measure_all(console, settings, subjects, rounds, python, even=even))
    else:
        lines = report_from.read_bytes().splitlines()
        run = msgspec.json.decode(lines[0], type=Run)
        measured = [msgspec.json.decode(line, type=Measurement) for line in lines[1:]]
    if keep is not None and report_from is None:
        keep.write_bytes(b"\n".join(msgspec.json.encode(one) for one in (run, *measured)) + b"\n")
    report = Report(run, measured)
    console.print(report.markdown(), markup=False, soft_wrap=True)
    if write:
        _DOCUMENT.write_text(replace_section(_DOCUMENT.read_text(), report.markdown()))
        plot = [str(python), str(Path(__file__).parent / "beside" / "plot.py"), str(_PLOT)]
        subprocess.run(plot, input=msgspec.json.encode(report.plotted()), check=True)
        console.print(f"written: {_DOCUMENT.relative_to(_ROOT)}, {_PLOT.relative_to(_ROOT)}")


async def _measure_all(
    console: Console, settings: list[Setting], subjects: list[str], rounds: int, python: Path, *, even: bool
) -> list[Measurement]:
    measured: list[Measurement] = []
    for setting in settings:
        works = [rendered(number) for number in numbers(setting.clusters, even=even)]
        for number in range(rounds):
            for subject in subjects if number % 2 == 0 else reversed(subjects):
                began = time.perf_counter()
                with tempfile.TemporaryDirectory() as folder:
                    one = await measure(subject, number, setting, works, python=python, directory=Path(folder))
                measured.append(one)
                console.print(
                    f"{setting.against} +{setting.latency} ms, {setting.clusters} clusters, round {number + 1}: "
                    f"{subject}: burst {one.burst:.2f} s ({time.perf_counter() - began:.0f} s in all)"
                )
    return measured


def _machine() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    told = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


if __name__ == "__main__":
    app()
