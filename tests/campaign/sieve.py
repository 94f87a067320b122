"""Sieve's three patterns (OSDI '22) against every single thing the operator does: `python -m tests.campaign.sieve`.

*Intermediate state*: the process that writes dies right before, or right after, each of its writes, to Kubernetes and
to the log. *Stale state*: after each decision watcher and worker fail over to successors that are shown the past, by
the API server's cache, by all of it, or by a replica of the log. *Unobserved state*: each event of each watch goes
unheard, alone or with all that follows of its object, until the next list. Every end is compared with the undisturbed
run's, by what the simulator stored and wrote down itself. See docs/sieve-and-acto.md.
"""

from __future__ import annotations

import argparse
import gc
import logging
import shlex
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from tapio_reconciler.core.rules import NEWEST
from tests.campaign.sieve_ends import End, differences, end_of, more
from tests.campaign.sieve_forks import Forks, remember_loop
from tests.campaign.sieve_operator import StruckOperator
from tests.campaign.sieve_process import Choose, Moment, Strike, nowhere
from tests.campaign.sieve_scenarios import SCENARIOS, Scenario
from tests.support.virtual_time import run_virtually

PATTERNS: dict[str, tuple[Moment, ...]] = {
    "intermediate": ("before", "after"),
    "stale": ("decision",),
    "unobserved": ("event",),
}
SHOWN = 12
"""Differences of one case that are printed."""


@dataclass(slots=True)
class Reference:
    """The undisturbed run."""

    end: End
    points: Counter[Moment]


@dataclass(slots=True)
class Chooser:
    """Strikes wherever a case is asked for: in copies of the run, or in the run itself when it is one case alone."""

    operator: StruckOperator
    forks: Forks
    patterns: Sequence[str]
    every: int = 1
    only: str = ""
    """The one case to run, without a copy."""
    scenario: str = ""
    began: int = 0
    """Version of the API server when the scenario's act began."""
    stored: int = 0
    """Messages that the log held then."""
    points: Counter[Moment] = field(default_factory=Counter[Moment])
    cases: Counter[str] = field(default_factory=Counter[str])
    _asked: int = 0

    def __call__(self, moment: Moment, name: str) -> Strike | None:
        self.points[moment] += 1
        pattern = next(pattern for pattern, moments in PATTERNS.items() if moment in moments)
        if pattern not in self.patterns:
            return None
        for strike in self._strikes(moment):
            self._asked += 1
            case = f"{self.scenario} / {moment} / {name} / {_told(strike)}"
            if self.only:
                if case == self.only:
                    return strike
                continue
            if self._asked % self.every:
                continue
            self.cases[pattern] += 1
            if self.forks.fork(case):
                return strike
        return None

    def _strikes(self, moment: Moment) -> list[Strike]:
        match moment:
            case "before" | "after":
                return [Strike("crash")]
            case "event":
                return [Strike("event"), Strike("object")]
            case "decision":
                now, decided = self.operator.cluster.api.store.version, self.operator.decided
                former = [one for one in decided if one < now]
                versions = sorted({self.began, former[-1] if former else self.began, *self._edits(), now})
                lags = sorted({1, 5, max(len(self.operator.log.stored) - self.stored, 1)})
                return [
                    *(Strike(kind, version=version) for version in versions for kind in ("cache", "past")),
                    *(Strike("lag", lag=lag) for lag in lags),
                ]

    def _edits(self) -> list[int]:
        """Versions of the API server at which somebody had just changed the spec of a TapioCluster."""
        events = self.operator.cluster.api.store.table("tapioclusters.tapio.io").events
        return [
            event.version
            for event in events
            if event.version > self.began
            and event.before is not None
            and event.before.document.get("spec") != event.after.document.get("spec")
        ]


def _told(strike: Strike) -> str:
    match strike.kind:
        case "past" | "cache":
            return f"{strike.kind} of version {strike.version}"
        case "lag":
            return f"lag of {strike.lag}"
        case kind:
            return kind


async def play(
    scenario: Scenario, seed: int, choose: Callable[[StruckOperator], Choose]
) -> tuple[End, Counter[Moment], StruckOperator]:
    """One run of `scenario`; answers its end, and how often what moment came during its act."""
    operator = StruckOperator(seed)
    await operator.prepare()
    await operator.configure(f"plannerLogic: {NEWEST}")
    if scenario.before is None:
        since = operator.cluster.writes.total
        operator.choose = choose(operator)
        operator.begin()
    else:
        operator.begin()
        await scenario.before(operator)
        await operator.settle(lambda: True)
        since = operator.cluster.writes.total
        operator.choose = choose(operator)
    await scenario.act(operator)
    await operator.settle(lambda: scenario.done(operator))
    end = end_of(operator.cluster, since=since)
    return end, operator_points(operator), operator


def operator_points(operator: StruckOperator) -> Counter[Moment]:
    found: Counter[Moment] = Counter()
    for (moment, _), count in operator.named.items():
        found[moment] += count
    return found


def problems(wanted: End, found: End, operator: StruckOperator) -> list[str]:
    """What of the end of a case is not as in the undisturbed run."""
    wrong = list(differences(wanted, found))
    wrong += [f"deleted and should not have been: {one}" for one in more(found.deleted, wanted.deleted)]
    wrong += [f"made once more than it should: {one}" for one in more(found.secrets, wanted.secrets)]
    wrong += [f"written without a decision that says so: {one}" for one in operator.kube.unrecorded()]
    return wrong


async def _enumerate(scenario: Scenario, arguments: Arguments, forks: Forks) -> Chooser:
    """The undisturbed run, then the same run once more with a copy of it for every case."""
    wanted, _, calm = await play(scenario, arguments.seed, lambda _: nowhere)
    await calm.end()
    choosers: list[Chooser] = []

    def choosing(operator: StruckOperator) -> Choose:
        chooser = Chooser(
            operator,
            forks,
            arguments.patterns,
            every=arguments.every,
            only=arguments.case,
            scenario=scenario.name,
            began=operator.cluster.api.store.version,
            stored=len(operator.log.stored),
        )
        choosers.append(chooser)
        return chooser

    remember_loop()
    gc.collect()
    gc.freeze()
    try:
        found, _, operator = await play(scenario, arguments.seed, choosing)
        wrong = problems(wanted, found, operator)
    except Exception:
        if not forks.case:
            raise
        wrong = traceback.format_exc().splitlines()[-SHOWN:]
        forks.answer(msgspec.json.encode(wrong))
    if forks.case:
        forks.answer(msgspec.json.encode(wrong))
    await operator.end()
    if arguments.case:
        if operator.strike is None:
            wrong.append("The run never came to this case.")
        forks.note(arguments.case, msgspec.json.encode(wrong))
    elif wrong:
        forks.note(f"{scenario.name} / undisturbed, once more", msgspec.json.encode(wrong))
    return choosers[0]


@dataclass(frozen=True, slots=True)
class Arguments:
    scenarios: Sequence[str]
    patterns: Sequence[str]
    every: int
    jobs: int
    seed: int
    case: str


def _arguments() -> Arguments:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.sieve", description=__doc__)
    parser.add_argument("--scenario", action="append", choices=[one.name for one in SCENARIOS], default=None)
    parser.add_argument("--pattern", action="append", choices=list(PATTERNS), default=None)
    parser.add_argument("--every", type=int, default=1, help="run every so-manieth case alone")
    parser.add_argument("--jobs", type=int, default=2, help="copies at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", default="", help="run one case, by the name that was printed, and say all of it")
    given = parser.parse_args()
    scenarios = given.scenario or [one.name for one in SCENARIOS]
    if given.case:
        scenarios = [given.case.partition(" / ")[0]]
    return Arguments(scenarios, given.pattern or list(PATTERNS), given.every, given.jobs, given.seed, given.case)


def _say(case: str, found: Sequence[str], arguments: Arguments) -> None:
    shown = found if arguments.case else found[:SHOWN]
    print(f"FAILED {case}")
    for one in shown:
        print(f"    {one}")
    if len(found) > len(shown):
        print(f"    … and {len(found) - len(shown)} more")
    again = f"--seed {arguments.seed} --case {shlex.quote(case)}"
    print(f"    again: .venv/bin/python -m tests.campaign.sieve {again}", flush=True)


def main() -> int:
    arguments = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    total: Counter[str] = Counter()
    failed = 0
    for scenario in (one for one in SCENARIOS if one.name in arguments.scenarios):
        began = time.monotonic()
        forks = Forks(jobs=arguments.jobs)
        chooser = run_virtually(_enumerate(scenario, arguments, forks))
        forks.finish()
        wrong = 0
        for case, answer in forks.answers():
            found = msgspec.json.decode(answer, type=list[str]) if answer else ["The copy died."]
            wrong += bool(found)
            if found:
                _say(case, found, arguments)
        failed += wrong
        total.update(chooser.cases)
        points = chooser.points
        print(
            f"{scenario.name}: {points['before']} writes, {points['decision']} decisions, {points['event']} events; "
            + ", ".join(f"{pattern} {chooser.cases[pattern]}" for pattern in arguments.patterns)
            + f" cases; {wrong} failed; {time.monotonic() - began:.0f} s",
            flush=True,
        )
    cases = ", ".join(f"{pattern} {total[pattern]}" for pattern in arguments.patterns)
    print(f"Sieve: {sum(total.values())} cases ({cases}), {failed} failed.", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
