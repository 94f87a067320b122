"""`python -m tests.campaign FROM-TO`: run the schedules of these seeds; tell what broke, and how often faults fired."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from tests.campaign.kinds import EXPECTED
from tests.campaign.pool import outcomes_of, quiet
from tests.campaign.running import Outcome, run
from tests.campaign.schedule import drawn, keep, kept
from tests.campaign.shrinking import shrunk

ENOUGH = 300
"""From this many schedules on, a fault that never fired fails the run."""
_BAR = 30


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument(
        "seeds", help="FROM-TO, both included; one seed; or files of schedules that were kept", nargs="+"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--stop", action="store_true", help="end with the first seed that breaks a law")
    parser.add_argument("--shrink", action="store_true", help="leave out of a failing schedule what it does not need")
    parser.add_argument("--minutes", type=float, default=0.0, help="end after so long with the seeds done by then")
    parser.add_argument("--told", action="store_true", help="show what happened in each schedule")
    parser.add_argument("--dense", action="store_true", help="three times as many events in each, and more of all")
    given = parser.parse_args(arguments)
    began, outcomes = time.perf_counter(), list[Outcome]()
    for outcome in _watched(*_asked(given.seeds, given.jobs, is_dense=given.dense), sys.stderr):
        outcomes.append(outcome)
        if outcome.broken or given.told:
            print(told(outcome, is_dense=given.dense), flush=True)
        if outcome.broken and given.shrink:
            print(_smaller(outcome.seed, is_dense=given.dense), flush=True)
        if (outcome.broken and given.stop) or 0 < given.minutes * 60 < time.perf_counter() - began:
            break
    return report(outcomes, time.perf_counter() - began, sys.stdout)


def told(outcome: Outcome, *, is_dense: bool = False) -> str:
    """What broke in one schedule, and how it is run again."""
    lines = [
        f"seed {outcome.seed}: {'BROKEN' if outcome.broken else 'ok'} ({outcome.virtual:.0f} s, log {outcome.digest})"
    ]
    lines += [f"  law: {one:.600}" for one in outcome.broken[:8]]
    lines += [f"  {one}" for one in outcome.told]
    if outcome.broken:
        lines.append(f"  again: make campaign SEEDS={outcome.seed}{' ARGS=--dense' * is_dense}")
    return "\n".join(lines)


def report(outcomes: list[Outcome], seconds: float, out: TextIO) -> int:
    """The table of what fired, and the sum of it all; answers the exit code."""
    fired: Counter[str] = sum((outcome.fired for outcome in outcomes), Counter[str]())
    in_how_many: Counter[str] = Counter(name for outcome in outcomes for name, often in outcome.fired.items() if often)
    width = max(len(name) for name in EXPECTED)
    print(f"\n{'fault':{width}}  {'times':>9}  {'schedules':>9}", file=out)
    for name in EXPECTED:
        print(f"{name:{width}}  {fired[name]:>9,}  {in_how_many[name]:>9,}", file=out)
    counts: Counter[str] = sum((outcome.counts for outcome in outcomes), Counter[str]())
    broken = sorted(outcome.seed for outcome in outcomes if outcome.broken)
    never = [name for name in EXPECTED if not fired[name]] if len(outcomes) >= ENOUGH else []
    print(
        f"\n{len(outcomes):,} schedules in {seconds:,.0f} s ({len(outcomes) / (seconds or 1) * 3600:,.0f} an hour, "
        f"{sum(outcome.cpu for outcome in outcomes) / max(len(outcomes), 1):.2f} s of CPU each), "
        f"{sum(outcome.virtual for outcome in outcomes) / 3600:,.0f} hours of virtual time; "
        f"{counts['messages']:,} messages, {counts['decisions']:,} decisions replayed, {counts['writes']:,} writes.",
        file=out,
    )
    if never:
        print(f"Never fired, so this run proves nothing of it: {', '.join(never)}.", file=out)
    if broken:
        print(f"Broken: {len(broken)} seeds: {', '.join(map(str, broken))}.", file=out)
    else:
        print("Every law held in every schedule.", file=out)
    return 1 if broken or never else 0


def _asked(seeds: Sequence[str], jobs: int, *, is_dense: bool) -> tuple[Iterable[Outcome], int]:
    """The outcomes of what the command line names, and how many there will be."""
    if seeds[0].endswith(".json"):
        return (run(kept(Path(one))) for one in seeds), len(seeds)
    first, _, last = seeds[0].partition("-")
    numbers = range(int(first), int(last or first) + 1)
    return outcomes_of(numbers, min(jobs, len(numbers)), is_dense=is_dense), len(numbers)


def _smaller(seed: int, *, is_dense: bool) -> str:
    """A smaller schedule that fails too, kept in a file of the working directory."""
    schedule, outcome = shrunk(drawn(seed, is_dense=is_dense))
    path = Path(f"seed-{seed}.json")
    keep(schedule, path)
    numbers = ", ".join(str(event.number) for event in schedule.events)
    why = outcome.broken[0] if outcome.broken else "nothing"
    return f"  smaller: the events {numbers} alone break {why:.300}\n  again: python -m tests.campaign {path}"


def _watched(outcomes: Iterable[Outcome], total: int, out: TextIO) -> Iterator[Outcome]:
    """The same, with a bar on a terminal, and a line every 100 schedules elsewhere."""
    broken, began = 0, time.perf_counter()
    for done, outcome in enumerate(outcomes, start=1):
        broken += bool(outcome.broken)
        rate = done / (time.perf_counter() - began)
        if out.isatty():
            filled = _BAR * done // total
            bar = "#" * filled + "." * (_BAR - filled)
            left = (total - done) / rate
            print(f"\r[{bar}] {done}/{total}, {broken} broken, {left:.0f} s left ", end="", file=out, flush=True)
        elif done % 100 == 0:
            print(f"{done}/{total}, {broken} broken, {rate * 3600:,.0f} an hour", file=out, flush=True)
        yield outcome
    if out.isatty():
        print(file=out)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of text are ordered by it: without it a seed would not be the same schedule in every process.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.campaign", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    quiet()
    sys.exit(main())
