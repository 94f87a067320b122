"""The two ports that make a run repeatable."""

from __future__ import annotations

import string
import time

import pytest

from tapio_shared.adapters.clock import ManualClock, SystemClock
from tapio_shared.adapters.random import SeededRandom, SystemRandom
from tapio_shared.ports import Random


def test_the_systems_clock_tells_milliseconds_and_goes_forward() -> None:
    clock = SystemClock()
    assert abs(clock.now() - time.time() * 1000) < 1_000
    first = clock.monotonic()
    assert clock.monotonic() >= first


def test_a_manual_clock_moves_when_told() -> None:
    clock = ManualClock(1_000)
    clock.advance(1.5)
    assert (clock.now(), clock.monotonic()) == (2_500, 2.5)


@pytest.mark.parametrize("random", [SystemRandom(), SeededRandom(1)], ids=["system", "seeded"])
def test_tokens_and_identifiers_are_of_their_alphabets(random: Random) -> None:
    token, identifier = random.token(32), random.identifier()
    assert len(token) == 32
    assert set(token) <= set(string.ascii_letters + string.digits)
    assert set(identifier) <= set(string.ascii_lowercase + string.digits)
    assert random.token(32) != token
    assert random.identifier() != identifier
    assert all(2.0 <= random.uniform(2.0, 3.0) <= 3.0 for _ in range(100))


def test_one_seed_gives_one_run() -> None:
    runs = [[random.uniform(0, 1), random.token(8), random.identifier()] for random in map(SeededRandom, (7, 7, 8))]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
