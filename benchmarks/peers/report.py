"""Tables and the data of the plot, from measurements: ratios within a round, and their median over rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import msgspec

from benchmarks.peers.measuring import KOPF, LIMIT, Measurement, Setting
from benchmarks.work import CONCURRENT

BEGIN, END = "<!-- peers: begin (make bench-peers writes this section) -->", "<!-- peers: end -->"
_SERVERS = ("simulator", "etcd", "kube-apiserver", "kube-controller")


class Run(msgspec.Struct, kw_only=True):
    """On what and when it was measured."""

    machine: str
    cores: int
    python: str
    began: str
    commit: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured in one run."""

    run: Run
    measured: Sequence[Measurement]

    def markdown(self) -> str:
        """The section of docs/benchmarks.md, without its markers."""
        head = (
            f"{self.run.began}, {self.run.cores} cores ({self.run.machine}), Python {self.run.python}, "
            f"commit {self.run.commit}."
        )
        return "\n\n".join([head, *(self._table(setting) for setting in self._settings())])

    def plotted(self) -> list[dict[str, object]]:
        """One entry for each setting and subject, for plot.py."""
        return [
            {
                "setting": _title(setting),
                "subject": _name(subject),
                "ratio": self._ratio(setting, subject),
                "cpu": self._middle(setting, subject, _cpu),
                "p50": self._middle(setting, subject, lambda one: 1000 * at(one.steady, 0.5)),
                "p99": self._middle(setting, subject, lambda one: 1000 * at(one.steady, 0.99)),
                "restart": self._middle(setting, subject, lambda one: one.restart),
            }
            for setting in self._settings()
            for subject in self._subjects(setting)
        ]

    def _table(self, setting: Setting) -> str:
        subjects = self._subjects(setting)
        rounds = len({one.round for one in self._of(setting)})
        rows = [
            ["", *map(_name, subjects)],
            ["---"] * (len(subjects) + 1),
            [
                "burst until all is there",
                *self._cells(setting, lambda one: f"{one.burst:.2f} s", lambda one: one.burst),
            ],
            ["**x the limit of its round**", *(f"**{self._ratio(setting, subject):.2f}**" for subject in subjects)],
            [
                "writes per cluster",
                *self._cells(setting, lambda one: f"{one.writes / setting.clusters:.1f}", lambda one: one.writes),
            ],
            ["CPU per cluster", *self._cells(setting, lambda one: f"{_cpu(one):.1f} ms" if _own(one) else "", _cpu)],
            ["by process", *self._cells(setting, _processes, _cpu)],
            [
                "CPU of the API server per cluster",
                *self._cells(setting, lambda one: f"{_server_cpu(one):.1f} ms", _server_cpu),
            ],
            [
                f"{setting.changes} changes/s: p50 / p99",
                *self._cells(
                    setting,
                    lambda one: f"{1000 * at(one.steady, 0.5):.0f} / {1000 * at(one.steady, 0.99):.0f} ms",
                    lambda one: at(one.steady, 0.99),
                ),
            ],
            [
                "CPU per change",
                *self._cells(
                    setting, lambda one: f"{one.steady_cpu:.1f} ms" if _own(one) else "", lambda one: one.steady_cpu
                ),
            ],
            [
                f"{setting.drift:.0%} drift mended: p50 / last",
                *self._cells(
                    setting,
                    lambda one: f"{1000 * at(one.drift, 0.5):.0f} / {1000 * one.drift[-1]:.0f} ms",
                    lambda one: one.drift[-1],
                ),
            ],
            [
                "restart, converged: ready, writes",
                *self._cells(
                    setting,
                    lambda one: f"{one.restart:.1f} s, {one.restart_writes}" if _own(one) else "",
                    lambda one: one.restart,
                ),
            ],
            ["peak memory", *self._cells(setting, _memory, lambda one: sum(one.memory.values()))],
        ]
        title = f"### {_title(setting)}; {rounds} round{'s' if rounds > 1 else ''}"
        return "\n".join([title, "", *(f"| {' | '.join(row)} |" for row in rows)])

    def _cells(
        self, setting: Setting, shown: Callable[[Measurement], str], by: Callable[[Measurement], float]
    ) -> list[str]:
        """For each subject what is shown of its middle round, by a value."""
        return [
            shown(sorted(self._of(setting, subject), key=by)[self._half(setting, subject)])
            for subject in self._subjects(setting)
        ]

    def _half(self, setting: Setting, subject: str) -> int:
        return (len(self._of(setting, subject)) - 1) // 2

    def _middle(self, setting: Setting, subject: str, value: Callable[[Measurement], float]) -> float:
        return median(map(value, self._of(setting, subject)))

    def _ratio(self, setting: Setting, subject: str) -> float:
        limits = {one.round: one.burst for one in self._of(setting, LIMIT)}
        return median(one.burst / limits[one.round] for one in self._of(setting, subject))

    def _of(self, setting: Setting, subject: str = "") -> list[Measurement]:
        return [one for one in self.measured if one.setting == setting and subject in ("", one.subject)]

    def _settings(self) -> list[Setting]:
        return list(dict.fromkeys(one.setting for one in self.measured))

    def _subjects(self, setting: Setting) -> list[str]:
        found = {one.subject for one in self._of(setting)}
        return sorted(found, key=lambda one: (one != LIMIT, one != KOPF, one))


def replace_section(document: str, section: str) -> str:
    """`document` with `section` between the markers. ValueError when it has none."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"docs/benchmarks.md has lost its markers. Put {BEGIN} and {END} back where the section goes.")
    return f"{before}{begin}\n\n{section}\n\n{end}{after}"


def at(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of the ordered values lie."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("nan")


def _title(setting: Setting) -> str:
    where = f"simulator, +{setting.latency} ms" if setting.against == "simulator" else setting.against
    bound = "" if setting.requests == CONCURRENT else f", {setting.requests} request(s) at once per process"
    return f"{setting.clusters:,} clusters, {where}{bound}"


def _name(subject: str) -> str:
    if subject in (LIMIT, KOPF):
        return {LIMIT: "raw limit", KOPF: "kopf"}[subject]
    return f"this operator, {subject} worker{'s' if subject != '1' else ''}"


def _own(one: Measurement) -> dict[str, float]:
    """CPU of the subject's own processes."""
    return {name: cpu for name, cpu in one.cpu.items() if name not in _SERVERS}


def _cpu(one: Measurement) -> float:
    return sum(_own(one).values())


def _server_cpu(one: Measurement) -> float:
    return sum(one.cpu.values()) - _cpu(one)


def _processes(one: Measurement) -> str:
    return "<br>".join(f"{name} {cpu:.1f}" for name, cpu in _grouped(_own(one), sum).items())


def _memory(one: Measurement) -> str:
    return "<br>".join(f"{name} {peak:.0f} MiB" for name, peak in _grouped(one.memory, max).items())


def _grouped(values: dict[str, float], combine: Callable[[Iterable[float]], float]) -> dict[str, float]:
    """Workers taken together."""
    found: dict[str, list[float]] = {}
    for name, value in values.items():
        found.setdefault("workers" if name.startswith("reconciler") else name, []).append(value)
    return {name: combine(them) for name, them in found.items()}
