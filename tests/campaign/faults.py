"""What may go wrong with the servers, the ways to them and the parts. Each lasts for a while and ends by itself."""

from __future__ import annotations

import asyncio
import random

from tapio_simulator.faults import Action, Fault
from tests.campaign.links import Members, Weather
from tests.campaign.parts import this_loop
from tests.campaign.people import NAMES
from tests.campaign.trouble import Doing, Trouble
from tests.campaign.world import RECONCILER, WATCHER

_WRITES = frozenset({"create", "patch", "apply", "delete"})
_READS = frozenset({"get", "list"})
_OPERATOR = frozenset({RECONCILER.name, WATCHER.name})

# --- the log ---------------------------------------------------------------------------------------------------


async def log_fails(trouble: Trouble, rng: random.Random) -> None:
    """Calls go unanswered, acknowledgements are lost, something else is under way, another sequence is expected."""
    weather = trouble.world.weather
    for name in rng.sample(("unavailable", "lost_ack", "conflict", "in_process"), rng.randint(1, 3)):
        setattr(weather, name, rng.choice((0.02, 0.1, 0.4)) if name == "conflict" else rng.choice((0.1, 0.4, 0.9)))

    def over() -> None:
        weather.unavailable = weather.lost_ack = weather.conflict = weather.in_process = 0.0

    trouble.until(rng.uniform(0.1, 10.0), over)


async def log_is_full(trouble: Trouble, rng: random.Random) -> None:
    weather: Weather = trouble.world.weather
    weather.full = True
    trouble.until(rng.uniform(1.0, 40.0), lambda: setattr(weather, "full", False))


async def log_is_down(trouble: Trouble, rng: random.Random) -> None:
    """The server ends and is started anew; consumers are gone."""
    world = trouble.world
    world.weather.is_down = True
    world.log.restarted()
    trouble.count("restarts of the log")
    trouble.until(rng.choice((0.5, 5.0, 90.0)), lambda: setattr(world.weather, "is_down", False))


async def log_goes_back(trouble: Trouble, rng: random.Random) -> None:
    """Power is lost on a single server before the last messages are on its disk."""
    log = trouble.world.log
    if log.end > 1:
        await log.rewind(max(1, log.end - rng.randint(1, 40)))
        trouble.count("the log went backwards")


async def log_goes_back_meanwhile(trouble: Trouble, rng: random.Random) -> None:
    """While what somebody asks for is told and decided, the server loses power, and what it had not yet on its disk."""
    world = trouble.world
    told = world.log.end + rng.randint(1, 4)
    if not await trouble.people.change(trouble.owner(rng), rng) or not await world.log.changed_within(told, 5.0):
        return
    for _ in range(rng.randrange(40)):
        await asyncio.sleep(0)
    world.weather.is_down = True
    await world.log.rewind(max(1, world.log.end - rng.randint(1, 6)))
    trouble.count("the log went backwards meanwhile")

    def over() -> None:
        world.weather.is_down = False
        world.server.connect_again()

    trouble.until(rng.choice((0.05, 0.5, 5.0)), over)


async def log_is_lost(trouble: Trouble, _rng: random.Random) -> None:
    await trouble.world.log.remove()
    trouble.count("the log was lost")


async def replica_lags(trouble: Trouble, rng: random.Random) -> None:
    log = trouble.world.log
    log.lag = rng.randint(1, 60)
    trouble.until(rng.uniform(1.0, 20.0), lambda: setattr(log, "lag", 0))


async def deliveries_fail(trouble: Trouble, rng: random.Random) -> None:
    mischief = trouble.world.server.mischief
    for name in rng.sample(("dropped", "doubled", "swapped", "beats_lost"), rng.randint(1, 3)):
        setattr(mischief, name, rng.choice((0.05, 0.3, 0.7)))
    if rng.random() < 0.4:
        mischief.delay = rng.choice((0.01, 0.3, 2.0))
    trouble.until(rng.uniform(1.0, 25.0), mischief.clear)


# --- the API server --------------------------------------------------------------------------------------------


async def api_refuses(trouble: Trouble, rng: random.Random) -> None:
    status = rng.choice((409, 409, 429, 429, 500, 503, 504))
    what = "API: 5xx" if status >= 500 else f"API: {status}"
    fault = Fault(
        "refuse",
        verbs=rng.choice((_WRITES, _WRITES, _WRITES | _READS)),
        users=_OPERATOR,
        probability=rng.choice((0.1, 0.5, 1.0)),
        times=rng.randint(1, 30),
        status=status,
        retry_after=rng.choice((None, 1, 5)) if status in (429, 503) else None,
    )
    trouble.add_rule(what, fault, trouble.target(rng))


async def api_breaks_off(trouble: Trouble, rng: random.Random) -> None:
    action: Action = rng.choice(("reset", "lost-answer"))
    what = "API: connections reset" if action == "reset" else "API: answers lost"
    fault = Fault(
        action,
        verbs=_WRITES if rng.random() < 0.7 else _READS,
        users=_OPERATOR,
        probability=rng.choice((0.2, 0.6, 1.0)),
        times=rng.randint(1, 30),
    )
    trouble.add_rule(what, fault, trouble.target(rng))


async def api_is_slow(trouble: Trouble, rng: random.Random) -> None:
    slow = Fault("delay", users=_OPERATOR, probability=0.3, times=rng.randint(3, 30), seconds=(0.01, 40.0))
    trouble.add_rule("API: slow answers", slow, trouble.target(rng))


async def api_reads_the_past(trouble: Trouble, rng: random.Random) -> None:
    """Lists, and sometimes reads of one object, are answered by a server whose cache is behind."""
    fault = Fault(
        "stale-read",
        verbs=frozenset({"list"}) if rng.random() < 0.7 else _READS,
        users=_OPERATOR,
        probability=rng.choice((0.3, 1.0)),
        times=rng.randint(1, 20),
        stale_by=rng.choice((1, 5, 40)),
    )
    target = trouble.target(rng)
    trouble.add_rule("API: stale lists and reads", fault, target)
    if rng.random() < 0.6:
        _relist(trouble, rng, target)


async def reads_are_refused(trouble: Trouble, rng: random.Random) -> None:
    """Something changes unheard, or is told in vain, and who reads that one object anew is refused."""
    target = trouble.target(rng)
    refusals = Fault(
        "refuse",
        verbs=frozenset({"get"}),
        users=frozenset({WATCHER.name}),
        times=rng.randint(1, 6),
        status=rng.choice((429, 500, 503, 504)),
    )
    trouble.add_rule("API: reads of one object refused", refusals, target)
    if rng.random() < 0.5:
        stall = Fault("stall-watch", verbs=frozenset({"watch"}), users=_OPERATOR, times=20, after=(0.0, 0.1))
        trouble.add_rule("watches stalled", stall, target)
        _break_watches(trouble, target)
        await asyncio.sleep(1.0)
    else:
        weather = trouble.world.weather
        weather.conflict = rng.choice((0.3, 0.7))
        trouble.until(rng.uniform(0.5, 5.0), lambda: setattr(weather, "conflict", 0.0))
    trouble.count("people: objects edited", await trouble.people.touch(rng, is_deletion=False))


async def watches_break(trouble: Trouble, rng: random.Random) -> None:
    action: Action = rng.choice(("drop-watch", "stall-watch"))
    what = "watches dropped" if action == "drop-watch" else "watches stalled"
    fault = Fault(
        action,
        verbs=frozenset({"watch"}),
        users=_OPERATOR,
        times=rng.randint(1, 20),
        after=(0.0, rng.choice((1.0, 30.0))),
    )
    target = trouble.target(rng)
    trouble.add_rule(what, fault, target)
    _break_watches(trouble, target)


async def watches_expire(trouble: Trouble, rng: random.Random) -> None:
    """Watches end, and where they would go on is no longer known: 410."""
    target = trouble.target(rng)
    _relist(trouble, rng, target)


async def lists_break_off(trouble: Trouble, rng: random.Random) -> None:
    """No watch may go on, so everything is listed anew, and every other list breaks off before it has told anything."""
    target = trouble.target(rng)
    watchers, often = frozenset({WATCHER.name}), rng.randint(10, 60)
    fault = Fault("reset", verbs=frozenset({"watch"}), users=watchers, probability=0.5, times=often)
    trouble.add_rule("lists broken off", fault, target)
    trouble.world.clusters[target].api.store.compact()
    _break_watches(trouble, target)


def _relist(trouble: Trouble, rng: random.Random, target: str) -> None:
    fault = Fault("refuse", verbs=frozenset({"watch"}), users=_OPERATOR, times=rng.randint(1, 25), status=410)
    trouble.add_rule("410", fault, target)
    trouble.world.clusters[target].api.store.compact()
    _break_watches(trouble, target)


def _break_watches(trouble: Trouble, target: str) -> None:
    for name, part in trouble.world.parts.items():
        if name.startswith(f"watcher-{target}"):
            part.to_api.break_streams()


async def api_restarts(trouble: Trouble, rng: random.Random) -> None:
    target = trouble.target(rng)
    fault = Fault("reset", users=_OPERATOR)
    trouble.world.clusters[target].faults.rules.insert(0, fault)
    trouble.rules.append(("API: down", fault))
    trouble.count("restarts of the API server")
    if rng.random() < 0.5:
        trouble.world.clusters[target].api.store.compact()
    _break_watches(trouble, target)

    def over() -> None:
        fault.times = fault.acted

    trouble.until(rng.choice((0.3, 3.0, 45.0)), over)


# --- links and clocks ------------------------------------------------------------------------------------------


async def link_is_cut(trouble: Trouble, rng: random.Random) -> None:
    part = trouble.world.parts.get(trouble.part(rng) or "")
    if part is not None:
        link = rng.choice(part.links)
        link.is_cut = True
        trouble.until(rng.choice((0.5, 4.0, 25.0, 60.0)), link.mend)


async def link_is_slow(trouble: Trouble, rng: random.Random) -> None:
    part = trouble.world.parts.get(trouble.part(rng) or "")
    if part is not None:
        link = rng.choice(part.links)
        link.slow, link.slow_share = (0.0, rng.choice((0.05, 1.0, 8.0))), rng.choice((0.2, 1.0))
        trouble.until(rng.uniform(1.0, 30.0), link.mend)


async def clock_jumps(trouble: Trouble, rng: random.Random) -> None:
    part = trouble.world.parts.get(trouble.part(rng) or "")
    if part is not None:
        by = rng.choice((1, -1)) * rng.choice((1_500, 90_000, 3_600_000, 40 * 86_400_000))
        part.clock.ahead += by
        trouble.count("clock jumps forward" if by > 0 else "clock jumps back")


# --- parts -----------------------------------------------------------------------------------------------------


def dies(prefix: str, what: str) -> Doing:
    async def die(trouble: Trouble, rng: random.Random) -> None:
        name = trouble.part(rng, prefix)
        if name is not None:
            trouble.world.kill(name)
            trouble.count(what)
            trouble.until(rng.choice((0.0, 0.5, 5.0, 20.0)), lambda: trouble.world.start(name))

    return die


def freezes(prefix: str, what: str) -> Doing:
    async def freeze(trouble: Trouble, rng: random.Random) -> None:
        name = trouble.part(rng, prefix)
        if name is not None and not this_loop().is_stopped(trouble.world.parts[name].incarnation):
            trouble.world.freeze(name)
            trouble.count(what)
            incarnation = trouble.world.parts[name].incarnation

            def over() -> None:
                part = trouble.world.parts.get(name)
                if part is not None and part.incarnation == incarnation:
                    trouble.world.thaw(name)

            trouble.until(rng.choice((0.2, 3.0, 12.0, 50.0)), over)

    return freeze


async def two_believe(trouble: Trouble, rng: random.Random) -> None:
    """A worker that knows of nobody else, so that it takes everything."""
    trouble.believers += 1
    name = f"believer-{trouble.believers}"
    trouble.world.start_worker(name, Members())
    trouble.count("workers that believe to be alone")

    def over() -> None:
        if name in trouble.world.parts:
            trouble.world.kill(name)

    trouble.until(rng.uniform(0.2, 15.0), over)


async def two_watchers_believe(trouble: Trouble, rng: random.Random) -> None:
    """A second watcher leads, which no Lease can rule out: what it tells comes late, and then it hears nothing new."""
    trouble.believers += 1
    name, world = f"believer-{trouble.believers}", trouble.world
    world.start_watcher(name, trouble.target(rng), asks=False)
    trouble.count("watchers that believe to lead")
    part = world.parts[name]
    part.to_log.slow = (0.0, rng.choice((0.05, 2.0, 8.0)))
    trouble.until(rng.uniform(0.2, 8.0), lambda: setattr(part.to_api, "is_cut", True))

    def over() -> None:
        if name in world.parts:
            world.kill(name)

    trouble.until(rng.uniform(2.0, 20.0), over)


async def watcher_is_late(trouble: Trouble, rng: random.Random) -> None:
    """A second watcher leads that sees a TapioCluster change and no more of it; what it tells of that comes late."""
    trouble.believers += 1
    name, world, target = f"believer-{trouble.believers}", trouble.world, trouble.target(rng)
    world.start_watcher(name, target, asks=False)
    part = world.parts[name]
    await asyncio.sleep(rng.uniform(1.0, 4.0))
    part.to_log.slow = (0.2, rng.choice((0.5, 2.0)))
    trouble.count("watchers that are late")
    if await trouble.people.change((target, rng.choice(NAMES)), rng):
        trouble.count("people: specs changed")
    await asyncio.sleep(rng.uniform(0.0, 0.05))
    part.to_api.is_cut = True
    await asyncio.sleep(rng.uniform(5.0, 15.0))
    if name in world.parts:
        world.kill(name)


async def member_flaps(trouble: Trouble, rng: random.Random) -> None:
    name = trouble.part(rng, "worker")
    if name is not None:
        trouble.world.members.drop(name)
        trouble.count("members that flap")

        def over() -> None:
            if name in trouble.world.parts:
                trouble.world.members.put(name)

        trouble.until(rng.uniform(0.1, 3.0), over)
