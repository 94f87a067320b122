"""Schedules over the cores of this machine, each in one of a few processes that run many."""

from __future__ import annotations

import gc
import logging
import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from itertools import islice

import structlog

from tests.campaign.running import Outcome, run
from tests.campaign.schedule import drawn

_AHEAD = 4
"""Schedules handed to each process at a time, so that none waits for another."""


def quiet() -> None:
    """Make this process ready for many schedules: the parts' own logs would be gigabytes, and what was imported is
    never garbage (looking at it again and again took 15 % of the time)."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def outcome_of(seed: int, *, is_dense: bool = False) -> Outcome:
    """The outcome of the schedule of `seed`."""
    return run(drawn(seed, is_dense=is_dense))


def outcomes_of(seeds: Iterable[int], jobs: int, *, is_dense: bool = False) -> Iterator[Outcome]:
    """The outcomes of the schedules of `seeds`, as they come."""
    of = partial(outcome_of, is_dense=is_dense)
    if jobs == 1:
        quiet()
        yield from map(of, seeds)
        return
    left = iter(seeds)
    # What a schedule did to a process must not reach the next run, so each begins with a fresh interpreter.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=quiet) as pool:
        under_way: set[Future[Outcome]] = {pool.submit(of, seed) for seed in islice(left, jobs * _AHEAD)}
        try:
            while under_way:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for one in done:
                    yield one.result()
                under_way |= {pool.submit(of, seed) for seed in islice(left, len(done))}
        finally:
            for one in under_way:
                one.cancel()
