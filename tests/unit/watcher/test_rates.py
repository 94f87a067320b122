"""How often objects are told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tapio_watcher.rates import Buckets, Rate


@given(st.lists(st.floats(0, 2), max_size=200))
def test_a_bucket_never_gives_more_than_its_rate(pauses: list[float]) -> None:
    rate = Rate(burst=5, per_second=2)
    buckets: Buckets[str] = Buckets(rate)
    now, given_at = 0.0, list[float]()
    for pause in pauses:
        now += pause
        given_at.append(now + buckets.reserve("a", now))
    for start, first in enumerate(given_at):
        for end in range(start, len(given_at)):
            assert end - start + 1 <= rate.burst + rate.per_second * (given_at[end] - first) + 1e-6


def test_full_buckets_take_no_memory() -> None:
    buckets: Buckets[int] = Buckets(Rate(burst=2, per_second=1))
    for number in range(5_000):
        buckets.reserve(number, float(number))
    assert len(buckets) < 4_200
