"""Running one schedule: trouble, then peace, then every law."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tapio_shared.json import JsonObject
from tests.campaign import oracle, oracle_facts
from tests.campaign.kinds import KINDS
from tests.campaign.oracle import Name, Truth
from tests.campaign.parts import run_in_parts
from tests.campaign.people import NAMES, Owner, People, first_spec
from tests.campaign.schedule import Schedule
from tests.campaign.trouble import Trouble
from tests.campaign.world import HOME, ServerAge, Setup, World, made

PATIENCE = 900.0
"""Seconds of virtual time in which everything is as it shall be, once nothing goes wrong any more."""
MOST_WRITES = 4_000
"""Writes that the operator may ask for in one schedule: some 200 is usual, and who asks for ever comes to no rest."""
QUIET = 45.0
"""Seconds without a write: longer than `reconcileInterval`, so that a comparison has been made meanwhile."""


@dataclass(slots=True)
class Outcome:
    """What came of one schedule."""

    seed: int
    broken: list[str] = field(default_factory=list[str])
    """The laws that did not hold, as sentences."""
    fired: Counter[str] = field(default_factory=Counter[str])
    told: list[str] = field(default_factory=list[str])
    """What happened, in order."""
    digest: str = ""
    """Of everything that the log ever held: the same each time that the seed is run."""
    seconds: float = 0.0
    """Of this machine's time."""
    cpu: float = 0.0
    """Of that, seconds of CPU."""
    virtual: float = 0.0
    """Of the schedule's own time."""
    counts: Counter[str] = field(default_factory=Counter[str])


def run(schedule: Schedule) -> Outcome:
    """Run `schedule` and judge it."""
    outcome, began, cpu = Outcome(schedule.setup.seed), time.perf_counter(), time.process_time()
    random.seed(schedule.setup.seed)  # tenacity draws its waits from the process's own generator
    try:
        run_in_parts(_Run(schedule, outcome).run())
    except Exception as err:  # noqa: BLE001 - whatever breaks a run is a finding
        outcome.broken.append(f"the schedule broke: {type(err).__name__}: {err}")
    outcome.seconds, outcome.cpu = time.perf_counter() - began, time.process_time() - cpu
    return outcome


class _Run:
    def __init__(self, schedule: Schedule, outcome: Outcome) -> None:
        self._schedule, self._outcome = schedule, outcome

    async def run(self) -> None:
        world = await made(self._schedule.setup)
        people = People(world)
        trouble = Trouble(world, people)
        outcome = self._outcome
        await self._trouble(world, people, trouble)
        await trouble.end()
        outcome.broken += _restlessness(world) or await _peace(world, people)
        before = world.effective_writes()
        if not outcome.broken:
            for name in list(world.parts):
                world.kill(name)
            await asyncio.sleep(9.0)
            world.start_all()
            outcome.broken += await _peace(world, people)
            if world.effective_writes() != before:
                outcome.broken.append(f"a restart wrote {world.effective_writes() - before} times")
        outcome.broken += oracle.violations(world, _always(people)) + oracle_facts.untrue(world)
        self._count(world)

    async def _trouble(self, world: World, people: People, trouble: Trouble) -> None:
        world.start_all()
        rng = random.Random(f"first {world.setup.seed}")
        for target in sorted(world.clusters):
            for name in NAMES if target == HOME else NAMES[:1]:
                await people.create((target, name), first_spec(rng))
        tasks: list[asyncio.Task[None]] = []
        for event in self._schedule.events:
            await asyncio.sleep(event.pause)
            if _restlessness(world):
                break
            for _ in range(event.turns):
                await asyncio.sleep(0)
            self._outcome.told.append(f"{event.number:3} {world.clock.monotonic():9.3f} {event.kind}")
            tasks.append(asyncio.create_task(self._happen(event.kind, event.seed, trouble)))
        await asyncio.sleep(rng.uniform(0.0, 20.0))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _happen(self, kind: str, seed: int, trouble: Trouble) -> None:
        await KINDS[kind][1](trouble, random.Random(seed))

    def _count(self, world: World) -> None:
        fired, setup = world.fired, self._schedule.setup
        state = hashlib.blake2b(digest_size=8)
        for life in world.log.lives:
            epochs = [message for message in life if message.subject.startswith("tapio.epoch.")]
            fired["workers fenced"] += len(epochs) > setup.partitions
            fired["timers due"] += sum(1 for message in life if ".timer." in message.subject)
            for message in life:
                state.update(f"{message.sequence} {message.subject} ".encode())
                state.update(message.data)
        fired["two targets"] += setup.is_far
        fired["two watchers"] += setup.watchers > 1
        fired["an API server of 1.20"] += setup.server == "1.20"
        fired["an API server beside an old etcd"] += setup.server == "beside an old etcd"
        held = len(world.log.last_messages())
        fired["messages dropped by the log's limit"] += bool(
            setup.max_bytes > 0 and world.log.lives[-1] and held and world.log.first > world.log.lives[-1][0].sequence
        )
        outcome = self._outcome
        outcome.fired, outcome.digest, outcome.virtual = fired, state.hexdigest(), world.clock.monotonic()
        outcome.counts["messages"] = world.log.stored
        outcome.counts["decisions"] = sum(
            1 for life in world.log.lives for message in life if message.subject.endswith(".decision")
        )
        outcome.counts["writes"] = world.effective_writes()


# --- peace -----------------------------------------------------------------------------------------------------


async def _peace(world: World, people: People) -> list[str]:
    """Wait until everything is as it shall be; answers what is not, when that takes too long."""
    deadline = world.clock.monotonic() + PATIENCE
    truths = {
        owner: None if spec is None else truth_of(owner[1], spec, world.setup.server)
        for owner, spec in people.wanted.items()
    }
    missing, owed = list[str](), oracle_facts.Owed()
    while world.clock.monotonic() < deadline:
        ended = _restlessness(world) or [
            f"{part.incarnation} has ended: {part.task}" for part in world.parts.values() if part.task.done()
        ]
        if ended:
            return ended
        await _quiet(world, deadline)
        missing = _not_up(world) or oracle.unconverged(world, truths) or oracle.untold(world) or owed.tries(world)
        if not missing:
            return []
    return missing


async def _quiet(world: World, deadline: float) -> None:
    """Wait until nobody has written for a while."""
    since, mark = world.clock.monotonic(), world.effective_writes()
    while world.clock.monotonic() < deadline:
        await asyncio.sleep(5.0)
        if _restlessness(world):
            return
        writes = world.effective_writes()
        if writes != mark:
            since, mark = world.clock.monotonic(), writes
        elif world.clock.monotonic() - since >= QUIET:
            return


def _restlessness(world: World) -> list[str]:
    count = len(world.asked)
    return [f"the operator comes to no rest: it asked for {count} writes"] if count > MOST_WRITES else []


def _not_up(world: World) -> list[str]:
    found: list[str] = []
    for target in world.clusters:
        watchers = [part.watcher for name, part in world.parts.items() if name.startswith(f"watcher-{target}")]
        if not any(one is not None and one.is_synced for one in watchers):
            found.append(f"no watcher of {target} has synced")
    found += [
        f"{part.incarnation} is not ready"
        for part in world.parts.values()
        if part.worker is not None and not part.worker.is_ready()
    ]
    return found


# --- what a calm run makes ---------------------------------------------------------------------------------------

_TRUTHS = 100
"""How many of them a process keeps: a schedule asks for a few, several times each, and no other one for the same."""
_truths: dict[tuple[str, str, ServerAge], Truth] = {}


def truth_of(name: str, spec: JsonObject, server: ServerAge) -> Truth:
    """What a TapioCluster of this name and spec comes to where nothing goes wrong, on such an API server."""
    known = (name, json.dumps(spec, sort_keys=True), server)
    if known not in _truths:
        if len(_truths) >= _TRUTHS:
            del _truths[next(iter(_truths))]
        # A loop of its own, in a thread of its own: this one's loop stands still meanwhile.
        state = random.getstate()
        with ThreadPoolExecutor(1) as thread:
            _truths[known] = thread.submit(run_in_parts, _calm(name, spec, server)).result()
        random.setstate(state)
    return _truths[known]


async def _calm(name: str, spec: JsonObject, server: ServerAge) -> Truth:
    world = await made(Setup(seed=0, partitions=1, workers=1, server=server))
    people = People(world)
    world.start_all()
    await people.create((HOME, name), spec)
    await _quiet(world, 600.0)
    objects = oracle.of_cluster(oracle.documents_of(world, HOME), name)
    truth = Truth(objects)
    wrong = oracle.unconverged(world, {(HOME, name): truth}) or oracle.untold(world)
    if wrong:
        raise AssertionError(f"A calm run of {spec} fails: {wrong}")
    return truth


def _always(people: People) -> dict[Owner, set[Name]]:
    """For every TapioCluster that was never to be deleted: what each of its specs wants."""
    found: dict[Owner, set[Name]] = {}
    for owner, specs in people.asked.items():
        if owner not in people.deleted:
            wanted = [set(truth_of(owner[1], spec, people.world.setup.server).objects) for spec in specs]
            found[owner] = wanted[0].intersection(*wanted[1:])
    return found
