"""Acto's campaign (SOSP '23): `python -m tests.campaign.acto` walks every field of the CRDs.

Sequences of specs, each a change of one field of the one before, good, wrong or senseless. After a good one, what
runs is compared with a fresh deployment of the same spec; after any other, what ran must not have been touched, the
condition Stalled (or the refusal of the API server or the webhook) must name the field, and the next good spec must be
followed as if nothing had been. Every second sequence runs without the webhook, so that what it would refuse reaches
the planner. Now and then the operator is killed on the way. See docs/sieve-and-acto.md.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from tapio_shared.json import JsonObject, JsonValue, object_at
from tests.campaign.acto_values import CLUSTER, INTELLIGENCE, Field, fields, good, merged, senseless, setting, wrong
from tests.campaign.acto_world import ActoOperator, Standing, bases
from tests.campaign.sieve_ends import Named, objects_that_differ
from tests.campaign.sieve_forks import Forks
from tests.support.virtual_time import run_virtually

LENGTH = 8
"""Fields of one sequence."""
_SHOWN = 10
_ONE_WAY = frozenset({"ImmutableField", "StorageShrinkRefused"})
"""Refusals that depend on the way: a fresh deployment of the same spec works."""


class Told(msgspec.Struct):
    """What a sequence came to."""

    transitions: dict[str, int]
    good_fields: list[str]
    bad_fields: list[str]
    problems: list[str]


@dataclass(slots=True)
class Walk:
    """One sequence under way."""

    number: int
    seed: int
    chosen: Sequence[Field]
    counts: Counter[str] = field(default_factory=Counter[str])
    good_fields: list[str] = field(default_factory=list[str])
    bad_fields: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.seed}/{self.number}")

    @property
    def kind(self) -> str:
        return self.chosen[0].kind

    @property
    def has_webhook(self) -> bool:
        return self.number % 2 == 1

    async def run(self) -> None:
        """Walk the fields."""
        operator = ActoOperator(self.seed)
        await operator.set_up(webhook=self.has_webhook)
        base = self._random.choice(bases(self.kind))
        await self._expect_taken(operator, CLUSTER, base)
        beginning = base
        if self.kind != CLUSTER:
            beginning = self._referring({} if self.kind == INTELLIGENCE else {"type": "systemd", "allowOverlap": True})
            await self._expect_taken(operator, self.kind, beginning)
        spec = beginning
        for one in self.chosen:
            for value in wrong(one):
                await self._try_wrong(operator, spec, one, self._referring(setting(one, value)))
            for other in senseless(one):
                await self._try_bad(operator, spec, one, self._referring(other), "senseless")
            for value in good(one):
                spec = await self._try_good(operator, beginning, spec, one, self._referring(setting(one, value)))
        await operator.end()

    def _referring(self, spec: JsonObject) -> JsonObject:
        return spec if self.kind == CLUSTER else {"clusterRef": {"name": "any"}, **spec}

    def _note(self, one: Field, what: str, spec: JsonObject, wrongs: Sequence[str]) -> None:
        for found in wrongs[:_SHOWN]:
            self.problems.append(f"{one} {what} {msgspec.json.encode(spec).decode()}: {found}")
        if len(wrongs) > _SHOWN:
            self.problems.append(f"{one}: … and {len(wrongs) - _SHOWN} more")

    async def _expect_taken(self, operator: ActoOperator, kind: str, spec: JsonObject) -> None:
        response = await operator.put(kind, spec)
        if response.status >= 300:
            raise AssertionError(f"The base was refused: {response.body!r}")
        standing = await operator.come_to_rest(kind)
        if not standing.ready:
            raise AssertionError(f"The base is {standing}")

    # --- wrong and senseless specs -----------------------------------------------------------------------------

    async def _try_wrong(self, operator: ActoOperator, spec: JsonObject, one: Field, change: JsonObject) -> None:
        """What the schema refuses, in every version of Kubernetes, whoever is there to tell."""
        candidate = _object(merged(spec, change))
        mark = operator.cluster.writes.total
        response = await operator.put(self.kind, candidate)
        if response.status < 300:
            # Shorthand nodes have no schema of their own; what passes is the planner's to refuse.
            await operator.put(self.kind, spec)
            await operator.come_to_rest(self.kind)
            await self._try_bad(operator, spec, one, change, "wrong")
            return
        self.counts["wrong, refused by the API server"] += 1
        await asyncio.sleep(1.0)
        touched = operator.written_since(mark)
        self._note(one, "refused by the API server, and yet", change, touched)
        self.bad_fields.append(str(one))

    async def _try_bad(
        self, operator: ActoOperator, spec: JsonObject, one: Field, change: JsonObject, what: str
    ) -> None:
        """What only the webhook and the planner can refuse; then back to the spec that ran."""
        candidate = _object(merged(spec, change))
        if not operator.refusals(self.kind, candidate):
            self.counts[f"{what}, but it means something"] += 1
            return
        before, mark = operator.running(), operator.cluster.writes.total
        response = await operator.put(self.kind, candidate)
        wrongs: list[str] = []
        if self.has_webhook or response.status >= 300:
            if response.status < 300:
                wrongs.append("the webhook let pass what it refuses")
            self.counts[f"{what}, refused at admission"] += 1
            wrongs += _unnamed(one, change, response.body.decode())
        else:
            await self._perhaps_kill(operator)
            standing = await operator.come_to_rest(self.kind)
            self.counts[f"{what}, stalled"] += 1
            if not standing.stalled:
                wrongs.append(f"the webhook would refuse it, and the operator says: {standing}")
            else:
                wrongs += _unnamed(one, change, standing.message)
            wrongs += [f"touched: {one}" for one in operator.written_since(mark)]
            wrongs += [f"changed: {one}" for one in objects_that_differ(before, operator.running())]
        response = await operator.put(self.kind, spec)
        await self._perhaps_kill(operator)
        standing = await operator.come_to_rest(self.kind)
        self.counts["recovered"] += 1
        if not standing.ready:
            wrongs.append(f"it does not recover: {standing}")
        wrongs += [f"after recovery {one}" for one in objects_that_differ(before, operator.running())]
        self._note(one, what, change, wrongs)
        self.bad_fields.append(str(one))

    # --- good specs --------------------------------------------------------------------------------------------

    async def _try_good(
        self, operator: ActoOperator, beginning: JsonObject, spec: JsonObject, one: Field, change: JsonObject
    ) -> JsonObject:
        """Change to `change` on top of what there is, or of the beginning where the two don't go together."""
        candidates = [_object(merged(spec, change)), _object(merged(beginning, change))]
        candidate = next((one for one in candidates if not operator.refusals(self.kind, one)), None)
        if candidate is None and change.get("type") not in (None, beginning.get("type")):
            await operator.remove(self.kind)  # The type of a TapioCollector is for ever; another one takes its place.
            candidate = None if operator.refusals(self.kind, change) else change
            if candidate is None:
                await self._back_to(operator, spec)
        if candidate is None:
            await self._try_bad(operator, spec, one, change, "contradictory")
            return spec
        before, mark = operator.running(), operator.cluster.writes.total
        response = await operator.put(self.kind, candidate)
        if response.status >= 300:
            self._note(one, "good", change, [f"refused by the API server: {response.body.decode()}"])
            return spec
        await self._perhaps_kill(operator)
        standing = await operator.come_to_rest(self.kind)
        if standing.stalled in _ONE_WAY or _is_held_by_a_volume(standing):
            self.counts["good, but can't be gone back on"] += 1
            wrongs = [f"touched: {one}" for one in operator.written_since(mark)]
            wrongs += [f"changed: {one}" for one in objects_that_differ(before, operator.running())]
            if standing.stalled != "ImmutableField":  # The volume is left as it is, and all the rest is followed.
                wrongs = [found for found in wrongs if "persistentvolumeclaims" in found]
            self._note(one, f"one way ({standing})", change, wrongs)
            await self._back_to(operator, spec)
            return spec
        fresh, wanted = await self._fresh(candidate, operator)
        wrongs = [found for found in objects_that_differ(fresh, operator.running()) if not _waits(candidate, found)]
        if (standing.ready, standing.stalled) != (wanted.ready, wanted.stalled):
            wrongs.append(f"it is {standing}; a fresh deployment is {wanted}")
        self.counts["good, as a fresh deployment" if standing.ready else f"good, {standing.stalled}"] += 1
        self._note(one, "good", change, wrongs)
        if not standing.stalled:
            self.good_fields.append(str(one))
            return candidate
        await self._back_to(operator, spec)
        return spec

    async def _back_to(self, operator: ActoOperator, spec: JsonObject) -> None:
        """The spec of before; of another type than what there is, which is for ever, in a resource made anew."""
        there = operator.resource(self.kind)
        if there is not None and object_at(there, "spec").get("type") != spec.get("type"):
            await operator.remove(self.kind)
        await operator.put(self.kind, spec)
        await operator.come_to_rest(self.kind)

    async def _fresh(self, spec: JsonObject, operator: ActoOperator) -> tuple[Named, Standing]:
        """A deployment of the same resources from nothing."""
        other = ActoOperator(self.seed)
        await other.set_up(webhook=self.has_webhook)
        if self.kind != CLUSTER:
            cluster = operator.resource(CLUSTER)
            assert cluster is not None
            await other.put(CLUSTER, _object(cluster["spec"]))
        await other.put(self.kind, spec)
        standing = await other.come_to_rest(self.kind)
        running = other.running()
        await other.end()
        return running, standing

    async def _perhaps_kill(self, operator: ActoOperator) -> None:
        """Now and then kill every process of the operator, at once or a moment later."""
        if self._random.random() < 0.25:
            for _ in range(self._random.randrange(300)):
                await asyncio.sleep(0)
            self.counts["operator killed"] += 1
            await operator.restart()

    def told(self) -> Told:
        return Told(dict(self.counts), self.good_fields, self.bad_fields, self.problems)


def _is_held_by_a_volume(standing: Standing) -> bool:
    """Whether no Neo4j runs since its volume holds what Community can't read: a fresh one has no such volume."""
    return standing.stalled == "LicenseNotAccepted" and standing.message.startswith("PersistentVolumeClaim ")


def _waits(spec: JsonObject, difference: str) -> bool:
    """Whether pods are of an older revision since nobody has deleted them, which `OnDelete` leaves to people."""
    return "status.updatedNumberScheduled" in difference and b'"OnDelete"' in msgspec.json.encode(spec)


def _object(value: JsonValue) -> JsonObject:
    assert isinstance(value, dict)
    return value


def _unnamed(one: Field, change: JsonObject, message: str) -> list[str]:
    """A complaint, when `message` names neither the field, nor what holds it, nor anything else of the change."""
    paths = [one.path.replace("[]", ""), *_paths(change, "")]
    parts = one.path.replace("[]", "").split(".")
    paths += [".".join(parts[:end]) for end in range(max(len(parts) - 2, 1), len(parts))]
    # A rule of the schema says so of what holds both fields that contradict each other, however far up.
    paths += [f"spec.{'.'.join(parts[:end])}: Invalid value" for end in range(1, len(parts))]
    if any(path in message.replace("[0]", "") for path in paths):
        return []
    return [f"it does not say that this is about {one.path}: {message}"]


def _paths(value: JsonValue, path: str) -> list[str]:
    if isinstance(value, dict):
        return [found for name, one in value.items() for found in _paths(one, f"{path}.{name}".lstrip("."))]
    return [path]


# --- the command -----------------------------------------------------------------------------------------------------


def walks(seed: int, *, most: int, length: int = LENGTH) -> list[Walk]:
    """Every field of every kind once, in an order drawn from `seed`, `length` in each walk; `most` of them, or all."""
    found: list[list[Field]] = []
    for kind in sorted({one.kind for one in fields()}):
        chosen = [one for one in fields() if one.kind == kind]
        random.Random(f"{seed}/{kind}").shuffle(chosen)
        found += [chosen[start : start + length] for start in range(0, len(chosen), length)]
    random.Random(seed).shuffle(found)
    return [Walk(number, seed, chosen) for number, chosen in enumerate(found)][: most or None]


async def _run(one: Walk) -> None:
    try:
        await one.run()
    except Exception:  # noqa: BLE001 - whatever ends a sequence is what it came to
        one.problems += traceback.format_exc().splitlines()[-_SHOWN:]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.acto", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sequences", type=int, default=0, help="so many sequences alone; 0: all")
    parser.add_argument("--sequence", type=int, action="append", default=[], help="these alone, by their numbers")
    parser.add_argument("--fields", type=int, default=LENGTH, help="fields of one sequence")
    parser.add_argument("--jobs", type=int, default=2, help="copies at once")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    began = time.monotonic()
    chosen = walks(given.seed, most=given.sequences, length=given.fields)
    if given.sequence:
        chosen = [one for one in chosen if one.number in given.sequence]
    counts: Counter[str] = Counter()
    covered: dict[str, set[str]] = {"good": set(), "bad": set()}
    failed = 0
    forks = Forks(jobs=given.jobs)
    gc.freeze()
    for one in chosen:
        if forks.fork(str(one.number)):
            run_virtually(_run(one))
            forks.answer(msgspec.json.encode(one.told()))
        failed += _take(forks, given, counts, covered)
    forks.finish()
    failed += _take(forks, given, counts, covered)
    transitions = sum(count for name, count in counts.items() if "killed" not in name and "means something" not in name)
    tried = len({str(one) for sequence in chosen for one in sequence.chosen})
    for name, count in sorted(counts.items()):
        print(f"    {count:5} {name}")
    print(
        f"Acto: {len(chosen)} sequences, {transitions} transitions over {tried} of {len(fields())} fields "
        f"({len(covered['good'])} took a good value, {len(covered['bad'])} were refused a bad one), {failed} sequences "
        f"failed; {time.monotonic() - began:.0f} s",
        flush=True,
    )
    return 1 if failed else 0


def _take(forks: Forks, given: argparse.Namespace, counts: Counter[str], covered: dict[str, set[str]]) -> int:
    """Add up what the sequences that have ended came to; answers how many of them failed."""
    failed = 0
    for number, answer in forks.answers():
        told = msgspec.json.decode(answer, type=Told) if answer else Told({}, [], [], ["The copy died."])
        counts.update(told.transitions)
        covered["good"].update(told.good_fields)
        covered["bad"].update(told.bad_fields)
        if told.problems:
            failed += 1
            print(f"FAILED sequence {number}")
            for problem in told.problems:
                print(f"    {problem}")
            again = f"--seed {given.seed} --fields {given.fields} --sequence {number}"
            print(f"    again: .venv/bin/python -m tests.campaign.acto {again}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
